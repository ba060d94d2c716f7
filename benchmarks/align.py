"""Does training on the pairs help on unseen videos? The demo's road, with more questions and several seeds.

    python benchmarks/align.py --json benchmarks/results/align.json

On the embedded world: pairs of 60 clips of the validation world by `videopasta generate`, `videopasta train` once a
seed, and `videopasta evaluate` before and after on 200 clips of the test world, whose combinations of shapes and
colours no pair and no model has seen; `videopasta compare` has the intervals. `points` = false premises rejected after
training, less before; `plain_points` likewise of plain questions, both by what the model says. Reward accuracy is that
of the pairs of videos that the trainings held out, with the model before as the reference.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import arguments, machine, write_json

TARGETS = {"points": 15.0, "plain_points": -1.0, "reward_accuracy": 0.8}


def main() -> None:
    """Print the table; write the JSON."""
    parser = arguments(__doc__, timed=False)
    parser.add_argument("--clips", type=int, default=60, help="clips to make pairs of (default 60, as the demo)")
    parser.add_argument("--asked", type=int, default=200, help="clips to ask about (default 200)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default 3)")
    parser.add_argument("--set", action="append", default=[], help="over the configuration, as of `videopasta train`")
    parser.add_argument("--report", type=Path, help="keep the report here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vp-") as made:
        folder = Path(made)
        report = options.report or folder / "report"
        compare(folder, options, report)
        value = json.loads((report / "report.json").read_text())
        text = (report / "report.md").read_text()
        accuracies = [exported_accuracy(folder / f"aligned-{seed}") for seed in range(options.seeds)]
    print(text)
    points = {
        name: 100 * next(one for one in value["changes"] if one["group"] == group and one["mode"] == "all"
                         and one["way"] == "open")["change"]["value"]
        for name, group in (("points", "false_premise"), ("plain_points", "plain"))
    }  # fmt: skip
    print(
        f"false premises {points['points']:+.1f} points (target +15), plain {points['plain_points']:+.1f} (target -1), "
        f"reward accuracy on unseen videos {statistics.fmean(accuracies):.2f} (0.8)"
    )
    write_json(
        options.json,
        {
            "machine": machine(), "clips": options.clips, "asked": options.asked, "set": options.set, **points,
            "reward_accuracy": statistics.fmean(accuracies), "reward_accuracies": accuracies, "target": TARGETS,
            "comparison": value,
        },
    )  # fmt: skip


def compare(folder: Path, options: argparse.Namespace, report: Path) -> None:
    """The demo's road, once a seed from the training on."""
    from videopasta.tiny.cli import EVALUATE_CONFIG, GENERATE_CONFIG, PROMPT_TEMPLATE, TRAIN_CONFIG

    run = Runner(folder)
    pairs, asked = folder / "pairs", folder / "questions"
    run("tiny", "clips", folder / "videos", "--num", options.clips, "--split", "validation")
    run("tiny", "clips", folder / "unseen", "--num", options.asked, "--split", "test", "--seed", 21)
    run("generate", "--videos", folder / "videos", "--out", pairs, "--config", GENERATE_CONFIG)
    run("questions", folder / "unseen", "--out", asked, "--prompt-template", PROMPT_TEMPLATE)
    evaluate = ("evaluate", "--questions", asked, "--config", EVALUATE_CONFIG)
    run(*evaluate, "--model", "tiny:vl", "--out", folder / "before")
    for seed in range(options.seeds):
        settings = [x for one in (*options.set, f"seed={seed}") for x in ("--set", one)]
        aligned = folder / f"aligned-{seed}"
        run("train", "--pairs", pairs, "--out", aligned, "--config", TRAIN_CONFIG, *settings)
        run(*evaluate, "--model", aligned / "model", "--out", folder / f"after-{seed}")
        print(f"seed {seed}: trained and evaluated", flush=True)
    run("compare", folder / "before", *(folder / f"after-{seed}" for seed in range(options.seeds)), "--out", report)


def exported_accuracy(aligned: Path) -> float:
    """On the videos that the training held out, at the checkpoint that was exported."""
    from videopasta.dpo.trackers import read_metrics

    step = json.loads((aligned / "run.json").read_text())["runs"][-1]["exported_step"]
    return next(row["validation/reward_accuracy"] for row in read_metrics(str(aligned)) if row["step"] == step)


class Runner:
    """Runs `videopasta ...` with a Ray of its own; its output shows only when it fails."""

    def __init__(self, folder: Path) -> None:
        (folder / "r").mkdir()
        self._environment: dict[str, Any] = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        self._environment["RAY_TMPDIR"] = str(folder / "r")

    def __call__(self, *arguments_: object) -> None:
        """Raises SystemExit with the output of a command that fails."""
        done = subprocess.run(
            [sys.executable, "-m", "videopasta.cli", *map(str, arguments_)],
            env=self._environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"videopasta {arguments_[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")


if __name__ == "__main__":
    main()
