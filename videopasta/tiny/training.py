"""How the response model learns to see: pictures first, then clips, all from the world's own lessons.

1. Single pictures: shapes, colours, places and relations are bound together, everything trained end to end.
2. Whole clips: a dozen questions on each video prefix, now and then descriptions, queries to write, choices, and
   rewriting without a video; single pictures stay in the mix. The last third of the steps anneals.

Muon for the matrices, AdamW for the rest. Equal seeds, thread counts and machines give equal weights.
"""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from videopasta.config import FAILURE_MODES
from videopasta.tiny import lessons, models, render
from videopasta.tiny.lessons import Catalogue, Lesson
from videopasta.tiny.packing import IGNORED, Batch, Packer
from videopasta.tiny.world import NUM_TICKS, TICK_S, Scene, scenes, state

NOISE = 4.0
"""Standard deviation of the noise on each pixel, of 255: codecs and scaling leave about as much."""


CLIP_STEPS = {"questions": 45, "descriptions": 33, "long": 9, "rewriting": 6, "pictures": 7}
"""Steps of the second phase in percent. A description says a clip's every fact in one answer: no lesson teaches more
per token."""


@dataclass(frozen=True)
class Schedule:
    """Steps and rates of a training."""

    picture_steps: int = 900
    clip_steps: int = 5000
    picture_batch: int = 32
    clip_batch: int = 8
    picture_lr: float = 2e-3
    clip_lr: float = 1.5e-3
    """Of the matrices; half of it for the rest."""
    warmup_steps: int = 50
    anneal: float = 0.35
    """Share of the steps, the last ones, over which the rate falls to a thirtieth."""
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """What one step is trained on."""

    scenes: Sequence[Scene]
    ticks: Sequence[Sequence[int]]
    """Of each clip's frames; empty: no video."""
    lessons: Sequence[Sequence[Lesson]]


