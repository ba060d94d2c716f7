import json
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from videopasta.dpo.snapshot import KeepSnapshot, mend_snapshot

LOCAL = pafs.LocalFileSystem()
NAME = "checkpoint_manager_snapshot.json"
FIRST, SECOND = json.dumps({"checkpoint_results": [1]}), json.dumps({"checkpoint_results": [1, 2]})


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("length", range(0, len(SECOND), 5))
def test_half_a_list_is_replaced_by_the_one_before(length: int, tmp_path: Path):
    """Wherever the kill came in the write; and nothing is left over."""
    (tmp_path / NAME).write_text(FIRST)
    KeepSnapshot(LOCAL, str(tmp_path)).after_report(None, [{}], object())
    (tmp_path / NAME).write_text(SECOND[:length])
    mend_snapshot(LOCAL, str(tmp_path))
    assert (tmp_path / NAME).read_text() == FIRST
    assert names(tmp_path) == {NAME, f"{NAME}.kept"}


def test_a_whole_list_stays_and_is_kept(tmp_path: Path):
    """Also where the kill came between Ray's write and ours: the next start keeps it."""
    (tmp_path / NAME).write_text(FIRST)
    mend_snapshot(LOCAL, str(tmp_path))
    (tmp_path / NAME).write_text(SECOND)
    mend_snapshot(LOCAL, str(tmp_path))
    assert (tmp_path / NAME).read_text() == (tmp_path / f"{NAME}.kept").read_text() == SECOND


def test_half_of_the_first_list_begins_anew(tmp_path: Path):
    """No checkpoint was ever recorded."""
    (tmp_path / NAME).write_text(FIRST[:3])
    mend_snapshot(LOCAL, str(tmp_path))
    assert names(tmp_path) == set()


def test_reports_without_a_checkpoint_keep_nothing(tmp_path: Path):
    """Ray writes no list then; nor is there anything to mend before the first training."""
    KeepSnapshot(LOCAL, str(tmp_path)).after_report(None, [{}], None)
    mend_snapshot(LOCAL, str(tmp_path / "not there"))
    assert names(tmp_path) == set()
