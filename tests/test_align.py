"""The whole road in one command, and taken up again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.conftest import REPOSITORY
from videopasta.cli.align import align
from videopasta.dpo.trackers import read_metrics

TINY = REPOSITORY / "videopasta/tiny"
SAID = (
    "aligned/model/model.safetensors", "questions/questions.jsonl", "before/scores.json",
    "after/scores.json", "report/report.json",
)  # fmt: skip


def test_a_dry_run_shows_every_step_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Clips to do of both folders, pools, and the whole of the three configurations."""
    for name in ("videos", "unseen"):
        (tmp_path / name).mkdir()
        make_clip(tmp_path / name / "clip.mp4", num_frames=20)
    configs = [TINY / f"{step}.yaml" for step in ("generate", "train", "evaluate")]
    align(str(tmp_path / "videos"), str(tmp_path / "unseen"), str(tmp_path / "out"), *configs, dry_run=True)
    said = capsys.readouterr().out
    assert said.count("1 clips in") == 2
    assert [key for key in ("queries:", "optimizer:", "prompt_template:") if key not in said] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_align_goes_the_whole_road_once(tmp_path: Path, ray_folder: Path):
    """Pairs, model, questions, answers, report; the same command again makes nothing anew, and says the same."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(ray_folder)}

    def videopasta(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "videopasta.cli", *map(str, words)], env=environment, capture_output=True, text=True,
            timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for name, split in (("videos", "validation"), ("unseen", "test")):
        videopasta("tiny", "clips", tmp_path / name, "--num", 6, "--split", split)
    align = ["align", "--videos", tmp_path / "videos", "--unseen", tmp_path / "unseen", "--out", tmp_path / "out"]
    for step in ("generate", "train", "evaluate"):
        align += [f"--{step}-config", TINY / f"{step}.yaml"]
    videopasta(*align)
    out = tmp_path / "out"
    assert (out / "report/report.html").stat().st_size > 10_000
    shards = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    assert {path.parent.name for path in shards} >= {"candidates", "pairs", "answers", "preference"}
    said = {name: (out / name).read_bytes() for name in SAID}
    steps = read_metrics(str(out / "aligned"))
    assert steps
    videopasta(*align)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == shards
    assert read_metrics(str(out / "aligned")) == steps
    assert [name for name in SAID if (out / name).read_bytes() != said[name]] == []
