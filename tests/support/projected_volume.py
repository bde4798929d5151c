"""A directory that is filled as Kubernetes fills a projected volume: whole revisions, exchanged by one rename."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
from contextlib import contextmanager
from pathlib import Path

#: Files that every revision of ``keep_replacing`` has.
STEADY = ("m1", "m2", "models-3.json", "zeta")
MARKER_BYTES = 300


class ProjectedVolume:
    """Holds one revision; the next one replaces it as the kubelet does, and the old one is deleted at once."""

    def __init__(self, path: Path):
        self.path = path
        self._numbers = itertools.count(1)
        path.mkdir(exist_ok=True)

    def project(self, files):
        """Replace the whole content by files, given as name to text."""
        data = self.path / "..data"
        old = data.readlink() if data.is_symlink() else None
        name = f"..2026_07_01_{next(self._numbers)}"
        (self.path / name).mkdir()
        for file, text in files.items():
            (self.path / name / file).write_text(text)
        (self.path / "..data_tmp").symlink_to(name)
        (self.path / "..data_tmp").replace(data)
        for file in files:
            if not (self.path / file).is_symlink():
                (self.path / file).symlink_to(f"..data/{file}")
        for link in self.path.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()
        if old:
            shutil.rmtree(self.path / old)


def revision(number):
    """Return the files of a numbered revision: each tells the number at both ends, and one comes and goes."""
    text = f"{number:>{MARKER_BYTES}}\n{number}"
    return dict.fromkeys((*STEADY, f"turn-{number % 3}"), text)


def keep_replacing(path, count, replaced):
    """Project numbered revisions, one after another; tells how many."""
    volume = ProjectedVolume(Path(path))
    for number in range(1, count + 1):
        volume.project(revision(number))
        replaced.value = number


@contextmanager
def replacing(path, count):
    """Let another process project that many revisions; yields a function that tells how many it has done."""
    context = multiprocessing.get_context("spawn")
    replaced = context.Value("q", 0)
    process = context.Process(target=keep_replacing, args=(str(path), count, replaced))
    process.start()
    try:
        yield lambda: replaced.value
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
        process.close()
