"""The public benchmarks, and how lmms-eval is told to run them. Pure.

Benchmarks are run by lmms-eval itself, in an environment of its own (it wants other versions of what we use). Its
`--model vllm` sends a video as that many single images: no merging of frame pairs, no axis of time, about twice the
tokens. Its `--model vllm_generate` sends a video (ours is that one, mended: model.py). Upstream's command used the
first; what a model was trained for is the second. So each is a named profile, and every result says which one made it.
"""

import statistics
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
    """One of the paper's, and which of lmms-eval's numbers stands for it."""

    task: str
    """Its name in lmms-eval."""
    metric: str
    """Of the task; of a group, of each of its parts, and then their mean counts."""
    to_percent: float
    """What makes percent of the metric: lmms-eval has both shares and percent."""
    base: float
    """Accuracy of Qwen2.5-VL-7B in the paper's Table 1, in percent (v1, read off the figure)."""
    aligned: float
    """That of VideoPASTA."""
    runs: tuple[str, ...] = ()
    """What is run instead of the task itself."""


PAPER_BENCHMARKS = (
    # Its fourth part, captioning, is graded by OpenAI's API only.
    Benchmark("tempcompass", "avg_accuracy", 1, 71.7, 72.3, (
        "tempcompass_multi_choice", "tempcompass_yes_no", "tempcompass_caption_matching",
    )),
    Benchmark("perceptiontest_val_mc", "accuracy", 100, 68.6, 69.4),
    Benchmark("nextqa_mc_test", "exact_match", 100, 75.8, 77.3),
    Benchmark("mvbench", "mvbench_accuracy", 1, 65.2, 66.3),
    # Text, video and group score; which of them the paper's column has, it does not say.
    Benchmark("vinoground", "vinoground_score/2", 1, 27.9, 28.3),
    Benchmark("mlvu_dev", "mlvu_percetion_score", 1, 68.7, 69.2),
    Benchmark("longvideobench_val_v", "lvb_acc", 100, 60.7, 61.5),
    Benchmark("videomme", "videomme_perception_score", 1, 62.2, 64.1),
)  # fmt: skip
_BY_TASK = {benchmark.task: benchmark for benchmark in PAPER_BENCHMARKS}
PAPER = "paper"
"""As a benchmark's name: all of these."""


def expand(tasks: tuple[str, ...]) -> tuple[str, ...]:
    """`tasks` with "paper" spelt out, each once."""
    return tuple(dict.fromkeys(name for task in tasks for name in (_BY_TASK if task == PAPER else (task,))))


def paper_of(task: str) -> Benchmark | None:
    """The paper's benchmark of that name."""
    return _BY_TASK.get(task)


def run_names(task: str) -> tuple[str, ...]:
    """What lmms-eval is asked to run for a benchmark."""
    return (_BY_TASK[task].runs if task in _BY_TASK else ()) or (task,)


def model_args(model: str, config: BenchmarksConfig) -> dict[str, Value]:
    """All of lmms-eval's `--model_args` for `model`, as they are recorded."""
    return {"model": model, **PROFILES[config.profile].model_args, **config.model_args}


def command(task: str, model: str, config: BenchmarksConfig, out: Path, cache: Path) -> list[str]:
    """What runs one benchmark."""
    profile = PROFILES[config.profile]
    arguments = ",".join(f"{name}={value}" for name, value in model_args(model, config).items())
    run = [
        config.python, "-m", "lmms_eval", "eval", "--model", profile.model, "--model_args", arguments,
        "--tasks", ",".join(run_names(task)),
        "--gen_kwargs", profile.gen_kwargs, "--batch_size", "16", "--log_samples", "--output_path", str(out),
        "--use_cache", str(cache),
    ]  # fmt: skip
    if config.include_path:
        run += ["--include_path", config.include_path]
    if config.limit:
        run += ["--limit", str(config.limit)]
    return run


def headline(task: str, metrics: Mapping[str, float]) -> tuple[str, float] | None:
    """The metric that stands for a benchmark, and its value: of the paper's in percent, of others as lmms-eval has it.

    None where it is not among `metrics`.
    """
    benchmark = _BY_TASK.get(task)
    if benchmark is None:
        name = "handled" if "handled" in metrics else next(iter(metrics), None)
        return None if name is None else (name, metrics[name])
    parts = [v for name, v in metrics.items() if name == benchmark.metric or name.endswith(f"/{benchmark.metric}")]
    if not parts:
        return None
    return benchmark.metric, benchmark.to_percent * statistics.fmean(parts)
