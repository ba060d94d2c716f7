"""Does training on the pairs help on unseen videos?

    python benchmarks/align.py --json benchmarks/results/align.json

On the embedded world: pairs of 100 clips of the training world by `videopasta generate`, then `videopasta train`
(videopasta/tiny/train.yaml) once a seed, then questions on 100 clips of the test world, whose combinations of shapes and
colours the pairs never had: plainly, and as each adversary asks. `points` = adversarial questions answered rightly
after training, less before, in points (mean over seeds); `plain_points` likewise of plain questions. Reward accuracy is
of the pairs of the videos that the training held out, at the checkpoint that it calls the best.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from _common import arguments, machine, write_json

from videopasta.config import FAILURE_MODES

CONFIG = Path(__file__).parents[1] / "videopasta/tiny/train.yaml"
TARGETS = {"adversarial": 15.0, "plain": -1.0, "reward_accuracy": 0.8}


def main() -> None:
    """Print the table; write the JSON."""
    parser = arguments(__doc__, timed=False)
    parser.add_argument("--clips", type=int, default=100, help="clips to make pairs of, and to ask about (default 100)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings (default 3)")
    parser.add_argument("--set", action="append", default=[], help="over the configuration, as of `videopasta train`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vp-") as folder:
        pairs = make_pairs(Path(folder), options.clips)
        before = examine("tiny:vl", options.clips)
        runs = [one_training(Path(folder), pairs, seed, options.set, options.clips) for seed in range(options.seeds)]
    changes = {
        kind: [100 * (mean(run["scores"], kind) - mean(before, kind)) for run in runs] for kind in ("misled", "plain")
    }
    accuracies = [run["reward_accuracy"] for run in runs]
    print(f"\n{'':14}{'plain':>24}   {'adversarial':>24}   percent right, before and after (each seed)")
    for mode in FAILURE_MODES:
        cells = [
            f"{100 * before[mode][kind]:5.1f} -> " + " ".join(f"{100 * run['scores'][mode][kind]:.1f}" for run in runs)
            for kind in ("plain", "misled")
        ]
        print(f"{mode:14}" + "   ".join(f"{cell:>24}" for cell in cells))
    print(
        f"adversarial {spread(changes['misled'])} points (target +15), plain {spread(changes['plain'])} (at least -1), "
        f"reward accuracy on unseen videos {spread(accuracies)} (0.8)"
    )
    write_json(
        options.json,
        {
            "machine": machine(), "clips": options.clips, "set": options.set, "before": before, "runs": runs,
            "points": statistics.fmean(changes["misled"]), "plain_points": statistics.fmean(changes["plain"]),
            "reward_accuracy": statistics.fmean(accuracies), "changes": changes, "target": TARGETS,
        },
    )  # fmt: skip


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.2f} ± {deviation:.2f}"


def mean(scores: dict[str, dict[str, float]], kind: str) -> float:
    """Over the failure modes."""
    return statistics.fmean(scores[mode][kind] for mode in FAILURE_MODES)


def make_pairs(folder: Path, num_clips: int) -> Path:
    """The output of a generate run on clips of the training world."""
    from videopasta.tiny.cli import GENERATE_CONFIG
    from videopasta.tiny.truth import write_clips
    from videopasta.tiny.world import scenes

    write_clips(islice(scenes("train", 12_345), num_clips), folder / "videos")
    videopasta(
        folder, "generate", "--videos", folder / "videos", "--out", folder / "pairs", "--config", GENERATE_CONFIG
    )
    return folder / "pairs"


def one_training(folder: Path, pairs: Path, seed: int, overrides: list[str], num_clips: int) -> dict[str, Any]:
    """Train and examine once."""
    from videopasta.dpo.trackers import read_metrics

    out = folder / f"aligned-{seed}"
    settings = [x for one in (*overrides, f"seed={seed}") for x in ("--set", one)]
    videopasta(folder, "train", "--pairs", pairs, "--out", out, "--config", CONFIG, *settings)
    rows = read_metrics(str(out))
    scores = examine(str(out / "model"), num_clips)
    accuracies = [row["validation/reward_accuracy"] for row in rows if "validation/reward_accuracy" in row]
    print(f"seed {seed}: plain {mean(scores, 'plain'):.3f}, adversarial {mean(scores, 'misled'):.3f}", flush=True)
    return {
        "seed": seed, "scores": scores, "reward_accuracy": max(accuracies[1:]), "steps": rows[-1]["step"],
        "seconds": sum(row.get("step_s", 0.0) for row in rows),
    }  # fmt: skip


def examine(model: str, num_clips: int) -> dict[str, dict[str, float]]:
    """Scores by failure mode, and by "mode/kind of question"."""
    import torch

    from videopasta.engine.models import local_path
    from videopasta.tiny.learning import exam, models
    from videopasta.tiny.learning.packing import Packer

    torch.set_num_threads(os.cpu_count() or 1)
    loaded, tokenizer = models.load(Path(local_path(model)))
    scores = exam.examine(loaded, Packer(tokenizer), split="test", seed=21, num_clips=num_clips)
    return {name: asdict(score) for name, score in scores.items()}


def videopasta(folder: Path, *arguments_: object) -> None:
    """Run the command with a Ray of its own; its output shows only when it fails."""
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(folder / "r")}
    (folder / "r").mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "videopasta.cli", *map(str, arguments_)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"videopasta {arguments_[0]} failed:\n{(done.stdout + done.stderr)[-4000:]}")


if __name__ == "__main__":
    main()
