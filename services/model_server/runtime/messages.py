"""The type of messages whose classes are made at run time, and so are unknown to a type checker."""

from __future__ import annotations

from typing import Any, TypeAlias

#: A protobuf message; its documentation names which.
Message: TypeAlias = Any
