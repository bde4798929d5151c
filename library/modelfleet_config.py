#!/usr/bin/python
# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Write the models.config that a node should have next."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: modelfleet_config
short_description: Write TensorFlow Serving's models.config
version_added: "0.1.0"
description:
  - Writes the configuration that is safe next, by writing a temporary file and renaming it.
  - Where a server answers, that is the next step towards the goal, for example old and new version side by side;
    where none does, it is the
    goal itself, for the coming start.
  - Only versions that are complete on this node are named, always by C(specific) policy.
  - The server is not told; see M(modelfleet_reload).
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
  - module: modelfleet_pull
  - module: modelfleet_reload
"""

EXAMPLES = r"""
- name: Write models.config
  modelfleet_config:
    desired: "{{ models_pull.desired }}"
    store: /local_saved_models
    config_file: /serving_config/models.config
"""

RETURN = r"""
config:
  description: Text of the configuration.
  returned: success
  type: str
changes:
  description: What differs from before, one line each.
  returned: success
  type: list
  elements: str
  sample: ["digits: + version 3"]
"""

from pathlib import Path

from ..module_utils.modelfleet import convergence, models_config
from ..module_utils.modelfleet.convergence import Configure, Freeze
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
    """Write the next configuration where it differs."""
    path = Path(params["config_file"])
    with node_of(params, check_mode=check_mode) as node, store_lock(node, params, check_mode=check_mode):
        action = convergence.next_action(look(node, params))
        if isinstance(action, Freeze):
            raise action.error
        before = models_config.read(path)
        after = action.config if isinstance(action, Configure) else before
        if after is None:
            after = models_config.ModelsConfig({})
        text = models_config.render(after)
        old_text = path.read_text(encoding="utf-8") if path.is_file() else ""
        if text != old_text and not check_mode:
            models_config.write(path, after)
    return Result(
        changed=text != old_text,
        values={"config": text, "changes": list(models_config.diff(before, after))},
        before=old_text,
        after=text,
    )


def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run)


if __name__ == "__main__":
    main()
