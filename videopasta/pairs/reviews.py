"""What people decided about candidates: `DIR/reviews/*.parquet`, a row a decision; of a pair the latest one counts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.errors import UserError

Action = Literal["accept", "reject", "swap", "edit"]
REVIEWS = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("decision", pa.string(), nullable=False),  # accept, reject, swap or edit
        pa.field("chosen", pa.string()),  # of an edit; null: as it was
        pa.field("rejected", pa.string()),
        pa.field("reviewer", pa.string()),
        pa.field("note", pa.string()),
        pa.field("decided_at", pa.string(), nullable=False),  # ISO 8601
        # Where a decision was applied, and changed what the pair says: what it was about, and what it was.
        pa.field("from_pair_id", pa.string()),
        pa.field("from_decision", pa.string()),
    ]
)
_NEEDED = ("pair_id", "decision", "decided_at")
FOLDER = "reviews"


@dataclass(frozen=True)
class Review:
    """One decision."""

    pair_id: str
    decision: Action
    decided_at: datetime
    chosen: str | None = None
    rejected: str | None = None
    reviewer: str | None = None
    note: str | None = None
    from_pair_id: str | None = field(default=None, compare=False)
    from_decision: str | None = field(default=None, compare=False)


def read_reviews(folder: str) -> dict[str, Review]:
    """The latest decision about each pair, from the shards of `folder`/reviews.

    Raises:
        UserError: a file is damaged, or has a row that is no decision.
    """
    uri = storage.join(folder, FOLDER)
    files = [file.uri for file in storage.list_files(uri)] if storage.kind(uri) == "folder" else []
    return latest(review for file in files if file.endswith(".parquet") for review in _read(file))


def latest(reviews: Iterable[Review]) -> dict[str, Review]:
    """By pair; of two of the same time the later one in the order given."""
    found: dict[str, Review] = {}
    for review in reviews:
        known = found.get(review.pair_id)
        if known is None or review.decided_at >= known.decided_at:
            found[review.pair_id] = review
    return found


def applied(review: Review, pair_id: str) -> dict[str, Any]:
    """The row that keeps a decision after it was applied, about the pair as it is now.

    The pair that came of a swap or an edit is an accepted one; nothing is swapped twice.
    """
    return {
        "pair_id": pair_id,
        "decision": "reject" if review.decision == "reject" else "accept",
        "reviewer": review.reviewer,
        "note": review.note,
        "decided_at": review.decided_at.isoformat(),
        "from_pair_id": review.from_pair_id or review.pair_id,
        "from_decision": review.from_decision or review.decision,
    }


def _read(file: str) -> list[Review]:
    filesystem, path = storage.resolve(file)
    try:
        table = pq.read_table(path, filesystem=filesystem)
        names = [name for name in table.column_names if name in REVIEWS.names]
        rows = table.select(names).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: damaged ({error}); export the reviews anew") from error
    if missing := [name for name in _NEEDED if name not in names]:
        raise UserError(f"{file}: no column {', '.join(missing)}; reviews need {', '.join(_NEEDED)}")
    return [_review(f"{file}, row {number}", row) for number, row in enumerate(rows)]


def _review(where: str, row: Mapping[str, Any]) -> Review:
    for name, value in row.items():
        if name != "decided_at" and not isinstance(value, str | None):
            raise UserError(f"{where}: {name}={value!r} is no text")
    if not row["pair_id"]:
        raise UserError(f"{where}: pair_id is empty; write the pair's")
    if row["decision"] not in get_args(Action):
        raise UserError(f"{where}: decision={row['decision']!r}; write one of {', '.join(get_args(Action))}")
    decided_at = row["decided_at"]
    try:
        decided_at = decided_at if isinstance(decided_at, datetime) else datetime.fromisoformat(decided_at)
    except (TypeError, ValueError):
        raise UserError(
            f"{where}: decided_at={decided_at!r} is no time; write it as 2026-01-31T12:00:00+00:00"
        ) from None
    if decided_at.tzinfo is None:
        decided_at = decided_at.replace(tzinfo=UTC)
    return Review(**{**row, "decided_at": decided_at})
