"""A deployment that finds nothing to do, beside as many `ping` tasks as it has module calls.

python benchmarks/noop_deploy.py     (in the development environment, after `make deploy`)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from pairs import compare

PROJECT = Path(__file__).resolve().parent.parent
REPEATS = 3
#: The module calls of a deployment without changes: build, look, process, pull, reload, probe.
CALLS = 6
PINGS = """\
- hosts: tfserving
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{ host_home }}/venv/bin/python"
  tasks:
"""


def main() -> None:
    """Print both."""
    playbook = Path(sys.executable).parent / "ansible-playbook"
    with tempfile.TemporaryDirectory() as folder:
        pings = Path(folder) / "pings.yml"
        pings.write_text(PINGS + "    - ansible.builtin.ping:\n" * CALLS, encoding="utf-8")
        begin = [str(playbook), "-i", str(PROJECT / "inventories/local")]
        commands = {
            "deployment without changes": [*begin, str(PROJECT / "playbooks/deploy.yml")],
            f"{CALLS} pings": [*begin, str(pings)],
        }
        compare(commands, REPEATS, {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "LC_ALL": "C.UTF-8"})


if __name__ == "__main__":
    main()
