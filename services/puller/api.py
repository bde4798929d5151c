"""What a puller answers on its port."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from modelfleet.names import model_name, subject_of, version_number

from ..common.operations import Api, Operation, Reply
from ..common.prometheus import MEDIA_TYPE, of_this_process, render
from ..common.refusals import Conflict, NotFound
from . import verdicts
from .schemas import CANCEL, SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from modelfleet.errors import ModelfleetError

    from .engine import Engine
    from .vitals import Vitals

#: Changes when callers have to change.
API_VERSION = "1"

_NOTHING_TO_CANCEL = {
    HTTPStatus.NOT_FOUND: "No such model or version is wanted here.",
    HTTPStatus.CONFLICT: "Nothing of it is on its way.",
}


class PullerApi:
    """The operations of one puller.

    Args:
        engine: What pulls.
        vitals: Signs of life of every thread.
    """

    def __init__(self, engine: Engine, vitals: Vitals) -> None:
        self._engine = engine
        self._vitals = vitals

    def described(self) -> Api:
        """Return everything that is answered."""
        return Api(
            title="modelfleet puller",
            version=API_VERSION,
            operations=(*self._reading(), *self._changing()),
            schemas=SCHEMAS,
        )

    def _reading(self) -> tuple[Operation, ...]:
        ok, unavailable = HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE
        return (
            Operation(
                method="GET",
                path="/health",
                name="health",
                summary="Whether the service is well: every thread lives, and its source lets it in.",
                run=self._health,
                answers={ok: "It is.", unavailable: "It is not; the reasons say why."},
                schema=_ref("Health"),
            ),
            Operation(
                method="GET",
                path="/ready",
                name="ready",
                summary="Whether everything that is wanted is complete on disk.",
                run=self._ready,
                answers={ok: "It is.", unavailable: "It is not; what is missing is named."},
                schema=_ref("Readiness"),
            ),
            Operation(
                method="GET",
                path="/status",
                name="status",
                summary="Every wanted version: state, reason, attempts, bytes.",
                run=lambda _: Reply(verdicts.status_data(self._engine.status())),
                answers={ok: "What the puller knows."},
                schema=_ref("Status"),
            ),
            Operation(
                method="GET",
                path="/metrics",
                name="metrics",
                summary="The same in numbers, for Prometheus.",
                run=self._metrics,
                answers={ok: "Prometheus' text format."},
                schema=None,
                media_type=MEDIA_TYPE,
            ),
        )

    def _changing(self) -> tuple[Operation, ...]:
        accepted = {HTTPStatus.ACCEPTED: "It will."}
        return (
            Operation(
                method="POST",
                path="/sync",
                name="sync",
                summary="Look at manifest, repository and disk now, and try what failed or was cancelled again.",
                run=lambda _: self._told(self._engine.sync),
                answers=accepted,
                schema=_ref("Accepted"),
            ),
            Operation(
                method="POST",
                path="/cancel",
                name="cancel",
                summary="Stop pulling a model, or one version of it, until the next sync.",
                run=self._cancel,
                answers={HTTPStatus.OK: "What was stopped."},
                schema=_ref("Cancelled"),
                body=CANCEL,
                errors=_NOTHING_TO_CANCEL,
            ),
            Operation(
                method="POST",
                path="/pause",
                name="pause",
                summary="Begin nothing new until resume.",
                run=lambda _: self._told(self._engine.pause),
                answers=accepted,
                schema=_ref("Accepted"),
            ),
            Operation(
                method="POST",
                path="/resume",
                name="resume",
                summary="Go on after a pause.",
                run=lambda _: self._told(self._engine.resume),
                answers=accepted,
                schema=_ref("Accepted"),
            ),
        )

    def _health(self, _body: Mapping[str, Any]) -> Reply:
        status, signs = self._engine.status(), self._vitals.signs()
        reasons = verdicts.unwell(status, signs, self._vitals.limit_s, self._vitals.problems())
        told = {
            "healthy": not reasons,
            "node": status.node,
            "reasons": [_reason(error) for error in reasons],
            "threads": {
                thread: {"age_s": round(age_s, 3), "doing": doing} for thread, (age_s, doing) in sorted(signs.items())
            },
        }
        return Reply(told, HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK)

    def _ready(self, _body: Mapping[str, Any]) -> Reply:
        told = verdicts.readiness(self._engine.status())
        return Reply(told, HTTPStatus.OK if told["ready"] else HTTPStatus.SERVICE_UNAVAILABLE)

    def _metrics(self, _body: Mapping[str, Any]) -> Reply:
        metrics = verdicts.metrics(self._engine.status(), self._vitals.signs())
        return Reply(render([*metrics, *of_this_process()]), media_type=MEDIA_TYPE)

    def _told(self, order: Callable[[], None]) -> Reply:
        order()
        return Reply({"paused": self._engine.status().paused}, HTTPStatus.ACCEPTED)

    def _cancel(self, body: Mapping[str, Any]) -> Reply:
        """Stop what is on its way.

        Raises:
            InvalidInput: the names are none.
            NotFound: nothing of that name is wanted.
            Conflict: it is wanted, and not on its way.
        """
        model = model_name(body["model"])
        version = version_number(body["version"]) if "version" in body else None
        stopped = self._engine.cancel(model, version)
        if not stopped:
            subject = f"model {model}" if version is None else subject_of(model, version)
            wanted = {(report.model, report.version) for report in self._engine.status().versions}
            if (model, version) in wanted or (version is None and any(model == name for name, _ in wanted)):
                raise Conflict(subject, "is not on its way", "see GET /status for what is")
            raise NotFound(subject, "is not wanted here", "see GET /status for what is")
        return Reply({"cancelled": [{"model": name, "version": number} for name, number in stopped]})


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _reason(error: ModelfleetError) -> dict[str, str]:
    return {"code": error.code, "subject": error.subject, "problem": error.problem, "remedy": error.remedy}
