#!/usr/bin/python
# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Keep programs running under a supervisor of one directory."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: modelfleet_process
short_description: Keep programs running without systemd, Docker or root
version_added: "0.1.0"
description:
  - Runs programs under a C(supervisord) of the connecting user that keeps everything below one directory.
  - Writes the supervisor's configuration, starts it where it does not run (also after it was killed), restarts
    exactly the programs whose description changed, and waits until each answers on its ports.
  - A port that another program holds is refused before anything is changed.
options:
  home:
    description:
      - The directory; C(etc), C(log) and C(run) below it are used.
    type: path
    required: true
  state:
    description:
      - V(running) makes the O(programs) run; others of the same directory are left as they are.
      - V(stopped) ends the supervisor with every program of the directory. Files stay.
    type: str
    choices: [running, stopped]
    default: running
  supervisord:
    description:
      - The program C(supervisord); by default that of the environment C(venv) below O(home).
    type: path
  release:
    description:
      - Names what the supervisor itself runs from. When it changes, the supervisor and all its programs start anew.
    type: str
    default: ""
  ready_timeout:
    description:
      - How long programs may take to listen on their ports, in seconds.
    type: int
    default: 60
  programs:
    description:
      - What is to run.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the program; its log is C(log/<name>.log).
        type: str
        required: true
      command:
        description: The program and its arguments.
        type: list
        elements: str
        required: true
      directory:
        description: Its working directory.
        type: path
        required: true
      environment:
        description: Variables in addition to the supervisor's own.
        type: dict
        default: {}
      ports:
        description: TCP ports on which it listens when it is ready.
        type: list
        elements: dict
        default: []
        suboptions:
          number:
            description: The port.
            type: int
            required: true
          variable:
            description: The variable with which a person chooses another; named when the port is taken.
            type: str
            required: true
          address:
            description: Where the port is reached from the node itself.
            type: str
            default: 127.0.0.1
          health:
            description:
              - Path that answers 200 over HTTP once the program is well. Without it, listening is enough.
            type: str
            default: ""
      files:
        description:
          - Files that it reads, each with C(content) or with C(secret). A change restarts it.
        type: list
        elements: dict
        default: []
        suboptions:
          path:
            description: Where the file lies.
            type: path
            required: true
          content:
            description: What it holds.
            type: str
          secret:
            description: What it holds, where that is never to be shown.
            type: str
          seed:
            description: Write it only where nothing lies yet; something else owns it from then on.
            type: bool
            default: false
          watched:
            description: The program notices a change by itself, and is not restarted for it.
            type: bool
            default: false
          mode:
            description:
              - Its permissions in octal, for example V("0600"). Without them a new file gets V("0644"), and those of
                an existing one stay.
            type: str
      restart_token:
        description: Any text; the program is restarted when it changes.
        type: str
        default: ""
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tell what it would do.
  diff_mode:
    support: full
    description: Shows what changes when asked for it.
  idempotent:
    support: full
    description: Changes nothing when run again on an unchanged node.
author:
  - modelfleet contributors (@modelfleet)
"""

EXAMPLES = r"""
- name: Keep a program running
  modelfleet_process:
    home: /opt/modelfleet
    programs:
      - name: tfserving
        command: [/opt/modelfleet/bin/modelfleet, model-server, --port=8500]
        directory: /opt/modelfleet
        ports:
          - number: 8500
            variable: tfserving_grpc_port

- name: Stop everything of that directory
  modelfleet_process:
    home: /opt/modelfleet
    state: stopped
"""

RETURN = r"""
actions:
  description: What was done, in order, or would be.
  returned: success
  type: list
  elements: str
  sample: ["write /opt/modelfleet/etc/conf.d/tfserving.ini", "restarted tfserving"]
processes:
  description: The programs of the directory as their supervisor sees them.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "tfserving", "state": "RUNNING", "pid": 4711}]
"""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..module_utils.modelfleet.supervising import Supervision
from ..module_utils.modelfleet.supervision import program_from_dict
from ..module_utils.modelfleet_module import Params, Result, Spec, run_module

if TYPE_CHECKING:
    from collections.abc import Mapping


def argument_spec() -> Spec:
    """Return the module's arguments."""
    port = {
        "number": {"type": "int", "required": True},
        "variable": {"type": "str", "required": True},
        "address": {"type": "str", "default": "127.0.0.1"},
        "health": {"type": "str", "default": ""},
    }
    file = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str"},
        "secret": {"type": "str", "no_log": True},
        "seed": {"type": "bool", "default": False},
        "watched": {"type": "bool", "default": False},
        "mode": {"type": "str"},
    }
    one_content = {"required_one_of": [["content", "secret"]], "mutually_exclusive": [["content", "secret"]]}
    program = {
        "name": {"type": "str", "required": True},
        "command": {"type": "list", "elements": "str", "required": True},
        "directory": {"type": "path", "required": True},
        "environment": {"type": "dict", "default": {}},
        "ports": {"type": "list", "elements": "dict", "default": [], "options": port},
        "files": {"type": "list", "elements": "dict", "default": [], "options": file, **one_content},
        "restart_token": {"type": "str", "default": "", "no_log": False},
    }
    return {
        "home": {"type": "path", "required": True},
        "state": {"type": "str", "choices": ["running", "stopped"], "default": "running"},
        "supervisord": {"type": "path"},
        "release": {"type": "str", "default": ""},
        "ready_timeout": {"type": "int", "default": 60},
        "programs": {"type": "list", "elements": "dict", "default": [], "options": program},
    }


def _joined(files: Mapping[Path, str]) -> str:
    """Return files as one text for the diff; a missing one is empty."""
    return "".join(f"# {path}\n{text}" for path, text in files.items() if text)


def run(params: Params, *, check_mode: bool) -> Result:
    """Make the programs run, or stop them."""
    home = Path(params["home"])
    supervisord = Path(params["supervisord"] or home / "venv" / "bin" / "supervisord")
    supervision = Supervision(home, supervisord, params["release"])
    if params["state"] == "stopped":
        outcome = supervision.stop(check_mode=check_mode)
    else:
        programs = [program_from_dict(item) for item in params["programs"]]
        outcome = supervision.ensure(programs, params["ready_timeout"], check_mode=check_mode)
    return Result(
        changed=bool(outcome.actions),
        values={
            "actions": list(outcome.actions),
            "processes": [asdict(info) for info in outcome.processes.values()],
        },
        before=_joined(outcome.before),
        after=_joined(outcome.after),
    )


def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run)


if __name__ == "__main__":
    main()
