from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.exchange.rows import make_seen_row, write_pairs


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """A set of pairs of two files that exist."""
    rows = [make_seen_row(tmp_path / "a.mp4", n) for n in range(3)]
    make_clip(tmp_path / "b.mp4", num_frames=50, width=84, height=56)
    rows += [make_seen_row(tmp_path / "b.mp4", n) for n in range(3, 5)]
    return str(write_pairs(rows, tmp_path / "set/pairs/a.parquet").parent)
