"""Lay a virtual environment exactly as a lock file says, and do nothing when it already is so.

    python3 tools/environment.py [--directory .venv] controller|development

pip (the interpreter's own) lays the pinned uv, uv lays the rest; both accept only files whose digests are locked. What
the user's pip configuration says about indexes, certificates and the like holds for uv as well.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PROJECT = Path(__file__).resolve().parent.parent
BOOTSTRAP = PROJECT / "requirements" / "bootstrap.txt"
#: Importable packages of the project, for the tests and checks.
LINKS = {"modelfleet": Path("module_utils/modelfleet"), "modelfleet_services": Path("services")}
#: Tells how uv has to be told what pip is configured to do; the nodes are laid with the same knowledge.
INSTALLER_ENVIRONMENT = PROJECT / "roles" / "host" / "files" / "installer_environment.py"


@dataclass(frozen=True)
class Level:
    """What an environment holds.

    Attributes:
        lock: The lock file that it follows.
        linked: Whether the project's own packages are importable in it.
        includes: Levels that it satisfies as well, because its lock holds their pins.
    """

    lock: Path
    linked: bool = False
    includes: tuple[str, ...] = ()


LEVELS = {
    "controller": Level(PROJECT / "requirements.txt"),
    "development": Level(PROJECT / "requirements" / "dev.txt", linked=True, includes=("controller",)),
}


class EnvironmentProblem(Exception):
    """The environment cannot be laid; the text is for people."""


def digest(level: Level, python: tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> str:
    """Return what must be the same for an environment to be current."""
    result = hashlib.sha256(f"{python} {level.linked}".encode())
    for path in (BOOTSTRAP, level.lock, Path(__file__)):
        result.update(path.read_bytes())
    return result.hexdigest()


def stamp(directory: Path, name: str) -> Path:
    """Return the file that says with which digest a level was laid."""
    return directory / f".laid-{name}"


def is_current(directory: Path, name: str) -> bool:
    """Tell whether the environment already satisfies a level."""
    path = stamp(directory, name)
    return (
        path.is_file()
        and path.read_text(encoding="utf-8") == digest(LEVELS[name])
        and os.access(directory / "bin" / "python", os.X_OK)
    )


def uv_environment(python: Path, *, ignored: Collection[str] = ()) -> dict[str, str]:
    """Return the variables in which uv follows the configuration of that interpreter's pip, less ignored ones."""
    output = subprocess.run(
        [python, INSTALLER_ENVIRONMENT], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    added = {name: value for name, value in json.loads(output).items() if name not in ignored}
    return {**os.environ, **added}


def run(what: str, command: list[str | Path], environment: Mapping[str, str] | None = None) -> None:
    """Run one step; its own output says what is wrong, the last line says which step it was.

    Raises:
        EnvironmentProblem: the step failed.
    """
    result = subprocess.run(command, check=False, env=environment)
    if result.returncode:
        message = f"{what} failed (exit status {result.returncode}); see the lines above, then run the same again"
        raise EnvironmentProblem(message)


def bootstrap(directory: Path) -> Path:
    """Make sure that the environment has a working pip and the pinned uv; return uv's path."""
    python = directory / "bin" / "python"
    wanted = digest(Level(BOOTSTRAP))
    uv = directory / "bin" / "uv"
    mark = stamp(directory, "bootstrap")
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted and uv.is_file():
        return uv
    if directory.exists():
        shutil.rmtree(directory)
    print(f"{directory}: laying a Python {sys.version_info[0]}.{sys.version_info[1]} environment", flush=True)
    venv.create(directory, with_pip=True, symlinks=True)
    run(
        "installing uv with pip",
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", BOOTSTRAP],
    )
    mark.write_text(wanted, encoding="utf-8")
    return uv


def link_packages(directory: Path) -> None:
    """Make the project's packages importable in the environment, in subprocesses and for the type checker too."""
    links = PROJECT / "build" / "python"
    links.mkdir(parents=True, exist_ok=True)
    for name, source in LINKS.items():
        link = links / name
        target = Path("..", "..") / source
        if not link.is_symlink() or link.readlink() != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target)
    site = next((directory / "lib").glob("python3*")) / "site-packages"
    (site / "modelfleet.pth").write_text(f"{links}\n", encoding="utf-8")


def lay(directory: Path, name: str) -> bool:
    """Bring an environment to a level; return whether anything was done.

    Raises:
        EnvironmentProblem: a step failed.
    """
    level = LEVELS[name]
    if is_current(directory, name):
        return False
    uv = bootstrap(directory)
    for other in LEVELS:
        stamp(directory, other).unlink(missing_ok=True)
    python = directory / "bin" / "python"
    print(f"{directory}: installing what {level.lock.relative_to(PROJECT)} locks", flush=True)
    run(
        f"installing {level.lock.relative_to(PROJECT)} with uv",
        [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", BOOTSTRAP, level.lock],
        uv_environment(python),
    )
    if level.linked:
        link_packages(directory)
    for satisfied in (*level.includes, name):
        stamp(directory, satisfied).write_text(digest(LEVELS[satisfied]), encoding="utf-8")
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description="Lay the project's virtual environment.")
    parser.add_argument("--directory", type=Path, default=PROJECT / ".venv", metavar="DIR")
    parser.add_argument("level", choices=LEVELS)
    options = parser.parse_args(arguments)
    directory = options.directory.absolute()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with directory.with_name(f"{directory.name}.lock").open("w") as lock:
            # Two runs of make at once: the second one waits, then finds everything done.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if lay(directory, options.level):
                print(f"{directory}: ready", flush=True)
    except (EnvironmentProblem, subprocess.SubprocessError) as error:
        print(f"{directory}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or directory}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
