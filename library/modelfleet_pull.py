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
    numeric directory below a model is always complete. A receipt beside it proves that.
  - A version that is incomplete or damaged is refused with its reason and does not hold up the others.
  - Interrupted pulls go on from where they were. Nothing but the module's own staging is ever deleted.
  - Where a puller runs on the node (O(puller)), the module lets it bring the versions, waits, and tells how far it is.
options:
  repository:
    description:
      - Where the models are, C(<model>/<version>/saved_model.pb) below it. V(gs://bucket/prefix),
        V(s3://bucket/prefix), V(file:///directory) or an absolute directory.
      - Exactly one of O(repository) and O(config_dir) is required.
    type: str
  config_dir:
    description:
      - A directory on the node with KServe's definitions of models, C(models.json) or a file for each model, each with
        a source of its own. V(http://) and V(https://) sources are files and archives.
    type: path
  store:
    description:
      - The node's directory of models, C($LOCAL_MODEL_DIRECTORY).
    type: path
    required: true
  manifest:
    description:
      - The desired state (C(defaults), C(models), C(overrides), C(absent)). Not used with O(config_dir).
      - Without C(models) in it, C(fleet.json) of the repository is taken; without that, every model of the
        repository is wanted in its latest version.
    type: dict
    default: {}
  node:
    description:
      - Name of this node, as the overrides of a manifest have it.
    type: str
    default: localhost
  workers:
    description:
      - Parts of objects that are pulled at the same time, of all models together.
    type: int
    default: 4
  headroom:
    description:
      - Space that stays free on the store's file system, as a number of bytes with an optional unit (V(512Mi),
        V(1Gi), V(1G)).
      - A pull that would use it is refused before its first byte.
    type: str
    default: 1Gi
  bandwidth:
    description:
      - The most bytes that are pulled in a second, for example V(100Mi); V(0) is no limit.
    type: str
    default: "0"
  stall_timeout:
    description:
      - Seconds without a byte after which a transfer is begun again.
    type: float
    default: 60
  retries:
    description:
      - How often a version is tried again after a failure that may pass.
      - With a puller, the module stops waiting for such a version after as many attempts; the puller never gives up.
    type: int
    default: 4
  require_digest:
    description:
      - Refuse versions that do not come with C(digests.json), the sha256 of each of their files.
    type: bool
    default: false
  memory_budget:
    description:
      - Memory of this node for models, for example V(12Gi). A model that announces more than is left is refused and
        stays as it is. V(0) is no check.
    type: str
    default: "0"
  access:
    description:
      - How repositories are reached. What is left out is decided by the node's environment, as for Google's and
        Amazon's own tools (C(CLOUDSDK_CONFIG), C(GOOGLE_APPLICATION_CREDENTIALS), C(STORAGE_EMULATOR_HOST),
        C(AWS_ACCESS_KEY_ID), C(AWS_SHARED_CREDENTIALS_FILE), C(AWS_ENDPOINT_URL), C(HTTPS_PROXY) and so on).
    type: dict
    default: {}
    suboptions:
      gcs_endpoint:
        description: URL of a server that speaks the protocol of Google Cloud Storage.
        type: str
      s3_endpoint:
        description: URL of a server that speaks the protocol of S3.
        type: str
      s3_region:
        description: Region of an S3 bucket.
        type: str
      s3_path_style:
        description: Whether the bucket goes into the path of S3's URLs. By default it does with an endpoint.
        type: bool
      anonymous:
        description: Ask without credentials.
        type: bool
      credentials_file:
        description: File with Google credentials.
        type: path
      ca_bundle:
        description: File with the certificates to trust instead of the system's.
        type: path
      proxy:
        description: URL of the proxy for every request.
        type: str
      http_headers:
        description: Headers for http(s) sources, by host.
        type: dict
  puller:
    description:
      - The puller that runs on this node, role remote_model_puller. It has to follow the same manifest and source.
      - When it does not answer, the module warns and pulls by itself. In check mode it is not asked.
    type: dict
    suboptions:
      url:
        description: Where its API is, for example V(http://127.0.0.1:8001). Empty means that there is none.
        type: str
        required: true
      token_file:
        description: File with its token.
        type: path
  turn:
    description:
      - With O(puller), return after so many seconds although versions are on their way, so that a loop can show how
        far they are. V(0) waits for all of them.
    type: float
    default: 0
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
- name: Bring every model of a directory to this node
  modelfleet_pull:
    repository: /srv/models
    store: /local_saved_models
  register: models_pull

- name: Keep two pinned versions of one model
  modelfleet_pull:
    repository: gs://acme-models/production
    store: /local_saved_models
    manifest:
      models:
        digits:
          versions: [3, 4]
          labels: {stable: 3, canary: 4}

- name: Pull from an S3 server of one's own, at most 50 MiB a second, and only what carries digests
  modelfleet_pull:
    repository: s3://models
    store: /local_saved_models
    bandwidth: 50Mi
    require_digest: true
    access:
      s3_endpoint: https://s3.example.com:9000
      ca_bundle: /etc/ssl/acme.pem

- name: Let the node's puller bring what is missing, and show every five seconds how far it is
  modelfleet_pull:
    repository: gs://acme-models/production
    store: /local_saved_models
    puller:
      url: http://127.0.0.1:8001
      token_file: /opt/modelfleet/etc/remote_model_puller.token
    turn: 5
  register: models_pull
  loop: "{{ range(10000) }}"
  loop_control:
    label: "{{ models_pull.progress | default('') }}"
    break_when: models_pull.unfinished | default([]) | length == 0
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
unfinished:
  description: Versions that the puller is bringing; empty unless the O(turn) was over before.
  returned: success
  type: list
  elements: dict
  sample: [{"model": "digits", "version": 3, "state": "PULLING", "bytes_done": 1048576, "bytes_total": 52342000}]
progress:
  description: How far the pull is, or what it brought, for people.
  returned: success
  type: str
  sample: "1 version on the way, 1 MiB of 49.9 MiB (2 %), 512 KiB/s, about 96 s left: digits 3"
bytes:
  description: Bytes of the versions that were brought, or would be.
  returned: success
  type: int
  sample: 52342
seconds:
  description: Wall time of the pull.
  returned: success
  type: float
  sample: 0.4
"""

import time
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..module_utils.modelfleet import manifest_source, pull
from ..module_utils.modelfleet.adapters.access import Access
from ..module_utils.modelfleet.adapters.opening import open_repository
from ..module_utils.modelfleet.adapters.puller_client import PullerClient
from ..module_utils.modelfleet.errors import ServerUnreachable
from ..module_utils.modelfleet.names import subject_of
from ..module_utils.modelfleet.pull_asking import Brought, bring, progress_line
from ..module_utils.modelfleet.pull_settings import PullSettings
from ..module_utils.modelfleet.quantity import parse_bytes, show_bytes
from ..module_utils.modelfleet.store import Store
from ..module_utils.modelfleet_module import STORE_SPEC, Params, Result, Spec, run_module

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..module_utils.modelfleet.adapters.repository import Repository
    from ..module_utils.modelfleet.errors import ModelfleetError
    from ..module_utils.modelfleet.manifest import Manifest
    from ..module_utils.modelfleet.pull_plan import Preparation

#: Where models are: exactly one of these.
SOURCES = [["repository", "config_dir"]]


def argument_spec() -> Spec:
    """Return the module's arguments."""
    access = {
        "gcs_endpoint": {"type": "str"},
        "s3_endpoint": {"type": "str"},
        "s3_region": {"type": "str"},
        "s3_path_style": {"type": "bool"},
        "anonymous": {"type": "bool"},
        "credentials_file": {"type": "path"},
        "ca_bundle": {"type": "path"},
        "proxy": {"type": "str"},
        "http_headers": {"type": "dict", "no_log": True},
    }
    puller = {"url": {"type": "str", "required": True}, "token_file": {"type": "path", "no_log": False}}
    return {
        "repository": {"type": "str"},
        "config_dir": {"type": "path"},
        **STORE_SPEC,
        "manifest": {"type": "dict", "default": {}},
        "node": {"type": "str", "default": "localhost"},
        "workers": {"type": "int", "default": 4},
        "headroom": {"type": "str", "default": "1Gi"},
        "bandwidth": {"type": "str", "default": "0"},
        "stall_timeout": {"type": "float", "default": 60},
        "retries": {"type": "int", "default": 4},
        "require_digest": {"type": "bool", "default": False},
        "memory_budget": {"type": "str", "default": "0"},
        "access": {"type": "dict", "default": {}, "options": access},
        "puller": {"type": "dict", "options": puller},
        "turn": {"type": "float", "default": 0},
        "allow_tracking": {"type": "bool", "default": False},
    }


def run(params: Params, *, check_mode: bool) -> Result:
    """Pull what is missing, or tell what would be pulled."""
    settings = PullSettings(
        workers=params["workers"],
        headroom_bytes=parse_bytes(params["headroom"], "headroom"),
        bandwidth_bytes_per_s=parse_bytes(params["bandwidth"], "bandwidth"),
        stall_s=params["stall_timeout"],
        retries=params["retries"],
        require_digest=params["require_digest"],
        memory_bytes=parse_bytes(params["memory_budget"], "memory_budget"),
    )
    store, puller = Store(Path(params["store"])), _puller(params)
    with _source(params, store) as (manifest, repository):
        look = partial(pull.prepare, manifest, repository, store, params["node"], settings)
        before = _listing(store)
        if check_mode:
            return _forecast(look(), before)
        with store.lock(params["lock_timeout"]):
            manifest_source.remember(manifest, repository, store)
        began = time.monotonic()
        warnings: tuple[str, ...] = ()
        brought: Brought | None = None
        if puller:
            try:
                brought = bring(puller, look, params["turn"])
            except ServerUnreachable as error:
                warnings = (f"{error.one_line()}; this run pulls by itself",)
        if brought is None:
            desired, report = pull.converge(manifest, repository, store, params["node"], settings)
            brought = Brought(desired, report.pulled, report.refused)
        return _result(brought, before, _listing(store), time.monotonic() - began, warnings)


def _puller(params: Params) -> PullerClient | None:
    """Return the puller of the node; None where there is none."""
    given = params["puller"]
    return PullerClient(given["url"], given["token_file"] or "") if given and given["url"] else None


@contextmanager
def _source(params: Params, store: Store) -> Iterator[tuple[Manifest, Repository]]:
    """Yield what is wanted, and where it comes from."""
    # What is not said is left to the environment.
    access = Access(**{name: value for name, value in params["access"].items() if value is not None})
    if params["config_dir"]:
        # Both bring every kind of source along; Ansible compiles it anew on each run.
        from ..module_utils.modelfleet.adapters.sources import Sources, SourcesRepository  # noqa: PLC0415  (above)
        from ..module_utils.modelfleet.following import FollowedDefinitions  # noqa: PLC0415  (above)

        found = FollowedDefinitions(Path(params["config_dir"]), lambda _change: None).look()
        with closing(Sources(access)) as sources:
            yield found, SourcesRepository(found.locations, store.origins, sources, params["config_dir"])
        return
    with closing(open_repository(params["repository"], access)) as repository:
        allow = params["allow_tracking"]
        yield manifest_source.find(params["manifest"], repository, store, allow_tracking=allow), repository


def _forecast(prepared: Preparation, before: list[str]) -> Result:
    """Return what a pull would do."""
    plan = prepared.plan
    news = {f"{item.model}/{item.version}" for item in plan.items}
    news |= {f"{item.model}/{item.version} set aside" for item in plan.refused if item.fingerprint}
    lifted = {f"{model}/{version} set aside" for model, version in plan.lifted}
    brought = Brought(prepared.desired, plan.items, plan.refused)
    return _result(brought, before, sorted({*before, *news} - (lifted - news)), 0.0)


def _result(
    brought: Brought, before: list[str], after: list[str], seconds: float, warnings: tuple[str, ...] = ()
) -> Result:
    pulled = [{"model": item.model, "version": item.version, "bytes": item.bytes} for item in brought.pulled]
    size = sum(item.bytes for item in brought.pulled)
    refused = [
        _refusal(item.model, item.version, item.error, subject_of(item.model, item.version)) for item in brought.refused
    ]
    refused += [_refusal("", 0, problem, problem.subject) for problem in brought.desired.problems]
    return Result(
        changed=before != after,
        values={
            "desired": brought.desired.to_dict(),
            "pulled": pulled,
            "refused": refused,
            "unfinished": [report.to_dict() for report in brought.unfinished],
            "progress": progress_line(brought.unfinished) if brought.unfinished else _summary(len(pulled), size),
            "bytes": size,
            "seconds": round(seconds, 3),
        },
        before="".join(f"{line}\n" for line in before),
        after="".join(f"{line}\n" for line in after),
        warnings=warnings,
    )


def _summary(versions: int, size: int) -> str:
    """Return for people what came in the end."""
    if not versions:
        return "nothing to pull"
    return f"{versions} version{'s' * (versions != 1)}, {show_bytes(size)}"


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
    run_module(argument_spec(), run, required_one_of=SOURCES, mutually_exclusive=SOURCES)


if __name__ == "__main__":
    main()
