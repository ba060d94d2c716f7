"""How near `videopasta plan` comes: a calibration on a few clips, then runs of more clips against their plan.

    python benchmarks/plan.py --json benchmarks/results/plan.json

Clips of the embedded world and the models that come with the package, on this machine. Each run has a calibration and a
plan of its own, made before it. `ratio` is the time that was foretold over the time it took; 1 is right.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _common import arguments, machine, write_json

from videopasta.tiny.cli import GENERATE_CONFIG


def main() -> None:
    """Calibrate, foretell, run, compare."""
    parser = arguments(__doc__)
    parser.add_argument("--calibrated", type=int, default=16, help="clips of a calibration")
    parser.add_argument("--clips", type=int, default=60, help="clips of a run")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vp-", dir="/tmp") as folder:
        runs = [_run(Path(folder), number, asked.calibrated, asked.clips) for number in range(asked.runs)]
    ratios = [run["foretold_s"] / run["took_s"] for run in runs]
    result = {
        "machine": machine(),
        "calibrated": asked.calibrated,
        "clips": asked.clips,
        "runs": runs,
        "ratio": {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)},
    }
    write_json(asked.json, result)
    print(json.dumps(result["ratio"], indent=2))


def _run(folder: Path, number: int, calibrated: int, clips: int) -> dict[str, Any]:
    few, many, out = (folder / f"{name}_{number}" for name in ("few", "many", "out"))
    calibration, plan = folder / f"calibration_{number}.yaml", folder / f"plan_{number}.json"
    config = ["--config", str(GENERATE_CONFIG)]
    _videopasta("tiny", "clips", few, "--num", calibrated, "--split", "validation", "--seed", 2 * number)
    _videopasta("tiny", "clips", many, "--num", clips, "--split", "validation", "--seed", 2 * number + 1)
    _videopasta("calibrate", few, "--out", calibration, "--clips", calibrated, *config)
    _videopasta("plan", "--videos", clips, "--calibration", calibration, "--json", plan, *config)
    _videopasta("generate", "--videos", many, "--out", out, *config)
    foretold = json.loads(plan.read_text())
    took_s = json.loads((out / "run.json").read_text())["runs"][-1]["wall_s"]
    one = {"foretold_s": foretold["wall_s"], "took_s": took_s, "bottleneck": foretold["bottleneck"]}
    print(one, flush=True)
    return one


def _videopasta(*words: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "videopasta.cli", *map(str, words)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"videopasta {words[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
