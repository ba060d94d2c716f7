"""The clips that other tests are made of."""

import os
from pathlib import Path

from tests.clips import make_clip


def test_encoding_leaves_the_thread_out_of_real_time(tmp_path: Path):
    """SVT-AV1 as root asks for SCHED_FIFO, which everything started later would inherit."""
    before = os.sched_getscheduler(0)
    make_clip(tmp_path / "av1.webm", codec="libsvtav1", options={"preset": "12"})
    assert os.sched_getscheduler(0) == before
