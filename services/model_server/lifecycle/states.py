"""The names and states of versions, as they are published and reported."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from ..rpc_status import StatusError

#: A ``tensorflow.serving.ModelServerConfig``. Message classes are made at run time and have no static type.
ModelServerConfig: TypeAlias = Any
#: A ``tensorflow.serving.ModelConfig``: one model of a ModelServerConfig.
ModelConfig: TypeAlias = Any
#: A ``tensorflow.serving.ModelSpec``.
ModelSpec: TypeAlias = Any


class ServableId(NamedTuple):
    """One version of one model; printed the way operators know it from the server's log."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{{name: {self.name} version: {self.version}}}"


class ManagerState(IntEnum):
    """The published states; the numbers are those of ``ModelVersionStatus.State``."""

    UNKNOWN = 0
    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class ServableState:
    """An event: a version entered a state.

    Attributes:
        id: The version.
        state: The state it entered.
        error: Why it ended, when it did not end well.
    """

    id: ServableId
    state: ManagerState
    error: StatusError | None = None


@dataclass(frozen=True, kw_only=True)
class VersionReport:
    """What GetModelStatus says about one version.

    Attributes:
        version: The version's number.
        state: A number of ``ModelVersionStatus.State``.
        error_code: A number of ``Code``; 0 unless the version ended in an error.
        error_message: The text of that error, whole.
    """

    version: int
    state: int
    error_code: int
    error_message: str
