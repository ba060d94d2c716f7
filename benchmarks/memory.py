"""Does memory grow with the number of clips?

    python benchmarks/memory.py --json benchmarks/results/memory.json

Runs the pipeline on 20 and on 200 generated clips (random tiny models, one Ray per run) and records the peaks of
the driver's resident memory and of Ray's object store, sampled ten times a second. `ratio` = use at 20 clips over
use at 200, both peaks added up: 1 means that memory does not grow.
"""

import logging
import multiprocessing
import os
import tempfile
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
from _common import arguments, machine, write_json
from ray._private import internal_api

from videopasta.config import GenerateConfig, load_config
from videopasta.generate import run
from videopasta.pairs import PairStore
from videopasta.tiny.truth import write_clips
from videopasta.tiny.world import scenes

CONFIG = Path(__file__).parents[1] / "configs/ci_random.yaml"
# The cap on waiting frames is below what 20 clips need, so that both runs meet it.
OVERRIDES = ["queries.per_mode=1", "responses.num_adversaries=1", "object_store_gib=0.03"]
MIB = 2**20


def measure(videos: Path, out: Path, ray_folder: Path, results: Any) -> None:
    """One run, in a process of its own; puts its peaks in MiB."""
    import ray

    settings = load_config(GenerateConfig, CONFIG, OVERRIDES)
    store = PairStore(str(out))
    plan = run.plan_run(str(videos), store, settings)
    store.open(run.run_fingerprint(settings, plan.prompts))
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        _temp_dir=str(ray_folder), num_cpus=os.cpu_count(),
    )  # fmt: skip
    state = internal_api.get_state_from_address(ray.get_runtime_context().gcs_address)
    peaks = {"driver_mib": 0.0, "object_store_mib": 0.0}
    finished = threading.Event()

    def sample() -> None:
        process = psutil.Process()
        while not finished.wait(0.1):
            used = {"driver_mib": process.memory_info().rss, "object_store_mib": _store_bytes(state)}
            for name, value in used.items():
                peaks[name] = max(peaks[name], value / MIB)

    sampler = threading.Thread(target=sample)
    sampler.start()
    started = time.perf_counter()
    summary = run.generate(plan, store, settings)
    finished.set()
    sampler.join()
    ray.shutdown()
    results.put({**peaks, "clips": summary.num_clips, "seconds": time.perf_counter() - started})


def _store_bytes(state: Any) -> int:
    """Bytes that live in the object store now, as the raylet tells."""
    return int(internal_api.get_memory_info_reply(state).store_stats.object_store_bytes_used)


def main() -> None:
    """Print the table; write the JSON."""
    options = arguments(__doc__).parse_args()
    context = multiprocessing.get_context("spawn")
    rows = []
    with tempfile.TemporaryDirectory(prefix="vp-") as folder:
        for count in (20, 200):
            videos = Path(folder) / str(count)
            write_clips(islice(scenes("train", seed=0), count), videos)
            results = context.Queue()
            process = context.Process(
                target=measure,
                args=(videos, Path(folder) / f"out{count}", Path(folder) / f"r{count}", results),
            )
            process.start()
            rows.append(results.get(timeout=1800))
            process.join()
            print(rows[-1], flush=True)
    few, many = (row["driver_mib"] + row["object_store_mib"] for row in rows)
    result = {"machine": machine(), "runs": rows, "ratio": few / many}
    print(f"driver + object store: {few:.0f} MiB at 20 clips, {many:.0f} MiB at 200; ratio {few / many:.2f}")
    write_json(options.json, result)


if __name__ == "__main__":
    main()
