# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""The one file that knows AnsibleModule: shared argument blocks, the run of a module, errors, diff."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ansible.module_utils.basic import AnsibleModule

from .modelfleet.adapters.tfserving import TFServing
from .modelfleet.errors import MissingDependency, ModelfleetError
from .modelfleet.manifest import Desired
from .modelfleet.node import Limits, Node, observe
from .modelfleet.rehearsal import with_pending
from .modelfleet.store import Store

if TYPE_CHECKING:
    from .modelfleet.convergence import Observation

Params = Mapping[str, Any]
Spec = dict[str, dict[str, Any]]

#: The node's directory of models and the lock that every change of it takes.
STORE_SPEC: Spec = {
    "store": {"type": "path", "required": True},
    "lock_timeout": {"type": "int", "default": 60},
}
#: What the node should serve, as modelfleet_pull returned it.
DESIRED_SPEC: Spec = {"desired": {"type": "dict", "required": True}}
#: The node's model server and its configuration.
SERVING_SPEC: Spec = {
    "config_file": {"type": "path", "required": True},
    "target": {"type": "str", "default": "127.0.0.1:8500"},
    "base_path": {"type": "path"},
}
#: What the table of versions shows beside them.
TABLE_SPEC: Spec = {"ports": {"type": "str", "default": ""}}
#: Versions that a pull in check mode only announced.
PENDING_SPEC: Spec = {
    "pending": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "model": {"type": "str", "required": True},
            "version": {"type": "int", "required": True},
            "bytes": {"type": "int"},
        },
    },
}
#: What may take models away.
GUARD_SPEC: Spec = {
    "allow_empty": {"type": "bool", "default": False},
    "allow_shrink": {"type": "bool", "default": False},
}


@dataclass(frozen=True)
class Result:
    """What a module tells Ansible.

    Attributes:
        changed: Whether the node was changed, or would be.
        values: The module's own return values.
        before: Text of what was there; shown in diff mode.
        after: Text of what is there now.
        failure: Set when the module did its work and must nevertheless fail.
        warnings: What a person should know although nothing failed, one line each.
    """

    changed: bool
    values: Mapping[str, Any] = field(default_factory=dict)
    before: str | None = None
    after: str | None = None
    failure: str | None = None
    warnings: tuple[str, ...] = ()


class Action(Protocol):
    """What a module does."""

    def __call__(self, params: Params, /, *, check_mode: bool) -> Result:
        """Act on the parameters, or only look in check mode.

        Raises:
            ModelfleetError: it cannot be done.
        """


def run_module(spec: Spec, action: Action, **constraints: list[Any]) -> None:
    """Run a module: parse its arguments, act, report; every expected failure becomes one line.

    Args:
        spec: The argument_spec.
        action: The module's own part.
        constraints: ``required_if`` and its like, passed on to AnsibleModule.
    """
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True, **constraints)
    try:
        result = action(module.params, check_mode=module.check_mode)
    except ModelfleetError as error:
        module.fail_json(msg=error.one_line(), error=error.as_dict())
    except OSError as error:
        # A full disk or a lost permission can strike anywhere; the file's name is all that a person needs.
        module.fail_json(
            msg=f"{error.filename or 'file system'}: {error.strerror or error}", exception=traceback.format_exc()
        )
    for warning in result.warnings:
        module.warn(warning)
    values: dict[str, Any] = {"changed": result.changed, **result.values}
    if result.before is not None and result.after is not None:
        values["diff"] = {"before": result.before, "after": result.after}
    if result.failure is not None:
        module.fail_json(msg=result.failure, **values)
    module.exit_json(**values)


@contextmanager
def node_of(params: Params, *, check_mode: bool) -> Iterator[Node]:
    """Yield the node that the parameters name.

    In check mode a host without the libraries, the store or a server is looked at as it is: it has nothing.
    """
    store = Store(Path(params["store"]))
    log = params.get("server_log")
    server: TFServing | None = None
    try:
        server = TFServing(params["target"])
    except MissingDependency:
        if not check_mode:
            raise
    try:
        yield Node(
            store=store,
            config_file=Path(params["config_file"]),
            server=server,
            base_path=params["base_path"] or params["store"],
            server_log=Path(log) if log else None,
        )
    finally:
        if server is not None:
            server.close()


@contextmanager
def store_lock(node: Node, params: Params, *, check_mode: bool) -> Iterator[None]:
    """Hold the store's lock; not in check mode, which changes nothing and may find no store.

    Raises:
        StoreBusy: another process holds it for longer than ``lock_timeout``.
    """
    if check_mode:
        yield
        return
    with node.store.lock(params["lock_timeout"]):
        yield


def limits_of(params: Params) -> Limits:
    """Return the deadlines and permissions that the parameters state; the defaults for those a module lacks."""
    known = {
        "load_timeout": "load_timeout_s",
        "server_timeout": "server_timeout_s",
        "unload_timeout": "unload_timeout_s",
        "poll_interval": "poll_interval_s",
        "allow_empty": "allow_empty",
        "allow_shrink": "allow_shrink",
    }
    return Limits(**{name: params[option] for option, name in known.items() if params.get(option) is not None})


def desired_of(params: Params) -> Desired:
    """Return the desired state that was handed on from modelfleet_pull."""
    return Desired.from_dict(params["desired"] or {})


def look(node: Node, params: Params) -> Observation:
    """Return the node as it is, together with what a pull announced."""
    pending = [(item["model"], item["version"]) for item in params.get("pending") or []]
    return with_pending(observe(node, desired_of(params), limits_of(params)), pending)
