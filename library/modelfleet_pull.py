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
  - A version is downloaded into a staging directory, verified object by object, and published by renaming, so a
    numeric directory below a
    model is always complete. A receipt beside it proves that.
  - A version that is incomplete or damaged is refused with its reason and does not hold up the others.
  - Nothing but the module's own staging is ever deleted.
options:
  repository:
    description:
      - Where the models are, C(<model>/<version>/saved_model.pb) below it. An absolute directory or
        V(file:///directory).
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
      - Without C(models) in it, C(fleet.json) of the repository is taken; without that, every model of the
        repository is wanted in its
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
      - Space that stays free on the store's file system, as a number of bytes with an optional unit (V(512Mi),
        V(1Gi), V(1G)).
      - A pull that would use it is refused before its first byte.
    type: str
    default: 1Gi
  allow_tracking:
    description:
      - Let every model be tracked in its latest version although this node followed a C(fleet.json) of the repository
        before, and that is gone now.
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
  sample: {"models": {"digits": {"versions": [3], "labels": {}, "keep": 2}},
    "tracked": true, "unresolved": [], "problems": []}
pulled:
  description: Versions that were brought, or would be in check mode.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 3, "bytes": 52342}]
refused:
  description: Versions that were not brought, each with the reason, the next step, and both as one line.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 4, "code": "INCOMPLETE", "message": "holds no saved_model.pb",
    "remedy": "publish it again", "subject": "model digits version 4",
    "line": "model digits version 4: holds no saved_model.pb; publish it again"}]
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

from pathlib import Path
from typing import TYPE_CHECKING

from ..module_utils.modelfleet import manifest_source, pull
from ..module_utils.modelfleet.adapters.opening import open_repository
from ..module_utils.modelfleet.names import subject_of
from ..module_utils.modelfleet.quantity import parse_bytes
from ..module_utils.modelfleet.store import Store
from ..module_utils.modelfleet_module import STORE_SPEC, Params, Result, Spec, run_module

if TYPE_CHECKING:
    from ..module_utils.modelfleet.errors import ModelfleetError


def argument_spec() -> Spec:
    """Return the module's arguments."""
    return {
        "repository": {"type": "str", "required": True},
        **STORE_SPEC,
        "manifest": {"type": "dict", "default": {}},
        "node": {"type": "str", "default": "localhost"},
        "workers": {"type": "int", "default": 4},
        "headroom": {"type": "str", "default": "1Gi"},
        "allow_tracking": {"type": "bool", "default": False},
    }


def run(params: Params, *, check_mode: bool) -> Result:
    """Pull what is missing, or tell what would be pulled."""
    headroom = parse_bytes(params["headroom"], "headroom")
    repository = open_repository(params["repository"])
    store = Store(Path(params["store"]))
    manifest = manifest_source.find(params["manifest"], repository, store, allow_tracking=params["allow_tracking"])
    before = _listing(store)
    if check_mode:
        preparation = pull.prepare(manifest, repository, store, params["node"], headroom)
        desired, refused, seconds = preparation.desired, preparation.plan.refused, 0.0
        pulled = [(item.model, item.version, item.bytes) for item in preparation.plan.items]
        news = {f"{model}/{version}" for model, version, _ in pulled}
        news |= {f"{item.model}/{item.version} set aside" for item in refused if item.fingerprint}
        lifted = {f"{model}/{version} set aside" for model, version in preparation.plan.lifted}
        after = sorted({*before, *news} - (lifted - news))
    else:
        with store.lock(params["lock_timeout"]):
            desired, report = pull.converge(
                manifest,
                repository,
                store,
                params["node"],
                headroom_bytes=headroom,
                workers=params["workers"],
            )
            manifest_source.remember(manifest, repository, store)
        refused, seconds = report.refused, report.seconds
        pulled = [(item.model, item.version, item.bytes) for item in report.pulled]
        after = _listing(store)
    return Result(
        changed=before != after,
        values={
            "desired": desired.to_dict(),
            "pulled": [{"model": model, "version": version, "bytes": size} for model, version, size in pulled],
            "refused": [
                _refusal(item.model, item.version, item.error, subject_of(item.model, item.version)) for item in refused
            ]
            + [_refusal("", 0, problem, problem.subject) for problem in desired.problems],
            "bytes": sum(size for _, _, size in pulled),
            "seconds": round(seconds, 3),
        },
        before="".join(f"{line}\n" for line in before),
        after="".join(f"{line}\n" for line in after),
    )


def _listing(store: Store) -> list[str]:
    """Return the complete versions on disk and those that are set aside, one line each."""
    scan = store.scan()
    complete = {f"{name}/{v}" for name, items in scan.items() for v in items if items[v].complete}
    return sorted(complete | {f"{model}/{version} set aside" for model, version in store.quarantined()})


def _refusal(model: str, version: int, error: ModelfleetError, subject: str) -> dict[str, object]:
    return {
        "model": model,
        "version": version,
        "code": error.code,
        "message": error.problem,
        "remedy": error.remedy,
        "subject": subject,
        "line": error.one_line(),
    }


def main() -> None:
    """Run the module."""
    run_module(argument_spec(), run)


if __name__ == "__main__":
    main()
