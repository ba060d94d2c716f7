"""Rows that are not taken: where each stands, what is wrong with which value, and how to mend it. Pure."""

import reprlib
from dataclasses import asdict, dataclass
from typing import Any

FILE_NAME = "rejects.jsonl"


class RowError(Exception):
    """A row that makes no pair."""

    def __init__(self, reason: str, column: str | None, value: Any, fix: str) -> None:
        """Says what is wrong.

        Args:
            reason: a code; codes are counted.
            column: where in the row; None: the row itself.
            value: what stands there.
            fix: what to do.
        """
        super().__init__(reason, column, value, fix)
        self.reason, self.column, self.value, self.fix = reason, column, value, fix


@dataclass(frozen=True)
class Place:
    """Where a row stands."""

    file: str
    line: int | None = None
    """Of a text file, from 1."""
    row: int | None = None
    """Of a file without lines, from 0."""

    def __str__(self) -> str:
        return f"{self.file}, " + (f"line {self.line}" if self.line is not None else f"row {self.row}")


@dataclass(frozen=True)
class Reject:
    """A row that is not taken."""

    place: Place
    reason: str
    column: str | None
    value: str
    """Shortened."""
    fix: str

    @classmethod
    def of(cls, place: Place, error: RowError) -> "Reject":
        """The row at `place`, for the reason of `error`."""
        return cls(place, error.reason, error.column, reprlib.repr(error.value), error.fix)

    def to_dict(self) -> dict[str, Any]:
        """A line of `rejects.jsonl`."""
        return asdict(self.place) | {
            "reason": self.reason, "column": self.column, "value": self.value, "fix": self.fix,
        }  # fmt: skip

    def __str__(self) -> str:
        at = f"{self.column}={self.value}" if self.column else self.value
        return f"{self.place}: {at} ({self.reason}); {self.fix}"
