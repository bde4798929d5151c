"""Report as JSON what role host must know about a node before it changes anything.

Reads only. Written for any Python 3.7 or newer, so that a node with an old interpreter gets a clear answer instead
of a syntax error.
"""

from __future__ import annotations

import argparse
import getpass
import hashlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

#: How long the environment's interpreter may take to say its version, in seconds.
INTERPRETER_TIMEOUT_S = 30


def writable_ancestor(path: Path) -> tuple[Path, bool]:
    """Return the deepest directory on the way to ``path`` that this user can see, and whether it may be written."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path, path.is_dir() and os.access(path, os.W_OK | os.X_OK)


def environment_state(venv: Path, stamp: str) -> str:
    """Return ``current``, ``outdated`` (complete, but from other locks) or ``absent`` (also half-laid or broken)."""
    python = venv / "bin" / "python"
    stamps = [entry.name for entry in venv.glob(".modelfleet-*")]
    if not stamps or not os.access(python, os.X_OK):
        return "absent"
    try:
        subprocess.run(
            [str(python), "-I", "-c", "pass"], check=True, timeout=INTERPRETER_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        return "absent"
    return "current" if stamp in stamps else "outdated"


def wrong_files(home: Path, wanted: dict[str, dict[str, str]]) -> list[str]:
    """Return the names of files that are missing or have other bytes or another mode than they should."""
    wrong = []
    for name, file in wanted.items():
        path = home / name
        if (
            not path.is_file()
            or (path.stat().st_mode & 0o7777) != int(file["mode"], 8)
            or hashlib.sha256(path.read_bytes()).hexdigest() != file["sha256"]
        ):
            wrong.append(name)
    return wrong


def release(home: Path) -> str:
    """Return what programs and packages are laid: the digest of the one and the mark of the other."""
    program = home / "lib" / "modelfleet.pyz"
    digest = hashlib.sha256(program.read_bytes()).hexdigest() if program.is_file() else ""
    return digest + "".join(sorted(entry.name for entry in (home / "venv").glob(".modelfleet-*")))


def entries(home: Path) -> list[str]:
    """Return the names of everything that lies directly below the home; nothing where there is none."""
    return sorted(entry.name for entry in home.iterdir()) if home.is_dir() else []


def wrong_directories(home: Path, wanted: dict[str, str]) -> list[dict[str, str]]:
    """Return the directories, with the mode they should have, that are missing or differ from it."""
    wrong = []
    for name, mode in wanted.items():
        path = home / name
        if not path.is_dir() or (path.stat().st_mode & 0o7777) != int(mode, 8):
            wrong.append({"path": str(path), "mode": mode})
    return wrong


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", required=True, type=Path)
    parser.add_argument("--stamp", required=True)
    parser.add_argument("--directories", required=True, type=json.loads)
    parser.add_argument("--files", required=True, type=json.loads)
    arguments = parser.parse_args()
    venv = arguments.home / "venv"
    ancestor, writable = writable_ancestor(arguments.home)
    environment = "absent"
    report = {
        "python": platform.python_version(),
        "can_make_environments": all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")),
        "own_python": sys.executable,
        "user": getpass.getuser(),
        "ancestor": str(ancestor),
        "writable": writable,
        "messages_laid": False,
        "release": "",
        "entries": [],
        "wrong_files": [],
        "wrong_directories": [],
    }
    # A home that may not be written is refused, and may not even be readable.
    if writable:
        environment = environment_state(venv, arguments.stamp)
        report.update(
            {
                "messages_laid": (venv / "share" / "modelfleet" / "tfserving.binpb").is_file(),
                "release": release(arguments.home),
                "entries": entries(arguments.home),
                "wrong_files": wrong_files(arguments.home, arguments.files),
                "wrong_directories": wrong_directories(arguments.home, arguments.directories),
            }
        )
    report["environment"] = environment
    report["python_executable"] = str(venv / "bin" / "python") if environment != "absent" else sys.executable
    print(json.dumps(report))


if __name__ == "__main__":
    main()
