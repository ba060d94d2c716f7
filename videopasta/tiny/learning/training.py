"""How the small models learn: the response model to see, the judge to read.

Response model: single pictures first, which bind shapes, colours and places, and pairs of frames in which something
happens; then pictures with many questions of how shapes stand to each other; then whole clips, with a dozen questions
on each video prefix, now and then what becomes of each shape, descriptions, queries to write, choices, and rewriting
without a video; then every neighbour of every shape and event, so that the model learns to say where there is none,
and misleading queries on sparse frames; last, shapes that are gone at the moment asked for.
Single pictures stay in the mix, and everything is trained end to end.

Judge: the response model's language half, which knows the words; questions on a description first, then verdicts.
The end of the last phase anneals.

Muon for the matrices, AdamW for the rest. Equal seeds, devices, thread counts and machines give equal weights.
"""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from videopasta.errors import UserError
from videopasta.tiny.learning import forward, models
from videopasta.tiny.learning.cases import Case
from videopasta.tiny.learning.packing import IGNORED, Batch, Packer
from videopasta.tiny.learning.samples import (
    ABSENCE_STEPS,
    COMPARING_STEPS,
    NEIGHBOUR_STEPS,
    NOISE,
    Answered,
    ExamSample,
    Sample,
    absences_exam,
    clip_sample,
    exam_samples,
    fates_exam,
    features_of,
    judge_exam,
    packed,
    picture_sample,
    reading_sample,
    score,
)
from videopasta.tiny.learning.sources import source_hash
from videopasta.tiny.world import Scene, scenes

WARMUP_STEPS = 50


