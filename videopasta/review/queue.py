"""What is looked at next. Pure: entries in, an order out.

The least sure candidates come first: a look at them changes most. How sure the judges were is their confidence times
the share of their votes that agree; a candidate that no judge saw is at the end.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Shown = Literal["accepted", "dropped", "all"]
Order = Literal["uncertain", "stored"]


@dataclass(frozen=True)
class Entry:
    """What the queue knows of a candidate; its texts are read when it is shown."""

    pair_id: str
    failure_mode: str
    adversary: str
    accepted: bool
    """By the judge."""
    drop_reason: str | None
    confidence: float | None
    """0 to 1; None: no judge saw it."""
    agreement: float | None
    """Share of the votes that agree with the verdict."""

    @property
    def certainty(self) -> float:
        """0 to 1; 2 where nothing is known."""
        return 2.0 if self.confidence is None else self.confidence * (1.0 if self.agreement is None else self.agreement)


@dataclass(frozen=True)
class Filters:
    """Which entries are looked at, and in what order."""

    shown: Shown = "accepted"
    failure_mode: str | None = None
    adversary: str | None = None
    max_confidence: float | None = None
    disagreed: bool = False
    """Only where the votes differ."""
    undecided: bool = False
    """Only what nobody has decided."""
    order: Order = "uncertain"

    def select(self, entries: Iterable[Entry], decided: Collection[str]) -> list[Entry]:
        """The entries that pass, in their order.

        Args:
            entries: as the store has them.
            decided: ids with a standing decision, of anybody.
        """
        kept = [entry for entry in entries if self._passes(entry, decided)]
        return sorted(kept, key=lambda entry: entry.certainty) if self.order == "uncertain" else kept

    def _passes(self, entry: Entry, decided: Collection[str]) -> bool:
        return (
            (self.shown == "all" or entry.accepted == (self.shown == "accepted"))
            and self.failure_mode in (None, entry.failure_mode)
            and self.adversary in (None, entry.adversary)
            and (
                self.max_confidence is None
                or (entry.confidence is not None and entry.confidence <= self.max_confidence)
            )
            and not (self.disagreed and (entry.agreement is None or entry.agreement >= 1))
            and not (self.undecided and entry.pair_id in decided)
        )


@dataclass(frozen=True)
class Place:
    """Where an entry stands among those that pass the filters."""

    number: int | None
    """From 1; None: it does not pass them (any more)."""
    count: int
    previous: str | None
    following: str | None


def place(pair_id: str, queue: Sequence[Entry]) -> Place:
    """Of `pair_id` in `queue`."""
    ids = [entry.pair_id for entry in queue]
    if pair_id not in ids:
        return Place(None, len(ids), None, ids[0] if ids else None)
    at = ids.index(pair_id)
    return Place(at + 1, len(ids), ids[at - 1] if at else None, ids[at + 1] if at + 1 < len(ids) else None)


def next_open(queue: Sequence[Entry], after: str | None, closed: Collection[str]) -> str | None:
    """The next behind `after` that is not `closed` (decided, or looked at by somebody else); then from the start."""
    ids = [entry.pair_id for entry in queue]
    at = ids.index(after) + 1 if after in ids else 0
    return next((one for one in ids[at:] + ids[:at] if one not in closed and one != after), None)
