#!/usr/bin/python
# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Pull what a node should serve from the repository into its store."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: modelfleet_pull
short_description: Pull model versions from the repository to a node
version_added: "0.1.0"
description:
  - Works out which versions of which models this node should serve, and brings those it lacks to its store.
  - A version is downloaded into a staging directory, verified object by object, and published by renaming, so a numeric directory below a
    model is always complete. A receipt beside it proves that.
  - A version that is incomplete or damaged is refused with its reason and does not hold up the others.
  - Nothing but the module's own staging is ever deleted.
options:
  repository:
    description:
      - Where the models are, C(<model>/<version>/saved_model.pb) below it. An absolute directory or V(file:///directory).
    type: str
    required: true
  store:
    description:
      - The node's directory of models, C($LOCAL_MODEL_DIRECTORY).
    type: path
    required: true
  manifest:
    description:
      - The desired state (C(defaults), C(models), C(overrides), C(absent)).
      - Without C(models) in it, C(fleet.json) of the repository is taken; without that, every model of the repository is wanted in its
        latest version.
    type: dict
    default: {}
  node:
    description:
      - Name of this node, as the overrides of a manifest have it.
    type: str
    default: localhost
  workers:
    description:
      - Objects that are pulled at the same time.
    type: int
    default: 4
  headroom:
    description:
      - Space that stays free on the store's file system, as a number of bytes with an optional unit (V(512Mi), V(1Gi), V(1G)).
      - A pull that would use it is refused before its first byte.
    type: str
    default: 1Gi
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
"""

EXAMPLES = r"""
- name: Bring every model of the repository to this node
  modelfleet_pull:
    repository: /srv/models
    store: /local_saved_models
  register: models_pull

- name: Keep two pinned versions of one model
  modelfleet_pull:
    repository: file:///srv/models
    store: /local_saved_models
    manifest:
      models:
        digits:
          versions: [3, 4]
          labels: {stable: 3, canary: 4}
"""

RETURN = r"""
desired:
  description: What this node should serve; hand it on to the other modules.
  returned: success
  type: dict
  sample: {"models": {"digits": {"versions": [3], "labels": {}, "keep": 2}}, "tracked": true, "unresolved": [], "problems": []}
pulled:
  description: Versions that were brought, or would be in check mode.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 3, "bytes": 52342}]
refused:
  description: Versions that were not brought, each with the reason and the next step.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 4, "code": "INCOMPLETE", "message": "holds no saved_model.pb", "remedy": "publish it again"}]
bytes:
  description: Bytes that were brought, or would be.
  returned: success
  type: int
  sample: 52342
seconds:
  description: Wall time of the pull.
  returned: success
  type: float
  sample: 0.4
"""

@@PULL@@

def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run)


if __name__ == "__main__":
    main()
