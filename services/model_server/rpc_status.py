"""The status codes and the one error type of the model server, numbered as gRPC numbers them."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """gRPC's canonical codes; the numbers are the wire format of ``StatusProto.error_code``."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class StatusError(Exception):
    """A failure with the code and the words that a client sees, which are UTF-8 in every protocol.

    A file name may hold any bytes; those that are no UTF-8 are shown as replacement characters.
    """

    def __init__(self, code: Code, message: str) -> None:
        self.code = code
        self.message = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        super().__init__(f"{code.name}: {self.message}")