def loss_of(model: Any, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over the answers' tokens."""
    taught = batch.labels[..., 1:] != IGNORED
    logits = functional.linear(hidden[:, :, :-1][taught], model.lm_head.weight)
    return functional.cross_entropy(logits, batch.labels[..., 1:][taught])


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: Keller Jordan's Muon with Moonshot's scale, 0.2 * sqrt(larger side).

    As `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`, in float32 and with matrices of one shape together:
    that one computes in bfloat16 and takes 1.7 s a step where this takes 0.07 (2 cores AMD EPYC, 2026-11-24).
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

    def state(self) -> list[dict[str, Any]]:
        """What `load` takes up again."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on from a `state`."""
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def make_optimizers(model: torch.nn.Module, rate: float) -> Optimizers:
    """Muon for matrices but embeddings; AdamW at half the rate for the rest."""
    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    matrices = {n: p for n, p in named.items() if p.ndim == 2 and "embed" not in n and "lm_head" not in n}
    muon = Muon(list(matrices.values()), lr=rate, weight_decay=0.01, momentum=0.95)
    adamw = torch.optim.AdamW([p for n, p in named.items() if n not in matrices], lr=rate / 2, betas=(0.9, 0.98))
    return Optimizers((muon, adamw), (rate, rate / 2))


def rate_at(step: int, num_steps: int, anneal: float) -> float:
    """The share of the full rate: up over the warm-up, down to a thirtieth over the last `anneal` of the steps."""
    done = step / num_steps
    falling = 1.0 if done <= 1 - anneal else max(1 / 30, (1 - done) / anneal)
    return min(1.0, (step + 1) / WARMUP_STEPS) * falling


Draw = Callable[[Iterator[Scene], random.Random], Sample]


@dataclass(frozen=True)
class Phase:
    """A part of a training, with one kind of samples and one course of the rate."""

    name: str
    num_steps: int
    rate: float
    """Of the matrices; half of it for the rest."""
    anneal: float
    """Share of the steps, the last ones, over which the rate falls to a thirtieth."""
    draw: Draw
    exam: Sequence[ExamSample]
    """What is looked at on the way."""


def vl_phases(scale: float = 1.0) -> list[Phase]:
    """The response model's training; `scale` shortens or lengthens it."""
    of_pictures = [*exam_samples(96, still=True), *fates_exam(64, still=True)]
    of_clips = [*exam_samples(96), *fates_exam(64)]
    return [
        Phase(
            "pictures",
            round(1800 * scale),
            rate=2e-3,
            anneal=0.0,
            draw=lambda stream, rng: picture_sample(stream, rng, 24),
            exam=of_pictures,
        ),
        Phase(
            "comparisons",
            round(800 * scale),
            rate=2e-3,
            anneal=0.0,
            draw=lambda stream, rng: picture_sample(stream, rng, 24, COMPARING_STEPS),
            exam=of_pictures,
        ),
        Phase(
            "clips",
            round(4500 * scale),
            rate=1.5e-3,
            anneal=0.4,
            draw=lambda stream, rng: clip_sample(stream, rng, 8),
            exam=of_clips,
        ),
        Phase(
            "neighbours",
            round(1600 * scale),
            rate=1.5e-3,
            anneal=0.5,
            draw=lambda stream, rng: clip_sample(stream, rng, 8, NEIGHBOUR_STEPS),
            exam=of_clips,
        ),
        Phase(
            "absences",
            round(1400 * scale),
            rate=1.5e-3,
            anneal=0.6,
            draw=lambda stream, rng: clip_sample(stream, rng, 8, ABSENCE_STEPS),
            exam=[*of_clips, *absences_exam(64)],
        ),
    ]


def judge_phases(answered: Sequence[Case], unseen: Sequence[Case], scale: float = 1.0) -> list[Phase]:
    """The judge's training: reading first, then verdicts.

    Args:
        answered: cases of training scenes as the response model answers them.
        unseen: likewise of validation scenes; only looked at.
        scale: shortens or lengthens it.

    Raises:
        UserError: the response model is never right, or never wrong.
    """
    taught = Answered([one for one in answered if one.right], [one for one in answered if not one.right])
    if not taught.right or not taught.wrong:
        raise UserError(
            f"of the response model's {len(answered)} candidates {len(taught.right)} are right: a judge learns from "
            "both kinds. Train the response model, or take more clips with a larger --scale"
        )

    def draw(verdicts: float) -> Draw:
        return lambda stream, rng: reading_sample(stream, rng, 24, verdicts=verdicts, answered=taught)

    exam = judge_exam(192, unseen)
    return [
        Phase("reading", round(1500 * scale), rate=1.5e-3, anneal=0.0, draw=draw(0.0), exam=exam),
        Phase("verdicts", round(2500 * scale), rate=1.5e-3, anneal=0.5, draw=draw(0.8), exam=exam),
    ]


class _Counted:
    """A stream that can be wound forward to where it was."""

    def __init__(self, stream: Iterator[Scene], drawn: int = 0) -> None:
        self._stream = islice(stream, drawn, None)
        self.drawn = drawn

    def __iter__(self) -> Iterator[Scene]:
        return self

    def __next__(self) -> Scene:
        self.drawn += 1
        return next(self._stream)


def train(
    model: Any, tokenizer: Any, phases: Sequence[Phase], folder: Path, *, seed: int = 0, report_every: int = 500
) -> None:
    """Train `model` through `phases`; at each report a line of scores in log.jsonl and a state to go on from.

    Raises:
        UserError: the state in `folder` is of another training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packer = Packer(tokenizer)
    identity = {
        "seed": seed,
        "phases": [(phase.name, phase.num_steps, phase.rate, phase.anneal) for phase in phases],
        "device": f"{model.device.type}, {torch.get_num_threads()} threads",
        "code": source_hash(),
    }
    state_file, state = folder / "state.pt", None
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True, map_location=model.device)
        if state["identity"] != identity:
            raise UserError(
                f"{state_file} is of another training ({state['identity']}, not {identity}); give another folder"
            )
        model.load_state_dict(state["model"])
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(seed)
    before = state["seconds"] if state else 0.0
    started = time.monotonic()
    model.train()
    for number, phase in enumerate(phases):
        if state and number < state["phase"]:
            continue
        optimizers = make_optimizers(model, phase.rate)
        drawn, first, smooth = 0, 0, math.nan
        if state and number == state["phase"]:
            drawn, first, smooth = state["drawn"], state["step"], state["loss"]
            rng.setstate(state["rng"])
            generator.set_state(state["generator"].cpu())
            optimizers.load(state["optimizers"])
        stream = _Counted(scenes("train", seed=1000 * seed + number), drawn)
        for step in range(first + 1, phase.num_steps + 1):
            sample = phase.draw(stream, rng)
            batch = packed(packer, sample).to(model.device)
            hidden, _ = forward.read(model, batch, features_of(model, sample, NOISE, generator))
            loss = loss_of(model, batch, hidden)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizers.step(rate_at(step - 1, phase.num_steps, phase.anneal))
            smooth = loss.item() if math.isnan(smooth) else 0.98 * smooth + 0.02 * loss.item()
            if step % report_every and step != phase.num_steps:
                continue
            scores = {name: round(value, 3) for name, value in sorted(score(model, packer, phase.exam).items())}
            seconds = before + time.monotonic() - started
            line = {"phase": phase.name, "step": step, "seconds": round(seconds), "loss": round(smooth, 4), **scores}
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            new_state = {
                "identity": identity, "phase": number, "step": step, "seconds": seconds, "loss": smooth,
                "drawn": stream.drawn, "rng": rng.getstate(), "generator": generator.get_state(),
                "model": model.state_dict(), "optimizers": optimizers.state(),
            }  # fmt: skip
            torch.save(new_state, state_file.with_suffix(".new"))
            state_file.with_suffix(".new").replace(state_file)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in `folder`, made first if there is none."""
    from transformers import PreTrainedTokenizerFast

    if not folder.is_dir():
        models.make_tokenizer().save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)
