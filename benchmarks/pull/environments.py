"""The peers' own virtual environments, laid exactly as their lock files say; the product's stays untouched."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tools.environment import PROJECT, uv_environment

HERE = Path(__file__).resolve().parent
NAMES = ("peers", "older")


def lay() -> dict[str, Path]:
    """Return the directory of programs of each environment, by the name of its lock file.

    Raises:
        subprocess.CalledProcessError: it cannot be laid; uv has said why.
    """
    uv = Path(sys.executable).with_name("uv")
    settings = uv_environment(Path(sys.executable))
    found = {}
    for name in NAMES:
        directory = PROJECT / "build" / "benchmarks" / name
        python = directory / "bin" / "python"
        if not python.exists():
            subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, directory], check=True, env=settings)  # noqa: S603  (the pinned uv)
        command = [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", HERE / f"{name}.txt"]
        subprocess.run(command, check=True, env=settings)  # noqa: S603  (the same)
        found[name] = python.parent
    return found
