# Copyright: modelfleet contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the modules share that look at a whole node: its store, its configuration and its model server.

Apart from modelfleet_module.py, so that modules that do not need it do not carry the half of the engine to the node.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .modelfleet.adapters.tfserving import TFServing
from .modelfleet.errors import MissingDependency
from .modelfleet.manifest import Desired
from .modelfleet.node import Limits, Node, observe
from .modelfleet.rehearsal import with_pending
from .modelfleet.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .modelfleet.convergence import Observation
    from .modelfleet_module import Params, Spec

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
