#!/usr/bin/python
# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Delete the versions that a node no longer needs."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: modelfleet_prune
short_description: Delete versions that nothing uses any more
version_added: "0.1.0"
description:
  - Deletes a version's files only when no configuration names it and the server reports that it has let go of it.
  - Never deletes a wanted version, nor of a wanted model the last good one and the newest C(keep) versions, which a
    rollback needs. A model that only disappeared from a tracked repository keeps its last good version; one that a
    manifest dropped goes completely.
  - Deletes nothing when the server does not answer.
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
  base_path:
    description:
      - The store's directory as the server sees it, where that differs from O(store), as in a container.
    type: path
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
  - module: modelfleet_reload
"""

EXAMPLES = r"""
- name: Free the disk of versions that nothing uses
  modelfleet_prune:
    desired: "{{ models_pull.desired }}"
    store: /local_saved_models
    config_file: /serving_config/models.config
"""

RETURN = r"""
removed:
  description: Versions that were deleted, or would be.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 1, "bytes": 52342}]
freed_bytes:
  description: Bytes that were freed, or would be.
  returned: success
  type: int
  sample: 52342
"""

from ..module_utils.modelfleet import convergence
from ..module_utils.modelfleet.node import prune
from ..module_utils.modelfleet.rehearsal import rehearse
from ..module_utils.modelfleet_module import STORE_SPEC, Params, Result, Spec, run_module
from ..module_utils.modelfleet_node_module import (
    DESIRED_SPEC,
    GUARD_SPEC,
    PENDING_SPEC,
    SERVING_SPEC,
    look,
    node_of,
    store_lock,
)


def argument_spec() -> Spec:
    """Return the module's arguments."""
    return {**DESIRED_SPEC, **STORE_SPEC, **SERVING_SPEC, **PENDING_SPEC, **GUARD_SPEC}


def run(params: Params, *, check_mode: bool) -> Result:
    """Delete what may go; in check mode, what might go after a convergence."""
    with node_of(params, check_mode=check_mode) as node, store_lock(node, params, check_mode=check_mode):
        sizes = {name: {v: item.bytes for v, item in items.items()} for name, items in node.store.scan().items()}
        observation = look(node, params)
        if check_mode:
            after = rehearse(observation).observation
            removed = [(m, v, sizes.get(m, {}).get(v, 0)) for m, v in convergence.prunable(after)]
        else:
            removed = prune(node, observation)
    gone = {(model, version) for model, version, _ in removed}
    before = [f"{name}/{version}" for name, items in sorted(sizes.items()) for version in sorted(items)]
    after_lines = [line for line in before if (line.split("/")[0], int(line.split("/")[1])) not in gone]
    return Result(
        changed=bool(removed),
        values={
            "removed": [{"model": model, "version": version, "bytes": size} for model, version, size in removed],
            "freed_bytes": sum(size for _, _, size in removed),
        },
        before="".join(f"{line}\n" for line in before),
        after="".join(f"{line}\n" for line in after_lines),
    )


def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run)


if __name__ == "__main__":
    main()
