"""Print as JSON the environment that makes uv fetch packages from where pip is configured to fetch them.

uv reads neither pip's configuration files nor its variables. Variables of uv that are already set win.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys

#: The sections of pip's configuration, weakest first; ``:env:`` is what PIP_* variables say.
SECTIONS = ("global", "install", ":env:")


def pip_options() -> dict[str, str]:
    """Return pip's effective options for an installation."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        found[section, option] = ast.literal_eval(value)
    return {option: found[section, option] for wanted in SECTIONS for section, option in found if section == wanted}


def uv_environment(options: dict[str, str]) -> dict[str, str]:
    """Translate pip's options; hashes are required, so any index may offer a pinned file."""
    words = {name: value.split() for name, value in options.items()}
    wanted = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    if "index-url" in words:
        wanted["UV_DEFAULT_INDEX"] = words["index-url"][0]
    if "extra-index-url" in words:
        wanted["UV_INDEX"] = " ".join(words["extra-index-url"])
    if "find-links" in words:
        wanted["UV_FIND_LINKS"] = ",".join(words["find-links"])
    if "trusted-host" in words:
        wanted["UV_INSECURE_HOST"] = " ".join(words["trusted-host"])
    if options.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        wanted["UV_NO_INDEX"] = "1"
    if "cert" in words:
        wanted["SSL_CERT_FILE"] = options["cert"]
    if "proxy" in words:
        wanted["ALL_PROXY"] = options["proxy"]
    return {name: value for name, value in wanted.items() if name not in os.environ}


if __name__ == "__main__":
    print(json.dumps(uv_environment(pip_options())))