def picture_sample(stream: Iterator[Scene], rng: random.Random, count: int) -> Sample:
    """Single pictures at random moments."""
    chosen = [next(stream) for _ in range(count)]
    ticks = [2 * rng.randrange(NUM_TICKS // 2) for _ in chosen]
    stills = [lessons.still(scene, tick) for scene, tick in zip(chosen, ticks, strict=True)]
    taught = [lessons.picture_lessons(scene, rng) for scene in stills]
    return Sample(stills, [(0, 1)] * count, taught)


def clip_sample(stream: Iterator[Scene], rng: random.Random, count: int) -> Sample:
    """One of the kinds of `CLIP_STEPS`; `count` clips where each has a dozen lessons, more where it has fewer."""
    kind = rng.choices(list(CLIP_STEPS), list(CLIP_STEPS.values()))[0]
    if kind == "pictures":
        return picture_sample(stream, rng, 4 * count)
    chosen = list(islice(stream, 3 * count if kind == "descriptions" else count))
    taught = {
        "questions": lambda scene: lessons.short_lessons(scene, rng),
        "descriptions": lambda scene: [lessons.described(scene)],
        "long": lambda scene: lessons.long_lessons(scene, rng),
        "rewriting": lambda scene: lessons.rewriting_lessons(scene, rng),
    }[kind]
    ticks = [] if kind == "rewriting" else [range(NUM_TICKS)] * len(chosen)
    return Sample(chosen, ticks, [taught(scene) for scene in chosen])


def pictures(sample: Sample, noise: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Each different pair of frames once.

    Returns:
        patches (U, P, C) of the pairs, and (B, S) which pair each time step of each clip shows.
    """
    painter = render.Painter()
    shown = np.array(
        [
            [painter.index(state(scene, tick)) for tick in ticks]
            for scene, ticks in zip(sample.scenes, sample.ticks, strict=True)
        ]
    )
    pairs, where = np.unique(shown.reshape(-1, 2), axis=0, return_inverse=True)
    images = torch.from_numpy(painter.images()[pairs]).float()
    if noise:
        images = images + noise * torch.randn(images.shape, generator=generator)
    return models.patches(images.clamp(0, 255)), torch.from_numpy(where.reshape(len(shown), -1))


def packed(packer: Packer, sample: Sample) -> Batch:
    """The lessons of a sample as tokens."""
    num_steps = len(sample.ticks[0]) // 2 if sample.ticks else 0
    seconds_per_step = TICK_S * (sample.ticks[0][-1] - sample.ticks[0][0]) / (2 * num_steps - 1) * 2 if num_steps else 0
    return packer.pack(sample.lessons, num_steps=num_steps, seconds_per_step=seconds_per_step)


def features_of(model: Any, sample: Sample, noise: float, generator: torch.Generator) -> torch.Tensor | None:
    """(B, video tokens, D) of a sample's clips; None without a video."""
    if not sample.ticks:
        return None
    pixels, where = pictures(sample, noise, generator)
    features: torch.Tensor = models.see(model.model.visual, pixels)[where].flatten(1, 2)
    return features


def loss_of(model: Any, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the answers' tokens."""
    taught = batch.labels[..., 1:] != IGNORED
    logits = functional.linear(hidden[:, :, :-1][taught], model.lm_head.weight)
    return functional.cross_entropy(logits, batch.labels[..., 1:][taught])


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: Keller Jordan's Muon with Moonshot's scale, 0.2 * sqrt(larger side).

    As `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, in float32 and with matrices of one shape together:
    that one computes in bfloat16, which costs ten times a training step on a CPU without it.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                updates = []
                for parameter in parameters:
                    assert parameter.grad is not None
                    velocity = self.state[parameter].setdefault("velocity", torch.zeros_like(parameter))
                    velocity.lerp_(parameter.grad, 1 - group["momentum"])
                    updates.append(parameter.grad.lerp(velocity, group["momentum"]))  # Nesterov
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                for parameter, update in zip(parameters, _orthogonal(torch.stack(updates)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=scale)


def _orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """(K, M, N) with singular values near 1: five Newton-Schulz steps of fifth order."""
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    x = wide / wide.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide is matrices else x.mT


@dataclass(frozen=True)
class Optimizers:
    """Muon and AdamW, each with its rate."""

    optimizers: tuple[torch.optim.Optimizer, ...]
    rates: tuple[float, ...]

    def step(self, scale: float) -> None:
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def make_optimizers(model: torch.nn.Module, rate: float) -> Optimizers:
    """Muon for matrices but embeddings; AdamW at half the rate for the rest."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    matrices = {n: p for n, p in named.items() if p.ndim == 2 and "embed" not in n and "lm_head" not in n}
    muon = Muon(list(matrices.values()), lr=rate, weight_decay=0.01, momentum=0.95)
    adamw = torch.optim.AdamW([p for n, p in named.items() if n not in matrices], lr=rate / 2, betas=(0.9, 0.98))
    return Optimizers((muon, adamw), (rate, rate / 2))


def rate_at(step: int, num_steps: int, *, warmup_steps: int, anneal: float) -> float:
    """The share of the full rate: up over the warm-up, down to a thirtieth over the last `anneal` of the steps."""
    done = step / num_steps
    falling = 1.0 if done <= 1 - anneal else max(1 / 30, (1 - done) / anneal)
    return min(1.0, (step + 1) / warmup_steps) * falling


def train_vl(folder: Path, schedule: Schedule, *, report_every: int = 500, num_threads: int = 2) -> None:
    """Train the response model from nothing into `folder`; continues from its last state if there is one."""
    torch.set_num_threads(num_threads)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(folder / "tokenizer")
    packer = Packer(tokenizer, models.GRID)
    model = models.make_vl(tokenizer, seed=schedule.seed)
    model.train()
    (folder / "schedule.json").write_text(json.dumps(asdict(schedule)))
    exam, picture_exam = exam_samples(96, seed=1), exam_samples(96, seed=1, still=True)
    started, state_file = time.time(), folder / "state.pt"
    generator = torch.Generator().manual_seed(schedule.seed)
    rng = random.Random(schedule.seed)
    phases = (
        ("pictures", schedule.picture_steps, schedule.picture_batch, schedule.picture_lr, picture_sample),
        ("clips", schedule.clip_steps, schedule.clip_batch, schedule.clip_lr, clip_sample),
    )
    for number, (name, num_steps, count, rate, draw) in enumerate(phases):
        stream = scenes("train", seed=1000 * schedule.seed + number)
        optimizers = make_optimizers(model, rate)
        smooth = 0.0
        for step in range(num_steps):
            sample = draw(stream, rng, count)
            batch = packed(packer, sample)
            hidden, _ = models.read(model, batch, features_of(model, sample, NOISE, generator))
            loss = loss_of(model, batch, hidden)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            anneal = schedule.anneal if name == "clips" else 0.0
            optimizers.step(rate_at(step, num_steps, warmup_steps=schedule.warmup_steps, anneal=anneal))
            smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
            if (step + 1) % report_every == 0 or step + 1 == num_steps:
                scores = score(model, packer, exam if name == "clips" else picture_exam)
                line = {"phase": name, "step": step + 1, "seconds": round(time.time() - started), "loss": smooth}
                print(json.dumps(line | {k: round(v, 3) for k, v in sorted(scores.items())}), flush=True)
                torch.save(model.state_dict(), state_file)


def _tokenizer(folder: Path) -> Any:
    from transformers import PreTrainedTokenizerFast

    if not folder.is_dir():
        models.make_tokenizer().save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


@dataclass(frozen=True)
class ExamSample(Sample):
    """Plain questions on unseen clips, with their kinds."""

    kinds: Sequence[Sequence[tuple[str, str]]] = ()
    """Failure mode and kind of each lesson."""


def exam_samples(num_clips: int, seed: int, count: int = 16, *, still: bool = False) -> list[ExamSample]:
    """Plain questions, four of each failure mode per clip; of its first picture only if `still`."""
    stream, rng = scenes("validation", seed), random.Random(seed)
    samples = []
    for _ in range(num_clips // count):
        chosen = [lessons.still(scene, 0) if still else scene for scene in islice(stream, count)]
        asked = []
        for scene in chosen:
            catalogue = Catalogue(scene, rng)
            asked.append([a for mode in FAILURE_MODES for a in catalogue.draw(mode, 4)])
        samples.append(
            ExamSample(
                chosen,
                [range(2 if still else NUM_TICKS)] * count,
                [[lessons.plain(a, rng) for a in row] for row in asked],
                [[(a.question.mode, type(a.question).__name__) for a in row] for row in asked],
            )
        )
    return samples


@torch.no_grad()
def score(model: Any, packer: Packer, samples: Sequence[ExamSample]) -> dict[str, float]:
    """Share of answers of which every token is the likeliest, by failure mode and kind."""
    model.eval()
    right: dict[str, list[bool]] = {}
    generator = torch.Generator().manual_seed(0)
    for sample in samples:
        batch = packed(packer, sample)
        hidden, _ = models.read(model, batch, features_of(model, sample, NOISE, generator))
        labels = batch.labels[..., 1:]
        taught = labels != IGNORED
        wrong = torch.zeros_like(taught)
        wrong[taught] = functional.linear(hidden[:, :, :-1][taught], model.lm_head.weight).argmax(-1) != labels[taught]
        for b, row in enumerate(sample.kinds):
            for n, (mode, kind) in enumerate(row):
                fine = not wrong[b, n].any().item()
                right.setdefault(mode, []).append(fine)
                right.setdefault(f"{mode}/{kind}", []).append(fine)
    model.train()
    return {key: float(np.mean(values)) for key, values in right.items()}
