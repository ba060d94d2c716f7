import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from videopasta import scratch


def test_folders_of_processes_that_are_gone_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those of living ones, of other kinds and of other machines stay."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    ours = Path(tempfile.mkdtemp(prefix=scratch.prefix("decode")))
    left = scratch.prefix("decode").replace(str(os.getpid()), str(gone.pid)) + "x"
    names = [left, left.replace("decode", "checkpoint"), f"videopasta-decode-elsewhere-1-{gone.pid}-x"]
    for name in names:
        (tmp_path / name / "in").mkdir(parents=True)
    scratch.sweep("decode")
    assert {path.name for path in tmp_path.iterdir()} == {ours.name, *names[1:]}
    assert str(os.getpid()) in ours.name
