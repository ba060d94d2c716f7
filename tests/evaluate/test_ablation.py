"""The ablation as a user runs it, on a few clips."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from videopasta.evaluate.ablation import SUBSETS
from videopasta.tiny.cli import EVALUATE_CONFIG, GENERATE_CONFIG, TRAIN_CONFIG


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_each_failure_mode_is_trained_alone_and_all_together(ray_folder, tmp_path: Path):
    """Four models of the same base, each from its own pairs, all asked the same; a second call comes to the same."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(ray_folder)}

    def videopasta(*arguments: object) -> str:
        command = [sys.executable, "-m", "videopasta.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    videopasta("tiny", "clips", tmp_path / "videos", "--num", 6, "--split", "validation")
    videopasta("generate", "--videos", tmp_path / "videos", "--out", tmp_path / "pairs", "--config", GENERATE_CONFIG)
    videopasta("tiny", "clips", tmp_path / "unseen", "--num", 2)
    videopasta("questions", tmp_path / "unseen", "--out", tmp_path / "q", "--per-mode", 1)
    short = yaml.safe_load(TRAIN_CONFIG.read_text()) | {"pairs_per_step": 8, "epochs": 1}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(short))
    ablate = (
        "ablate", "--pairs", tmp_path / "pairs", "--questions", tmp_path / "q", "--out", tmp_path / "out",
        "--train-config", tmp_path / "train.yaml", "--evaluate-config", EVALUATE_CONFIG,
    )  # fmt: skip
    told = videopasta(*ablate, "--dry-run")
    assert told.startswith("before, and after each training: ")
    assert [name for name in SUBSETS if f"\npairs: {name}: " not in told] == []
    assert not (tmp_path / "out").exists()
    output = videopasta(*ablate)
    assert "pairs: temporal" in output
    found = json.loads((tmp_path / "out/ablation.json").read_text())
    assert list(found) == ["spatial", "temporal", "cross_frame", "all"]
    assert len({one["tuned"][0] for one in found.values()}) == 4
    for mode in ("spatial", "temporal", "cross_frame"):
        run = json.loads((tmp_path / "out" / mode / "aligned/run.json").read_text())
        assert run["fingerprint"]["config"]["failure_modes"] == [mode]
        card = (tmp_path / "out" / mode / "aligned/model/README.md").read_text()
        assert mode in card
    assert "| false_premise (open) | all |" in (tmp_path / "out/ablation.md").read_text()
    videopasta(*ablate)
    assert json.loads((tmp_path / "out/ablation.json").read_text()) == found
