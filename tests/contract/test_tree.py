"""The tree speaks of itself alone, and what is generated or listed by hand is current."""

from __future__ import annotations

import re
import tomllib

from tests.contract.project import PROJECT, files
from tools import environment, generate_docs, release

#: Spelled in two halves, so that this file does not hold them.
FORBIDDEN = re.compile(
    "|".join(
        [
            r"(?<![\w.}])/" + r"(?:work|root|home/\w+)/",
            r"/tm" + r"p/(?:w|plan)/",
            r"pypi" + r"\.org",
            r"python" + r"hosted",
            r"registry\.npm" + "js",
            r"shared/" + r"(?:design|style|tfserving|lab|performance)",
        ]
    )
)


def test_no_file_names_a_machine_s_paths_or_a_registry_s_host():
    found = []
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(PROJECT)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), 1)
            if FORBIDDEN.search(line)
        ]
    assert not found


def test_generated_pages_are_current():
    stale = [
        str(name)
        for name, text in generate_docs.pages(PROJECT).items()
        if not (PROJECT / name).is_file() or (PROJECT / name).read_text(encoding="utf-8") != text
    ]
    assert not stale, "run make docs"


def packages(name, source):
    """Yield the dotted name of every package below a source directory."""
    for path in (PROJECT / source).rglob("__init__.py"):
        yield ".".join([name, *path.parent.relative_to(PROJECT / source).parts])


def test_distribution_lists_every_package():
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert settings["package-dir"] == {name: str(source) for name, source in release.PACKAGES.items()}
    assert environment.LINKS == release.PACKAGES
    wanted = sorted(package for name, source in release.PACKAGES.items() for package in packages(name, source))
    assert sorted(settings["packages"]) == wanted


def locked(name):
    """Return the pins of a lock file: name to version."""
    text = (PROJECT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def test_locks_agree_with_each_other_and_pin_with_digests():
    complete = locked("requirements/dev.txt")
    for name in ("requirements.txt", "requirements/node.txt", "requirements/model-server.txt"):
        assert locked(name).items() <= complete.items()
    for path in (PROJECT / "requirements").glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        if path.name != "overrides.txt":
            assert all("--hash=sha256:" in block for block in blocks), path.name


def test_locks_hold_what_their_sources_ask_for():
    for source, lock in (
        ("node.in", "requirements/node.txt"),
        ("model-server.in", "requirements/model-server.txt"),
        ("dev.in", "requirements/dev.txt"),
        ("bootstrap.in", "requirements/bootstrap.txt"),
        ("controller.in", "requirements.txt"),
    ):
        text = (PROJECT / "requirements" / source).read_text(encoding="utf-8")
        asked = {name.lower() for name in re.findall(r"^([A-Za-z][\w.-]*)", text, re.MULTILINE)}
        assert asked <= set(locked(lock))


def test_the_whole_tensorflow_is_never_installed():
    assert "tensorflow" not in locked("requirements/dev.txt")
    assert "tensorflow-cpu" in locked("requirements/model-server.txt")
    assert "tensorflow-cpu" not in locked("requirements/node.txt")
