"""Small trainings: rows of pairs on rendered clips, configurations, and reports that remember."""

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from videopasta.config import DecodeConfig, PixelBudget, TrainConfig, UniformPlan
from videopasta.config.train import CheckpointsConfig, LoraConfig, OptimizerConfig, ValidationConfig, VisionCacheConfig
from videopasta.dpo.fit import Plan, Save, fit
from videopasta.pairs.schema import FRAME_PLAN
from videopasta.tiny import questions as q
from videopasta.tiny.learning.lessons import Catalogue, preamble
from videopasta.tiny.render import write_video
from videopasta.tiny.world import scenes
from videopasta.video import ClipRequest, decode_clip

DECODE = DecodeConfig(pixels=PixelBudget(min_pixels=7056, max_pixels=7056))
"""84x84 pixels, as the shipped model sees."""


def make_rows(folder: Path, *, num_clips: int, pairs_per_mode: int = 2, seed: int = 0) -> list[dict[str, Any]]:
    """Rows of pairs on clips of the training world rendered to `folder`: true answers, and misled ones."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = random.Random(seed), []
    for number, scene in enumerate(islice(scenes("train", seed + 70), num_clips)):
        video = folder / f"{number:03d}.mp4"
        write_video(scene, video)
        clip = decode_clip(ClipRequest(str(video), None, None, {"dense": UniformPlan(num_frames=8)}, DECODE))
        catalogue = Catalogue(scene, rng)
        for mode, adversaries in q.ADVERSARIES.items():
            for n, asked in enumerate(catalogue.draw(mode, pairs_per_mode)):
                misled = q.mislead(asked.answer, adversaries[n % 3], rng, scene)
                rows.append(
                    {
                        "pair_id": f"{number:03d}-{mode}-{n}", "video_uri": str(video), "start_s": None, "end_s": None,
                        "video_sha256": clip.video_sha256, "failure_mode": mode,
                        "prompt": preamble() + asked.question.text(), "chosen": asked.answer.sentence,
                        "rejected": misled.claim.sentence, "adversarial_query": preamble() + misled.query,
                        "chosen_frame_plan": clip.plans["dense"].to_dict(),
                    }
                )  # fmt: skip
    return rows


def write_rows(rows: list[dict[str, Any]], file: Path) -> None:
    """As a Parquet file of pairs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in rows[0] if name not in ("start_s", "end_s", "chosen_frame_plan")]
    schema = pa.schema(
        [*(pa.field(name, pa.string()) for name in names), pa.field("start_s", pa.float64()),
         pa.field("end_s", pa.float64()), pa.field("chosen_frame_plan", FRAME_PLAN)]
    )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def make_config(
    folder: Path,
    *,
    lora: bool = False,
    dropout: float = 0.0,
    lr: float = 1e-3,
    epochs: float = 1.0,
    pairs_per_step: int = 12,
    every_steps: int = 100,
    **others: Any,
) -> TrainConfig:
    """Of a training of the shipped model; the cache of features lies in `folder`."""
    return TrainConfig(
        model="tiny:vl",
        dtype="float32",
        lora=LoraConfig(r=4, dropout=dropout) if lora else None,
        optimizer=OptimizerConfig(lr=lr),
        epochs=epochs,
        pairs_per_step=pairs_per_step,
        tokens_per_pack=700,
        activation_checkpointing=False,
        validation=ValidationConfig(share=0.2),
        checkpoints=CheckpointsConfig(every_steps=every_steps),
        vision_cache=VisionCacheConfig(folder=str(folder / "features")),
        **others,
    )


def start_training(
    folder: Path, out: str, ray_folder: Path, *overrides: str, scratch: Path | None = None
) -> subprocess.Popen[str]:
    """`videopasta train` on `folder`/pairs with `folder`/train.yaml, with a Ray of its own; `scratch` is its TMPDIR.

    From the folder itself: workers have working directories of their own.
    """
    command = [sys.executable, "-m", "videopasta.cli", "train", "--pairs", "pairs", "--out", out]
    command += ["--config", "train.yaml", *(x for one in overrides for x in ("--set", one))]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"RAY_TMPDIR": str(ray_folder)}
    if scratch is not None:
        environment["TMPDIR"] = str(scratch)
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The training workers of its Ray."""
    below = psutil.Process(process.pid).children(recursive=True)
    return [child for child in below if "RayTrainWorker" in " ".join(child.cmdline())]


def kill_with_all_below(process: subprocess.Popen[str]) -> None:
    """SIGKILL of a driver, and of the Ray that it had started: a machine that is gone."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for child in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


class Remembered:
    """Reports kept in memory; checkpoints written to a folder, and the training stopped after one if wanted."""

    def __init__(self, checkpoints: Path, *, restored: Path | None = None, stop_after: int | None = None) -> None:
        self.checkpoints, self._restored, self._stop_after = checkpoints, restored, stop_after
        self.plan: Plan | None = None
        self.steps: list[dict[str, float]] = []

    def restored(self) -> contextlib.AbstractContextManager[Path | None]:
        return contextlib.nullcontext(self._restored)

    def begin(self, plan: Plan) -> None:
        self.plan = plan

    def step(self, metrics: Mapping[str, float], save: Save | None) -> None:
        self.steps.append(dict(metrics))
        if save is not None:
            writing: Future[Any] = save(self.checkpoints / f"step-{int(metrics['step'])}")
            writing.result()
        if metrics["step"] == self._stop_after:
            raise Stopped


class Stopped(Exception):
    """A training that was broken off."""


def fit_alone(
    rank: int, size: int, port: int, rows: list[dict[str, Any]], config: TrainConfig, folder: Path, out: Path,
    options: dict[str, Any],
) -> None:  # fmt: skip
    """One worker of `size`, in a process of its own; the metrics of its steps go to `out`/RANK.pt."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    reports = Remembered(out, **options)
    with contextlib.suppress(Stopped):
        fit(rows, config, str(folder), reports)
    torch.save({"steps": reports.steps, "plan": reports.plan}, out / f"{rank}.pt")
    dist.destroy_process_group()
