"""Ansible's own checker of modules finds nothing.

It accepts collections alone, so it sees our modules as one; the relative imports work in there unchanged.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ansible_test

from tests.contract.project import LIBRARY, MODULES, PROJECT

CHECKER = Path(ansible_test.__file__).parent / "_util/controller/sanity/validate-modules/validate.py"
COLLECTION = "ansible_collections/modelfleet/fleet"
#: How one module names another: in a collection such names are qualified.
REFERENCE = re.compile(r"(?P<before>M\(|RV\(|O\(|- module: )(?P<name>modelfleet_\w+)(?=\)|#module|\n)")


def collection(directory):
    root = directory / COLLECTION
    shutil.copytree(
        PROJECT / "module_utils", root / "plugins/module_utils", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    (root / "plugins/modules").mkdir()
    for name in MODULES:
        text = (LIBRARY / f"{name}.py").read_text(encoding="utf-8")
        (root / f"plugins/modules/{name}.py").write_text(REFERENCE.sub(r"\g<before>modelfleet.fleet.\g<name>", text))
    (root / "meta").mkdir()
    (root / "meta/runtime.yml").write_text("---\nrequires_ansible: '>=2.15'\n")
    return root


def test_the_checker_has_no_complaint(tmp_path):
    root = collection(tmp_path)
    targets = [f"plugins/modules/{name}.py" for name in MODULES]
    command = [sys.executable, CHECKER, "--format", "json", "--arg-spec", "--collection", COLLECTION]
    result = subprocess.run(
        [*command, "--collection-version", "0.1.0", *targets],
        cwd=root,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [
        f"{path}: {error['code']}: {error['msg']}"
        for path, found in json.loads(result.stdout).items()
        for error in found["errors"]
    ]
    assert not complaints
    assert result.returncode == 0, result.stderr
