"""What is where on a node, as rows, as a table for people, and as one verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .names import subject_of
from .status import DAMAGED, LOAD_TIMEOUT, ServingState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .convergence import Key, Observation

#: States of a version that the server does not report: it is only on disk, wanted but not here, or set aside.
ON_DISK = "ON_DISK"
PENDING = "PENDING"
QUARANTINED = "QUARANTINED"
#: What is and what is not, for people; None is not known.
_WORDS = {True: "yes", False: "no", None: "?"}


@dataclass(frozen=True)
class Row:
    """One version of a model on one node.

    Attributes:
        model: Name of the model.
        version: Its version.
        wanted: Whether the desired state names it; None when the desired state is not known.
        on_disk: Whether it is complete on this node.
        configured: Whether models.config names it.
        state: The server's state, or one of the states of this module.
        labels: Labels that lead to it at this moment.
        message: Why it is not served; empty when it is, or when it need not be.
        superseded: Whether a newer version of the model serves, so that nobody misses this one.
    """

    model: str
    version: int
    wanted: bool | None
    on_disk: bool
    configured: bool
    state: str
    labels: tuple[str, ...]
    message: str = ""
    superseded: bool = False

    @property
    def fault(self) -> bool:
        """Whether something that should be served is not, or was set aside and nothing newer took its place."""
        missed = self.state == QUARANTINED and not self.superseded
        return bool(self.message) and (missed if self.wanted is False else True)

    @property
    def line(self) -> str:
        """What is wrong and what to do, in one line."""
        return f"{subject_of(self.model, self.version)}: {self.message}; {self._remedy}"

    @property
    def _remedy(self) -> str:
        if self.state == QUARANTINED and self.message.startswith(f"{DAMAGED}:"):
            return "deploy again: it is pulled anew"
        if self.state == QUARANTINED and self.message.startswith(f"{LOAD_TIMEOUT}:"):
            return "allow more time to load, and release it by removing its record below .quarantine of the store"
        if self.state == QUARANTINED:
            return "publish it again under a new version number, or want another version"
        if self.state == PENDING:
            return "the reason stands with the pull"
        return "look at the server's log"


def rows(o: Observation, *, desired_known: bool = True) -> list[Row]:
    """Return a row for every version that is wanted, on disk, configured, served or set aside."""
    keys: set[Key] = {(name, v) for name, versions in o.disk.items() for v in versions} | set(o.quarantined)
    for name, model in o.desired.models.items():
        keys |= {(name, v) for v in model.versions}
    for name, entry in (o.config.entries if o.config else {}).items():
        keys |= {(name, v) for v in entry.versions}
    for name, versions in (o.serving or {}).items():
        keys |= {(name, v) for v, status in versions.items() if not status.gone}
    return [_row(o, name, version, desired_known=desired_known) for name, version in sorted(keys)]


def _row(o: Observation, name: str, version: int, *, desired_known: bool) -> Row:
    model = o.desired.models.get(name)
    wanted = model is not None and version in model.versions
    on_disk = version in o.disk.get(name, frozenset())
    configured = o.config is not None and version in o.config.versions(name)
    status = (o.serving or {}).get(name, {}).get(version)
    reason = o.quarantined.get((name, version), "")
    if status is not None and not status.gone:
        state, message = status.state.name, "" if status.available else reason
    elif reason:
        state, message = QUARANTINED, reason
    elif not on_disk:
        state, message = PENDING, "not on this node yet"
    elif configured or wanted:
        state = status.state.name if status else "UNKNOWN"
        message = "no server answers" if o.serving is None else "not loaded"
        if status is not None and status.failed:
            message = f"{status.error_code}: {status.error_message}"
    else:
        state, message = ON_DISK, ""
    labels = tuple(sorted(label for (owner, label), at in o.labels.items() if owner == name and at == version))
    serving = (o.serving or {}).get(name, {})
    superseded = any(v > version and status.available for v, status in serving.items())
    known = wanted if desired_known else None
    return Row(name, version, known, on_disk, configured, state, labels, message, superseded)


def as_data(items: Iterable[Row]) -> list[dict[str, object]]:
    """Return rows as plain data for JSON and module results."""
    return [{**asdict(row), "labels": list(row.labels)} for row in items]


def table(items: Sequence[Row], ports: str = "") -> list[str]:
    """Return rows as the lines of an aligned table; reasons follow below it, one line each.

    Args:
        items: The rows.
        ports: Where the node's server listens, for a column of its own; none without.
    """
    header = ("MODEL", "VERSION", "STATE", "LABELS", "WANTED", "ON DISK", "CONFIGURED", *(["PORTS"] if ports else []))
    body = [
        (
            row.model,
            str(row.version),
            row.state,
            ",".join(row.labels) or "-",
            _WORDS[row.wanted],
            _WORDS[row.on_disk],
            _WORDS[row.configured],
            *([ports if row.state == ServingState.AVAILABLE.name else "-"] if ports else []),
        )
        for row in items
    ]
    lines = aligned([header, *body])
    return lines + [row.line for row in items if row.fault]


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with columns of equal width."""
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]


def healthy(items: Iterable[Row], o: Observation) -> bool:
    """Return whether every wanted version is served and nothing is set aside."""
    return o.serving is not None and not any(row.fault for row in items)


def faults(items: Iterable[Row]) -> list[dict[str, object]]:
    """Return the rows that need a person, as plain data, each with its subject and its line for people."""
    return [
        {**row_data, "subject": subject_of(row.model, row.version), "line": row.line}
        for row, row_data in ((row, as_data([row])[0]) for row in items if row.fault)
    ]
