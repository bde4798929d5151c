#!/usr/bin/python
# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Tell what is on a node's disk, in its configuration and in its server."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: modelfleet_info
short_description: Tell what a node has, is told to serve, and serves
version_added: "0.1.0"
description:
  - Reports every version of every model that is on disk, configured, served or set aside, with its state, labels
    and reason.
  - Changes nothing. A node without a store, a server or the libraries is reported as what it is.
options:
  store:
    description:
      - The node's directory of models, C($LOCAL_MODEL_DIRECTORY).
    type: path
    required: true
  config_file:
    description:
      - TensorFlow Serving's C(models.config) on this node, C($TENSORFLOW_SERVING_CONFIG_FILE).
    type: path
    required: true
  target:
    description:
      - Address of the server's gRPC listener, C(host:port) or C(unix:path).
    type: str
    default: 127.0.0.1:8500
  ports:
    description:
      - Where the server listens, for a column of the table, for example V(8500/8501).
    type: str
    default: ""
  base_path:
    description:
      - The store's directory as the server sees it, where that differs from O(store), as in a container.
    type: path
  desired:
    description:
      - What the node should serve, as M(modelfleet_pull) returned it in RV(modelfleet_pull#module:desired).
      - Without it, what is configured counts as wanted.
    type: dict
  pending:
    description:
      - Versions that a pull in check mode announced (RV(modelfleet_pull#module:pulled)), taken as if they were on
        disk.
    type: list
    elements: dict
    default: []
    suboptions:
      model:
        description: Name of the model.
        type: str
        required: true
      version:
        description: Its version.
        type: int
        required: true
      bytes:
        description: Its size; not used.
        type: int
attributes:
  check_mode:
    support: full
    description: Can run in check mode and tell what it would do.
  diff_mode:
    support: none
    description: Shows what changes when asked for it.
    details:
      - Nothing changes.
  idempotent:
    support: full
    description: Changes nothing when run again on an unchanged node.
author:
  - modelfleet contributors (@modelfleet)
"""

EXAMPLES = r"""
- name: Look at this node
  modelfleet_info:
    store: /local_saved_models
    config_file: /serving_config/models.config
  register: node_info

- name: Show it
  ansible.builtin.debug:
    msg: "{{ node_info.table }}"
"""

RETURN = r"""
models:
  description: A row for each version.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 3, "state": "AVAILABLE", "labels": ["stable"], "wanted": true,
    "on_disk": true, "configured": true,
    "message": ""}]
table:
  description: The same as lines of an aligned table.
  returned: success
  type: list
  elements: str
refused:
  description: The rows that need a person.
  returned: success
  type: list
  elements: dict
  sample: []
server:
  description: Whether a server answered.
  returned: success
  type: bool
ok:
  description: Whether a server answers, everything wanted is served, and nothing is set aside.
  returned: success
  type: bool
"""

from ..module_utils.modelfleet import models_config, report
from ..module_utils.modelfleet.manifest import Desired, DesiredModel
from ..module_utils.modelfleet_module import STORE_SPEC, Params, Result, Spec, run_module
from ..module_utils.modelfleet_node_module import PENDING_SPEC, SERVING_SPEC, TABLE_SPEC, look, node_of


def argument_spec() -> Spec:
    """Return the module's arguments."""
    return {"store": STORE_SPEC["store"], **SERVING_SPEC, **TABLE_SPEC, "desired": {"type": "dict"}, **PENDING_SPEC}


def run(params: Params, *, check_mode: bool) -> Result:  # noqa: ARG001  (the signature of every module's action)
    """Look; never more."""
    # A host that lacks the libraries is reported, not refused: that is what the question is about.
    with node_of(params, check_mode=True) as node:
        if params["desired"] is None:
            config = models_config.read(node.config_file)
            entries = config.entries if config else {}
            models = {name: DesiredModel(entry.versions, entry.labels) for name, entry in entries.items()}
            params = {**params, "desired": Desired(models).to_dict()}
        observation = look(node, params)
    rows = report.rows(observation)
    return Result(
        changed=False,
        values={
            "models": report.as_data(rows),
            "table": report.table(rows, params["ports"]),
            "refused": report.faults(rows),
            "server": observation.serving is not None,
            "ok": report.healthy(rows, observation),
        },
    )


def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run)


if __name__ == "__main__":
    main()
