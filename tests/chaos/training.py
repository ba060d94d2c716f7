"""Kill many trainings, and compare each with the one that nobody killed.

    python -m tests.chaos.training --runs 20 --json benchmarks/results/chaos_training.json

A training of 80 steps on two workers (FSDP, gloo), a checkpoint every 10 steps. Each run is killed once, at a seeded
step: a rank; the driver with its Ray, as a machine that is gone, and the same command again; a rank or the driver while
a checkpoint is being written; or the driver while Ray writes the list of checkpoints, of which half is left. Whole:
every step once with the loss of the unbroken run, and its weights, byte for byte.
"""

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.dpo.trainings import (
    kill_with_all_below,
    make_config,
    make_rows,
    start_training,
    workers_of,
    write_rows,
)
from videopasta.config import dump_yaml
from videopasta.config.train import WorkersConfig

NUM_STEPS, EVERY_STEPS = 80, 10
VICTIMS = ("rank", "driver", "rank in a checkpoint", "driver in a checkpoint", "driver in the list of checkpoints")
DEADLINE_S = 500


@dataclass(frozen=True)
class Outcome:
    """What a killed training came to."""

    seed: int
    victim: str
    at_step: int
    same_losses: bool
    same_weights: bool
    leftovers: int
    """Temporary folders of checkpoints."""


class Laboratory:
    """Pairs, a configuration, and the training that nobody kills."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ray, self._scratch = folder, folder / "ray", folder / "scratch"
        self._scratch.mkdir()
        write_rows(make_rows(folder / "videos", num_clips=10), folder / "pairs/part-0.parquet")
        workers = WorkersConfig(min_num=2, max_num=2, num_cpus=0.5)
        config = make_config(folder, lora=True, epochs=20, every_steps=EVERY_STEPS, workers=workers)
        (folder / "train.yaml").write_text(dump_yaml(config))
        _finish(self._start("unbroken"))
        self._losses, self._weights = _losses(folder / "unbroken"), _weights(folder / "unbroken")
        assert len(self._losses) == NUM_STEPS + 1

    def run(self, seed: int) -> Outcome:
        """Train, kill, and train on."""
        rng = random.Random(seed)
        victim, at_step = VICTIMS[seed % len(VICTIMS)], rng.randrange(5, NUM_STEPS - 5)
        out = self.folder / f"run-{seed}"
        process = self._start(out.name)
        self._wait_for(out, at_step, process, in_checkpoint="in a checkpoint" in victim)
        if "in a checkpoint" not in victim:
            time.sleep(rng.uniform(0, 2))  # metrics are written with checkpoints: to get between them
        if victim.startswith("rank"):
            workers = workers_of(process)
            workers[rng.randrange(len(workers))].send_signal(signal.SIGKILL)
        else:
            listed = out / "checkpoints/checkpoint_manager_snapshot.json"
            while "list" in victim and not listed.exists():  # it follows its checkpoint by some seconds
                time.sleep(0.1)
            kill_with_all_below(process)
            if "list" in victim:
                _cut_in_half(listed)
            process = self._start(out.name)
        _finish(process)
        leftovers = len(list(self._scratch.glob("videopasta-checkpoint-*")))
        return Outcome(seed, victim, at_step, _losses(out) == self._losses, _weights(out) == self._weights, leftovers)

    def _start(self, out: str) -> subprocess.Popen[str]:
        return start_training(self.folder, out, self._ray, scratch=self._scratch)

    def _wait_for(self, out: Path, step: int, process: subprocess.Popen[str], *, in_checkpoint: bool) -> None:
        """Until the checkpoint before `step` is there, or while a worker writes one."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no step {step} to kill at:\n{process.communicate()[0]}")
            done = step - step % EVERY_STEPS - (EVERY_STEPS if in_checkpoint else 0)
            writing = any(self._scratch.glob("videopasta-checkpoint-*/*"))
            if max(_losses(out), default=-1) >= done and (writing or not in_checkpoint):
                return
            time.sleep(0.002)


def _cut_in_half(file: Path) -> None:
    """As a kill in the middle of Ray's writing leaves it: a moment too short to be met by chance."""
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size // 2)


def _finish(process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate(timeout=DEADLINE_S)
    if process.returncode:
        raise RuntimeError(f"the training failed:\n{output}")


def _losses(out: Path) -> dict[int, tuple[str, str]]:
    """Loss and gradient norm of each step, as they are written."""
    file = out / "metrics.csv"
    if not file.exists():
        return {}
    with file.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("step")]
    losses = {int(float(row["step"])): (row.get("loss") or "", row.get("grad_norm") or "") for row in rows}
    assert len(losses) == len(rows), "a step is there twice"
    return losses


def _weights(out: Path) -> bytes:
    return (out / "model/model.safetensors").read_bytes()


def main() -> None:
    """Print a line a run and the totals; keep the JSON up to date."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.training", description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the others count on")
    parser.add_argument("--json", type=Path, help="write the totals here")
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="vp-", dir="/tmp") as folder:
        laboratory = Laboratory(Path(folder))
        for seed in range(options.seed, options.seed + options.runs):
            outcomes.append(laboratory.run(seed))
            print(outcomes[-1], flush=True)
            if options.json:
                options.json.write_text(json.dumps(total(outcomes), indent=2) + "\n")
    print(json.dumps(total(outcomes), indent=2))
    sys.exit(not all(one.same_losses and one.same_weights and not one.leftovers for one in outcomes))


def total(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Of many runs."""
    return {
        "runs": len(outcomes), "kills": dict(Counter(outcome.victim for outcome in outcomes)),
        "same_losses": sum(outcome.same_losses for outcome in outcomes),
        "same_weights": sum(outcome.same_weights for outcome in outcomes),
        "leftovers": sum(outcome.leftovers for outcome in outcomes),
    }  # fmt: skip


if __name__ == "__main__":
    main()
