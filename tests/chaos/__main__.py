"""Break many runs, and count what is lost.

    python -m tests.chaos --runs 100 --json benchmarks/results/chaos.json

Each run makes pairs from 60 clips and is broken three times, at seeded moments: see `faults.py` for the kinds,
`runs.py` for what is compared. `--vllm`: on vLLM itself with small random models, instead of the stand-in. Needs the
right to mount a small disk (root), for the full one.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from tests.chaos.cluster import NUM_NODES
from tests.chaos.runs import CLIPS_PER_SHARD, NUM_CLIPS, Outcome, laboratory
from tests.conftest import REPOSITORY


def main() -> None:
    """Print a line a run and the totals; keep the JSON up to date."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others count on")
    parser.add_argument("--vllm", action="store_true", help="real models, 12 clips")
    parser.add_argument("--json", type=Path, help="write the totals here")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    engine, num_clips = ("vllm", 12) if options.vllm else ("stand-in", NUM_CLIPS)
    print(
        f"{options.runs} runs of {num_clips} clips on a Ray of a head and {NUM_NODES} nodes below /tmp, {engine} for "
        "models; before them one that is not broken",
        flush=True,
    )
    with laboratory(config=vllm_config() if options.vllm else None, num_clips=num_clips) as lab:
        print(f"the unbroken run is done; the others are below {lab.folder}", flush=True)
        for seed in range(options.seed, options.seed + options.runs):
            outcome = lab.run(seed)
            outcomes.append(outcome)
            mark = "whole" if outcome.is_whole else f"NOT WHOLE: {outcome}"
            print(f"run {seed}: {', '.join(outcome.kills)}; {outcome.attempts} attempts, {mark}", flush=True)
            if options.json:  # after each run: a night of them may be broken off as well
                totals = {"engine": engine} | total(outcomes)
                options.json.write_text(json.dumps(totals, indent=2) + "\n")
    print(json.dumps(total(outcomes), indent=2))
    sys.exit(not all(outcome.is_whole for outcome in outcomes))


def vllm_config() -> dict[str, Any]:
    """Small random models on vLLM."""
    config: dict[str, Any] = yaml.safe_load((REPOSITORY / "configs/ci_random.yaml").read_text())
    return config | {
        "queries": config["queries"] | {"per_mode": 1},
        "output": {"clips_per_shard": CLIPS_PER_SHARD, "flush_s": 5},
    }


def total(outcomes: list[Outcome]) -> dict[str, object]:
    """Of many runs."""
    kills: Counter[str] = sum((outcome.kills for outcome in outcomes), Counter())
    return {
        "runs": len(outcomes), "kills": kills.total(), "kills_by_kind": dict(sorted(kills.items())),
        "lost": sum(one.lost for one in outcomes), "doubled": sum(one.doubled for one in outcomes),
        "changed": sum(one.changed for one in outcomes), "unaccounted": sum(one.unaccounted for one in outcomes),
        "leftovers": sum(len(one.leftovers) for one in outcomes),
        "unexpected_endings": sum(len(one.unexpected) for one in outcomes),
        "wrong_codes": sum(len(one.wrong_codes) for one in outcomes),
        "attempts": sum(one.attempts for one in outcomes),
        "whole": sum(one.is_whole for one in outcomes),
    }  # fmt: skip


if __name__ == "__main__":
    main()
