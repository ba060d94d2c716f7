"""The public benchmarks, and how lmms-eval is told to run them. Pure.

Benchmarks are run by lmms-eval itself, in an environment of its own (it wants other versions of what we use). Its
`--model vllm` sends a video as that many single images: no merging of frame pairs, no axis of time, about twice the
tokens. Its `--model vllm_generate` sends a video (ours is that one, mended: model.py). Upstream's command used the
first; what a model was trained for is the second. So each is a named profile, and every result says which one made it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from videopasta.config.evaluate import BenchmarksConfig, ProfileName

Value = str | int | float | bool
VIDEO_MODEL = "videopasta_vllm"


@dataclass(frozen=True)
class Profile:
    """What is pinned of lmms-eval's many settings."""

    model: str
    """Its `--model`."""
    model_args: Mapping[str, Value]
    """Its `--model_args`, but for the model's name."""
    gen_kwargs: str = "temperature=0"
    """Over those of each benchmark."""


_FRAMES: dict[str, Value] = {
    "nframes": 32,  # the default of upstream's month
    "max_frame_num": 32,
    "max_pixels": 1_605_632,  # as lmms-eval 0.7 and upstream's month have it: 2048 tokens a frame at most
    "min_image_pixels": 28,
    "max_new_tokens": 16,  # lmms-eval takes the larger of this and the benchmark's own; its default is 4096
    "gpu_memory_utilization": 0.9,  # upstream's command
}
PROFILES: dict[ProfileName, Profile] = {
    "paper": Profile("vllm", _FRAMES),
    "video": Profile(VIDEO_MODEL, _FRAMES),
}


@dataclass(frozen=True)
class Benchmark:
    """One of the paper's."""

    task: str
    """Its name in lmms-eval."""
    column: str
    """Its name in the paper's Table 1."""
    base: float
    """Accuracy of Qwen2.5-VL-7B there, in percent (v1, read off the figure)."""
    aligned: float
    """That of VideoPASTA."""


PAPER_BENCHMARKS = (
    Benchmark("tempcompass", "TempC", 71.7, 72.3),
    Benchmark("perceptiontest_val_mc", "PercT", 68.6, 69.4),
    Benchmark("nextqa_mc_test", "NeXT", 75.8, 77.3),
    Benchmark("mvbench", "MVB", 65.2, 66.3),
    Benchmark("vinoground", "Vino", 27.9, 28.3),
    Benchmark("mlvu_dev", "MLVU", 68.7, 69.2),
    Benchmark("longvideobench_val_v", "LVB", 60.7, 61.5),
    Benchmark("videomme", "VMME", 62.2, 64.1),
)
PAPER = "paper"
"""As a benchmark's name: all of these."""


def expand(tasks: tuple[str, ...]) -> tuple[str, ...]:
    """`tasks` with "paper" spelt out, each once."""
    ours = tuple(benchmark.task for benchmark in PAPER_BENCHMARKS)
    return tuple(dict.fromkeys(name for task in tasks for name in (ours if task == PAPER else (task,))))


def model_args(model: str, config: BenchmarksConfig) -> dict[str, Value]:
    """All of lmms-eval's `--model_args` for `model`, as they are recorded."""
    return {"model": model, **PROFILES[config.profile].model_args, **config.model_args}


def command(task: str, model: str, config: BenchmarksConfig, out: Path, cache: Path) -> list[str]:
    """What runs one benchmark."""
    profile = PROFILES[config.profile]
    arguments = ",".join(f"{name}={_spelt(value)}" for name, value in model_args(model, config).items())
    run = [
        config.python, "-m", "lmms_eval", "eval", "--model", profile.model, "--model_args", arguments, "--tasks", task,
        "--gen_kwargs", profile.gen_kwargs, "--batch_size", "16", "--log_samples", "--output_path", str(out),
        "--use_cache", str(cache),
    ]  # fmt: skip
    if config.include_path:
        run += ["--include_path", config.include_path]
    if config.limit:
        run += ["--limit", str(config.limit)]
    return run


def _spelt(value: Value) -> str:
    return json.dumps(value) if isinstance(value, dict) else str(value)


def headline(task: str, metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """The metric that stands for a benchmark: the only one, or lmms-eval's first that is an accuracy or a score."""
    known = [name for name in metrics if any(word in name for word in ("acc", "score", "group"))]
    name = next(iter(known or metrics), None)
    return None if name is None else (name, metrics[name])
