"""The error tree every face of the fleet shows.

Library code raises these; only an edge (a module, a command, an HTTP handler) turns one into an exit status or a
response. Every error names the offending thing, says what is wrong, and says what to do next.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class ModelfleetError(Exception):
    """Base of every expected failure.

    Attributes:
        code: Stable upper-case reason, the same in tables, JSON and logs.
        subject: What the error is about: a model version, a path, an option.
        problem: What is wrong with it, one line.
        remedy: The next step for the person who reads it, one line; empty when there is none.
        retryable: Whether trying again, without any change by a person, may succeed.
    """

    code = "FAILED"
    retryable = False

    def __init__(self, subject: str, problem: str, remedy: str = "") -> None:
        self.subject = subject
        self.problem = problem
        self.remedy = remedy
        super().__init__(self.one_line())

    def one_line(self) -> str:
        """Return the error as the single line that is shown to people."""
        line = f"{self.subject}: {self.problem}"
        return f"{line}; {self.remedy}" if self.remedy else line

    def as_dict(self) -> dict[str, object]:
        """Return the error as plain data, for JSON output and module results."""
        return {
            "code": self.code,
            "subject": self.subject,
            "problem": self.problem,
            "remedy": self.remedy,
            "retryable": self.retryable,
        }


class InvalidInput(ModelfleetError):
    """A value from outside (option, manifest, file, name) is not acceptable."""

    code = "INVALID"


class MissingDependency(ModelfleetError):
    """Something that role ``host`` installs is not there for the interpreter in use."""

    code = "MISSING_DEPENDENCY"

    def __init__(self, dependency: str, needed_for: str) -> None:
        super().__init__(
            dependency,
            f"is not installed for {sys.executable}, and {needed_for} needs it",
            "run playbooks/deploy.yml: its role host lays an environment that has it",
        )


class StoreError(ModelfleetError):
    """The local directory of models cannot be used as it is."""

    code = "STORE_UNUSABLE"


class StoreBusy(ModelfleetError):
    """Another process holds the lock of the store."""

    code = "STORE_BUSY"
    retryable = True


class SourceNotFound(ModelfleetError):
    """The repository, or a model or version in it, does not exist."""

    code = "SOURCE_NOT_FOUND"


class SourceEmpty(ModelfleetError):
    """The repository or a model in it holds no version at all."""

    code = "EMPTY"


class SourceForbidden(ModelfleetError):
    """The repository refuses access."""

    code = "FORBIDDEN"


class SourceUnavailable(ModelfleetError):
    """The repository does not answer now, or not properly.

    Attributes:
        retry_after_s: How long the repository asks to wait, in seconds; 0 when it does not say.
    """

    code = "UNAVAILABLE"
    retryable = True

    def __init__(self, subject: str, problem: str, remedy: str = "", retry_after_s: float = 0.0) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(subject, problem, remedy)


class SourceIncomplete(ModelfleetError):
    """A version in the repository is not a complete SavedModel."""

    code = "INCOMPLETE"
    retryable = True


class SourceChanged(ModelfleetError):
    """An object changed while it was being pulled."""

    code = "CHANGED"
    retryable = True


class VersionOverwritten(ModelfleetError):
    """A published version was replaced in the repository: versions never change, a new one gets a new number."""

    code = "OVERWRITTEN"


class DigestMismatch(ModelfleetError):
    """Bytes that arrived are not the bytes that were announced."""

    code = "DIGEST_MISMATCH"
    retryable = True


class DigestMissing(ModelfleetError):
    """A version has no digests although they are required."""

    code = "DIGEST_MISSING"
    retryable = True


class UnsupportedFramework(ModelfleetError):
    """A model is of a framework that this fleet does not serve."""

    code = "UNSUPPORTED"


class NoMemory(ModelfleetError):
    """The models that are wanted announce more memory than the node has for them."""

    code = "NO_MEMORY"


class Stalled(ModelfleetError):
    """No byte arrived for too long."""

    code = "STALLED"
    retryable = True


class NoSpace(ModelfleetError):
    """The store's file system cannot hold what would be pulled."""

    code = "NO_SPACE"
    retryable = True


class DeadlineExceeded(ModelfleetError):
    """A bounded wait ended without the awaited state."""

    code = "TIMEOUT"
    retryable = True


class ServerUnreachable(ModelfleetError):
    """No TensorFlow Serving answers at the target."""

    code = "SERVER_UNREACHABLE"
    retryable = True


class ServerRefused(ModelfleetError):
    """TensorFlow Serving answered a call with an error.

    Attributes:
        grpc_code: Name of the gRPC status code, for example ``FAILED_PRECONDITION``.
        server_message: The server's own words.
    """

    code = "SERVER_REFUSED"

    def __init__(self, subject: str, grpc_code: str, server_message: str, remedy: str = "") -> None:
        self.grpc_code = grpc_code
        self.server_message = server_message
        super().__init__(subject, f"{grpc_code}: {server_message}", remedy)


class ReloadLockHeld(ModelfleetError):
    """A reload did not return in time: the server still holds its configuration lock."""

    code = "RELOAD_LOCK_HELD"


class GuardRefused(ModelfleetError):
    """A guard stopped a change that would take models away from users."""

    code = "GUARD_REFUSED"


class ProbeFailed(ModelfleetError):
    """A served model answered, but not as expected."""

    code = "PROBE_FAILED"


def rebuilt(data: Mapping[str, Any]) -> ModelfleetError:
    """Return the error that ``as_dict`` gave as plain data.

    A reason of a class that carries more than the common parts, or an unknown one, comes back as the base class with
    that reason.

    Raises:
        KeyError: the data has no code, subject or problem.
    """
    code = str(data["code"])
    known = {kind.code: kind for kind in ModelfleetError.__subclasses__() if kind.__init__ is ModelfleetError.__init__}
    error = known.get(code, ModelfleetError)(str(data["subject"]), str(data["problem"]), str(data.get("remedy", "")))
    error.code = code
    error.retryable = bool(data.get("retryable", error.retryable))
    return error
