"""How many pairs are right?

    python benchmarks/truth.py --json benchmarks/results/truth.json

Renders 200 unseen clips of the embedded world to files, runs the real pipeline on them with tiny:vl and tiny:judge
(videopasta/tiny/generate.yaml), and holds every candidate against the truth. `ratio` = share of
kept pairs whose preferred answer is true and whose adversarial answer is false. The other side is the same run
without its judge: the share of right ones among all candidates that reached it.
"""

import logging
import os
import tempfile
import time
from itertools import islice
from pathlib import Path

from _common import arguments, machine, write_json
from rich.console import Console

from videopasta.config import GenerateConfig, load_config
from videopasta.generate import run
from videopasta.pairs import PairStore
from videopasta.tiny import audit
from videopasta.tiny.cli import GENERATE_CONFIG
from videopasta.tiny.truth import read_truth, write_clips
from videopasta.tiny.world import scenes


def main() -> None:
    """Print the tables; write the JSON."""
    parser = arguments(__doc__, timed=False)
    parser.add_argument("--clips", type=int, default=200, help="unseen clips (default 200)")
    parser.add_argument("--seed", type=int, default=7, help="which ones (default 7; 0 are the demo's)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vp-") as folder:
        result, seconds = measure(options.clips, options.seed, Path(folder))
    Console().print(*audit.tables(result))
    kept, unjudged = result.kept_right["all"].value, result.judge["base_rate"].value
    print(f"\nratio {kept:.3f} of the pairs are right (target 0.95); unjudged {unjudged:.3f}; {seconds:.0f} s")
    write_json(
        options.json,
        {
            "machine": machine(), "clips": options.clips, "seed": options.seed, "seconds": round(seconds, 1),
            "ratio": kept, "target": 0.95, "unjudged": unjudged, "audit": result.to_dict(),
        },
    )  # fmt: skip


def measure(num_clips: int, seed: int, folder: Path) -> tuple[audit.Audit, float]:
    """The audit of a run on `num_clips` clips of the test world, and the seconds that the run took."""
    import ray

    videos = folder / "videos"
    write_clips(islice(scenes("test", seed), num_clips), videos)
    settings = load_config(GenerateConfig, GENERATE_CONFIG, [])
    store = PairStore(str(folder / "pairs"))
    plan = run.plan_run(str(videos), store, settings)
    store.open(run.run_fingerprint(settings, plan.prompts))
    ray.init(
        address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        _temp_dir=str(folder / "ray"), num_cpus=os.cpu_count(),
    )  # fmt: skip
    started = time.perf_counter()
    try:
        run.generate(plan, store, settings)
    finally:
        ray.shutdown()
    seconds = time.perf_counter() - started
    return audit.audit(store.read("candidates", audit.COLUMNS).to_pylist(), read_truth(videos)), seconds


if __name__ == "__main__":
    main()
