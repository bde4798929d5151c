"""Pin the newest releases that requirements/*.in allow, for every supported Python, with the digests of their files.

Run by ``make lock``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from environment import uv_environment

PROJECT = Path(__file__).resolve().parent.parent
REQUIREMENTS = PROJECT / "requirements"
#: Each lock file and its source, in the order of pinning: the others are held to the releases of the first two.
LOCKS = {
    REQUIREMENTS / "bootstrap.txt": "bootstrap.in",
    REQUIREMENTS / "dev.txt": "dev.in",
    REQUIREMENTS / "node.txt": "node.in",
    REQUIREMENTS / "model-server.txt": "model-server.in",
    PROJECT / "requirements.txt": "controller.in",
}
COMPLETE = ("bootstrap.in", "dev.in")
#: Places that may hold a few files of a release only; a lock names those for every platform.
PARTIAL = ("UV_INDEX", "UV_FIND_LINKS")


def command(source: str, output: Path) -> list[str]:
    """Return the call of uv that makes one lock file."""
    uv = str(Path(sys.executable).with_name("uv"))
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--upgrade", "--quiet"]
    options += ["--custom-compile-command", "make lock", "--override", "overrides.txt"]
    if source not in COMPLETE:
        options += ["--constraint", "dev.txt"]
    return [uv, "pip", "compile", *options, source, "--output-file", str(output)]


def main() -> int:
    """Make every lock file; return the exit status."""
    environment = uv_environment(Path(sys.executable), ignored=PARTIAL)
    for output, source in LOCKS.items():
        result = subprocess.run(
            command(source, output), check=False, cwd=REQUIREMENTS, env=environment, stdout=subprocess.DEVNULL
        )
        if result.returncode:
            print(f"requirements/{source}: cannot be locked; see the lines above", file=sys.stderr)
            return 1
        print(f"locked {output.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
