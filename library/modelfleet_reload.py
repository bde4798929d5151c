#!/usr/bin/python
# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Bring a node's TensorFlow Serving to what is wanted, and prove it."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: modelfleet_reload
short_description: Reload TensorFlow Serving and prove what it serves
version_added: "0.1.0"
description:
  - Takes the server from the versions it serves to those that are wanted, without a moment in which a model is not
    served. The new version is
    loaded beside the old one; when it is AVAILABLE the labels move; then the old one is dropped.
  - Neither an OK nor an error of a reload is trusted. The states of the exact versions and the versions behind the
    labels are asked for.
  - A version that fails to load, or does not in time, is set aside with the server's message. The old one goes on
    serving and the
    neighbours are not touched.
  - Changes nothing when the server already serves what is wanted.
options:
  desired:
    description:
      - What the node should serve, as M(modelfleet_pull) returned it in RV(modelfleet_pull#module:desired).
    type: dict
    required: true
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
  server_log:
    description:
      - The server's log, to find the version that broke a start. Such a version is set aside so that the server can
        come up.
    type: path
  load_timeout:
    description:
      - How long a version may take to become AVAILABLE, in seconds.
    type: int
    default: 300
  server_timeout:
    description:
      - How long to wait for a server that does not answer, in seconds.
    type: int
    default: 60
  unload_timeout:
    description:
      - How long to wait for versions that are no longer wanted to be gone, in seconds. Those that are not are
        reported and left.
    type: int
    default: 60
  poll_interval:
    description:
      - The server's C(--file_system_poll_wait_seconds). A new list of versions of a known model takes effect after
        that time.
    type: int
    default: 1
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
  allow_empty:
    description:
      - Let a configuration without any model replace one that serves.
    type: bool
    default: false
  allow_shrink:
    description:
      - Let more than half of the models (and more than two) disappear at once where the repository is tracked
        without a manifest.
    type: bool
    default: false
  lock_timeout:
    description:
      - How long to wait for the store's lock, in seconds. Every change of a node takes it.
    type: int
    default: 60
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
seealso:
  - module: modelfleet_config
  - module: modelfleet_prune
"""

EXAMPLES = r"""
- name: Serve what is wanted
  modelfleet_reload:
    desired: "{{ models_pull.desired }}"
    store: /local_saved_models
    config_file: /serving_config/models.config
    target: 127.0.0.1:8500
    load_timeout: 600
"""

RETURN = r"""
steps:
  description: What was done, in order, or would be.
  returned: success
  type: list
  elements: str
  sample: ["configure: load digits version 3 (digits: + version 3)"]
models:
  description: Every version of the node with its state afterwards.
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
prunable:
  description: Versions whose files nothing needs any more; M(modelfleet_prune) deletes them.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 1}]
refused:
  description: Versions that are wanted or were set aside, and are not served, each with its reason.
  returned: success
  type: list
  elements: dict
  sample: []
lingering:
  description: What the server had not let go of when the wait for it ended; empty when nothing.
  returned: success
  type: str
  sample: ""
"""

from ..module_utils.modelfleet import convergence, models_config, report
from ..module_utils.modelfleet.node import converge
from ..module_utils.modelfleet.rehearsal import rehearse
from ..module_utils.modelfleet_module import STORE_SPEC, Params, Result, Spec, run_module
from ..module_utils.modelfleet_node_module import (
    DESIRED_SPEC,
    GUARD_SPEC,
    PENDING_SPEC,
    SERVING_SPEC,
    TABLE_SPEC,
    desired_of,
    limits_of,
    look,
    node_of,
    store_lock,
)


def argument_spec() -> Spec:
    """Return the module's arguments."""
    return {
        **DESIRED_SPEC,
        **STORE_SPEC,
        **SERVING_SPEC,
        **TABLE_SPEC,
        "server_log": {"type": "path"},
        "load_timeout": {"type": "int", "default": 300},
        "server_timeout": {"type": "int", "default": 60},
        "unload_timeout": {"type": "int", "default": 60},
        "poll_interval": {"type": "int", "default": 1},
        **PENDING_SPEC,
        **GUARD_SPEC,
    }


def run(params: Params, *, check_mode: bool) -> Result:
    """Converge, or rehearse it in check mode."""
    lingering = ""
    with node_of(params, check_mode=check_mode) as node, store_lock(node, params, check_mode=check_mode):
        before = look(node, params)
        if check_mode:
            rehearsal = rehearse(before)
            steps, after = rehearsal.steps, rehearsal.observation
        else:
            outcome = converge(node, desired_of(params), limits_of(params))
            steps, after, lingering = outcome.steps, outcome.observation, outcome.lingering
    rows = report.rows(after)
    return Result(
        changed=bool(steps),
        values={
            "steps": list(steps),
            "models": report.as_data(rows),
            "table": report.table(rows, params["ports"]),
            "refused": report.faults(rows),
            "prunable": [{"model": model, "version": version} for model, version in convergence.prunable(after)],
            "lingering": lingering,
        },
        before=models_config.render(before.config) if before.config else "",
        after=models_config.render(after.config) if after.config else "",
    )


def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run)


if __name__ == "__main__":
    main()
