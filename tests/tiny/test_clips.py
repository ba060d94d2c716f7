"""The demo's clips."""

from pathlib import Path

from videopasta.tiny.clips import write_clips


def test_clips_are_the_same_bytes_each_time(tmp_path: Path):
    """The demo writes its clips anew: other bytes would be other videos, and the second demo no no-op."""
    for name in ("first", "second"):
        write_clips(tmp_path / name, num_clips=4)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
