import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from videopasta.errors import UserError
from videopasta.pairs.reviews import REVIEWS, read_reviews
from videopasta.review.decisions import Decisions


@pytest.fixture
def decisions(tmp_path: Path):
    opened = Decisions(tmp_path / "decisions.sqlite3")
    yield opened
    opened.close()


def standing(decisions: Decisions) -> list[tuple[str, str, str]]:
    return [(one.pair_id, one.reviewer, one.action) for one in decisions.standing()]


def test_the_last_decision_of_each_reviewer_stands(decisions: Decisions):
    """Of each pair; another's is beside it, not in its place."""
    decisions.decide("a", "ann", "accept")
    decisions.decide("a", "bob", "reject")
    decisions.decide("a", "ann", "swap", note="the wrong way round")
    assert standing(decisions) == [("a", "bob", "reject"), ("a", "ann", "swap")]
    assert decisions.standing("a")[1].note == "the wrong way round"
    assert decisions.decided() == {"a"}


def test_undo_takes_back_one_after_the_other(decisions: Decisions):
    """The reviewer's own alone; what stood before stands again; at the end there is nothing left."""
    decisions.decide("a", "ann", "accept")
    decisions.decide("b", "bob", "accept")
    decisions.decide("a", "ann", "reject")
    undone = decisions.undo("ann")
    assert undone is not None
    assert (undone.pair_id, undone.action) == ("a", "reject")
    assert standing(decisions) == [("a", "ann", "accept"), ("b", "bob", "accept")]
    assert decisions.undo("ann") is not None
    assert decisions.undo("ann") is None
    assert decisions.decided() == {"b"}


def test_nothing_is_ever_changed_or_deleted(decisions: Decisions):
    """The database refuses, whoever asks."""
    decisions.decide("a", "ann", "accept")
    decisions.undo("ann")
    with sqlite3.connect(decisions.path) as other:
        for statement in ("UPDATE decisions SET action = 'reject'", "DELETE FROM decisions"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                other.execute(statement)
    assert len(decisions._select("SELECT * FROM decisions")) == 2


def test_edits_have_both_texts_and_others_none(decisions: Decisions):
    """Or a reader would have to guess."""
    with pytest.raises(sqlite3.IntegrityError):
        decisions.decide("a", "ann", "edit", chosen="only one")
    with pytest.raises(sqlite3.IntegrityError):
        decisions.decide("a", "ann", "accept", chosen="x", rejected="y")
    assert standing(decisions) == []


def test_two_processes_and_their_threads_lose_nothing(tmp_path: Path):
    """A file that both open first, and write at once."""
    path, each = tmp_path / "decisions.sqlite3", 40
    script = (
        "import sys; from pathlib import Path; from videopasta.review.decisions import Decisions\n"
        "one = Decisions(Path(sys.argv[1]))\n"
        f"for n in range({each}): one.decide(f'pair-{{n}}', sys.argv[2], 'accept')\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in ("bob", "eve")]
    mine = Decisions(path)
    threads = [
        threading.Thread(target=lambda who=who: [mine.decide(f"pair-{n}", who, "reject") for n in range(each)])
        for who in ("ann", "dan")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(mine.standing()) == 4 * each
    mine.close()


def test_export_holds_what_stands(decisions: Decisions, tmp_path: Path):
    """With the texts of edits, and when."""
    decisions.decide("a", "ann", "reject")
    decisions.decide("a", "ann", "edit", chosen="It is red.", rejected="It is blue.")
    decisions.decide("b", "ann", "accept")
    decisions.undo("ann")
    assert decisions.export(str(tmp_path)) == 1
    table = pq.read_table(tmp_path / "reviews/decisions.parquet")
    assert table.schema.equals(REVIEWS)
    (row,) = table.to_pylist()
    assert (row["pair_id"], row["decision"], row["chosen"], row["rejected"]) == (
        "a",
        "edit",
        "It is red.",
        "It is blue.",
    )
    assert read_reviews(str(tmp_path))["a"].decision == "edit"


def _write_later_version(path: Path) -> None:
    Decisions(path).close()
    with sqlite3.connect(path) as other:
        other.execute("PRAGMA user_version = 2")


def _write_other_database(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE things (name TEXT)")


@pytest.mark.parametrize(
    "write", [lambda path: path.write_text("no database"), _write_other_database, _write_later_version]
)
def test_another_file_is_refused(write: Callable[[Path], object], tmp_path: Path):
    """And left as it is."""
    path = tmp_path / "decisions.sqlite3"
    write(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match="cannot be used for decisions"):
        Decisions(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["file/decisions.sqlite3", "folder"])
def test_a_place_that_cannot_be_written_is_told(name: str, tmp_path: Path):
    """Below a file, or in the place of a folder."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"{name}: cannot be written .*--db"):
        Decisions(tmp_path / name)
