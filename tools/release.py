"""Build the artefact that runs on the nodes: one zip with the engine, the services and the command line.

The same sources always give the same bytes, so that a copy to a node is unchanged when nothing changed, and the
digest of the file names the release.

    python3 tools/release.py [--output build/modelfleet.pyz]

Prints ``written <path>`` or ``unchanged <path>``.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = Path(__file__).resolve().parent.parent
#: Importable name of each package, and where its sources lie.
PACKAGES = {"modelfleet": Path("module_utils/modelfleet"), "modelfleet_services": Path("services")}
MAIN = """\
import sys

from modelfleet_services.cli import main

sys.exit(main())
"""
#: The earliest time that a zip can hold; any constant would do.
TIME = (1980, 1, 1, 0, 0, 0)
REGULAR_FILE_0644 = 0o100644 << 16


def entries(project: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the archive's entries in their order: name and content."""
    yield "__main__.py", MAIN.encode()
    for package, source in PACKAGES.items():
        for path in sorted((project / source).rglob("*.py"), key=lambda path: path.as_posix()):
            yield f"{package}/{path.relative_to(project / source).as_posix()}", path.read_bytes()


def archive(project: Path) -> bytes:
    """Return the artefact's bytes, the same for the same sources on every machine."""
    buffer = io.BytesIO()
    # Stored, not compressed: the bytes then depend on no version of zlib, and starting costs no inflation.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, data in entries(project):
            info = zipfile.ZipInfo(name, TIME)
            info.create_system = 3
            info.external_attr = REGULAR_FILE_0644
            file.writestr(info, data)
    return buffer.getvalue()


def write(output: Path, data: bytes) -> bool:
    """Write the artefact where it differs, whole or not at all; return whether it did."""
    if output.is_file() and output.read_bytes() == data:
        return False
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f"{output.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(description="Build the artefact that runs on the nodes.")
    parser.add_argument("--output", type=Path, default=PROJECT / "build" / "modelfleet.pyz", metavar="FILE")
    output = parser.parse_args(arguments).output
    try:
        written = write(output, archive(PROJECT))
    except OSError as error:
        print(f"{error.filename}: {error.strerror}; nothing was written", file=sys.stderr)
        return 1
    print(f"{'written' if written else 'unchanged'} {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
