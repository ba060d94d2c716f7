"""Decisions of people are read whatever wrote their times, and refused where they are none."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from videopasta.errors import UserError
from videopasta.pairs.reviews import REVIEWS, Review, applied, read_reviews


def make_review(*, pair_id: str = "p", decision: str = "accept", hour: int = 12, **others) -> Review:
    return Review(pair_id, decision, datetime(2026, 1, 31, hour, tzinfo=UTC), **others)  # type: ignore[arg-type]


def write_reviews(folder: Path, *rows: dict, name: str = "a.parquet") -> None:
    """As a review page exports them."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), folder / name)


def row(**others) -> dict:
    return {"pair_id": "p", "decision": "accept", "chosen": None, "rejected": None, "reviewer": "ann",
            "decided_at": "2026-01-31T12:00:00+00:00"} | others  # fmt: skip


@pytest.mark.parametrize(
    "time",
    ["2026-01-31T12:00:00+00:00", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00",
     datetime(2026, 1, 31, 12, tzinfo=UTC), datetime(2026, 1, 31, 12)],
)  # fmt: skip
def test_times_are_read_however_they_are_written(tmp_path: Path, time):
    """Texts and timestamps; without a zone they are UTC."""
    write_reviews(tmp_path / "reviews", row(decided_at=time))
    assert read_reviews(str(tmp_path)) == {"p": make_review(reviewer="ann")}


def test_all_files_are_read(tmp_path: Path):
    """Of a pair the latest decision counts, wherever it stands; no folder is no decision."""
    assert read_reviews(str(tmp_path)) == {}
    write_reviews(tmp_path / "reviews", row(decision="reject"), row(pair_id="q"), name="b.parquet")
    write_reviews(tmp_path / "reviews", row(decided_at="2026-01-01T00:00:00"), name="c.parquet")
    assert {name: review.decision for name, review in read_reviews(str(tmp_path)).items()} == {
        "p": "reject", "q": "accept",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"decision": "maybe"}, r"a\.parquet, row 0: decision='maybe'; write one of accept, reject, swap, edit"),
        ({"decision": None}, "decision=None"),
        ({"pair_id": ""}, "pair_id is empty"),
        ({"decided_at": "yesterday"}, "decided_at='yesterday' is no time"),
        ({"decided_at": None}, "decided_at=None is no time"),
        ({"chosen": 3}, "chosen=3 is no text"),
    ],
)
def test_what_is_no_decision_is_refused(tmp_path: Path, change: dict, words: str):
    """The file, the row and the value are named: a decision is not left out in silence."""
    write_reviews(tmp_path / "reviews", row(**change))
    with pytest.raises(UserError, match=words):
        read_reviews(str(tmp_path))


def test_files_that_are_none_are_refused(tmp_path: Path):
    """Damaged, or without a column."""
    write_reviews(tmp_path / "reviews", {"pair_id": "p"})
    with pytest.raises(UserError, match="no column decision, decided_at"):
        read_reviews(str(tmp_path))
    (tmp_path / "reviews/a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="damaged"):
        read_reviews(str(tmp_path))


def test_an_applied_decision_is_about_the_pair_as_it_is(tmp_path: Path):
    """It keeps what it was about, and is not applied twice."""
    swapped = applied(make_review(decision="swap", reviewer="ann"), "new")
    assert (swapped["pair_id"], swapped["decision"]) == ("new", "accept")
    assert (swapped["from_pair_id"], swapped["from_decision"]) == ("p", "swap")
    pq.write_table(pa.Table.from_pylist([swapped], schema=REVIEWS), tmp_path / "a.parquet")
    (tmp_path / "reviews").mkdir()
    (tmp_path / "a.parquet").rename(tmp_path / "reviews/a.parquet")
    again = applied(read_reviews(str(tmp_path))["new"], "new")
    assert again == swapped
    assert applied(make_review(decision="reject"), "p")["decision"] == "reject"
