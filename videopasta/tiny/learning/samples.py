"""What one step is trained on, and what a look at the progress asks: from scenes and lessons to tensors."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from videopasta.config import FAILURE_MODES
from videopasta.tiny import render
from videopasta.tiny.learning import cases, forward, lessons
from videopasta.tiny.learning.cases import Case
from videopasta.tiny.learning.lessons import Catalogue, Lesson
from videopasta.tiny.learning.packing import IGNORED, Batch, Packer
from videopasta.tiny.world import NUM_TICKS, TICK_S, Scene, scenes, state

DENSE = tuple(range(NUM_TICKS))
SPARSE = tuple(range(0, NUM_TICKS, 4))
"""Eight frames: one a second, as the pipeline's adversarial plan has them; the last moment is not among them."""
NOISE = 4.0
"""Standard deviation of the noise on each pixel, of 255: decoded pixels are never as clean as drawn ones."""
PICTURE_STEPS = {"moments": 4, "describes": 3, "relates": 3, "compares": 0, "sides": 0}
COMPARING_STEPS = {"moments": 2, "describes": 2, "relates": 0, "compares": 10, "sides": 0}
"""Weights of the kinds of `picture_sample`, first and then: what two shapes have in common, a row or a column, is
learned only where many such questions come together."""
WRONG = 0.35
"""Share of the wrong among the response model's cases that the judge is taught."""
CLIP_STEPS = {
    "questions": 38, "fates": 16, "descriptions": 24, "long": 11, "rewriting": 5, "pictures": 6,
    "neighbours": 0, "sides": 0, "sparse": 0, "absences": 0, "denials": 0,
}  # fmt: skip
"""Steps with whole clips, in percent. Fates teach when what happens; a description says a clip's every fact."""
NEIGHBOUR_STEPS = {
    "questions": 28, "fates": 5, "descriptions": 9, "long": 8, "rewriting": 3, "pictures": 2,
    "neighbours": 27, "sides": 10, "sparse": 8, "absences": 0, "denials": 0,
}  # fmt: skip
"""Then: that nothing is there, or nothing follows, is learned only where all neighbours are asked for."""
ABSENCE_STEPS = {
    "questions": 16, "fates": 3, "descriptions": 8, "long": 16, "rewriting": 4, "pictures": 2,
    "neighbours": 20, "sides": 5, "sparse": 6, "absences": 11, "denials": 9,
}  # fmt: skip
"""The last of them: who asks about a shape that is gone is told so; and many queries to write, which had better not."""


@dataclass(frozen=True)
class Sample:
    """What one step is trained on."""

    scenes: Sequence[Scene]
    ticks: Sequence[Sequence[int]]
    """Of each clip's frames; empty: no video."""
    lessons: Sequence[Sequence[Lesson]]


def picture_sample(
    stream: Iterator[Scene], rng: random.Random, count: int, weights: Mapping[str, int] = PICTURE_STEPS
) -> Sample:
    """Single pictures: looked up and related, or compared, or described; or pairs in which something happens.

    A model that sees a change within a pair need not compare it with the one before to see when it was.

    Args:
        stream: of scenes.
        rng: of the kind and the lessons.
        count: pictures; twice as many where each has few lessons.
        weights: of the kinds.
    """
    kind = rng.choices(list(weights), list(weights.values()))[0]
    chosen = list(islice(stream, 2 * count if kind in ("moments", "describes") else count))
    if kind == "moments":
        ticks = [lessons.moment(scene, rng) for scene in chosen]
        return Sample(chosen, ticks, [lessons.fates(s, t) for s, t in zip(chosen, ticks, strict=True)])
    stills = [lessons.still(scene, _moment(scene, rng)) for scene in chosen]
    teach: Callable[[Scene], list[Lesson]] = {
        "describes": lambda scene: [lessons.picture_description(scene)],
        "relates": lambda scene: lessons.picture_lessons(scene, rng),
        "compares": lambda scene: lessons.comparisons(scene, rng),
        "sides": lambda scene: lessons.sides(scene, rng),
    }[kind]
    taught = [teach(scene) for scene in stills]
    # They show the same at any time but for the timeline.
    starts = [2 * rng.randrange(NUM_TICKS // 2) for _ in stills]
    return Sample(stills, [(start, start + 1) for start in starts], taught)


def _moment(scene: Scene, rng: random.Random) -> int:
    """A tick; often one at which a passing shape partly hides another or is hidden."""
    passes = next((event for event in scene.events if event.kind == "pass"), None)
    if passes is not None and rng.random() < 0.5:
        return passes.tick + rng.choice((2, 4))
    return rng.randrange(NUM_TICKS)


def clip_sample(
    stream: Iterator[Scene], rng: random.Random, count: int, weights: Mapping[str, int] = CLIP_STEPS
) -> Sample:
    """One of the kinds of `weights`; `count` clips where each has a dozen lessons, more where it has fewer."""
    kind = rng.choices(list(weights), list(weights.values()))[0]
    if kind == "pictures":
        return picture_sample(stream, rng, 3 * count, COMPARING_STEPS)
    if kind == "sides":
        return picture_sample(stream, rng, 3 * count, {"sides": 1})
    chosen = list(islice(stream, 3 * count if kind in ("descriptions", "fates") else count))
    taught = {
        "questions": lambda scene: lessons.short_lessons(scene, rng),
        "descriptions": lambda scene: [lessons.described(scene)],
        "fates": lessons.fates,
        "neighbours": lambda scene: lessons.neighbours(scene, rng),
        "sparse": lambda scene: lessons.misleading(scene, rng),
        "absences": lambda scene: lessons.absences(scene, rng),
        "long": lambda scene: lessons.long_lessons(scene, rng),
        "rewriting": lambda scene: lessons.rewriting_lessons(scene, rng),
        "denials": lambda scene: lessons.rewriting_of_denials(scene, rng),
    }[kind]
    ticks = [] if kind in ("rewriting", "denials") else [SPARSE if kind == "sparse" else DENSE] * len(chosen)
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
    return forward.patches(images.clamp(0, 255)), torch.from_numpy(where.reshape(len(shown), -1))


def packed(packer: Packer, sample: Sample) -> Batch:
    """The lessons of a sample as tokens."""
    num_steps = len(sample.ticks[0]) // 2 if sample.ticks else 0
    seconds_per_step = TICK_S * (sample.ticks[0][-1] - sample.ticks[0][0]) / (2 * num_steps - 1) * 2 if num_steps else 0
    return packer.pack(sample.lessons, num_steps=num_steps, seconds_per_step=seconds_per_step)


def features_of(model: Any, sample: Sample, noise: float, generator: torch.Generator) -> torch.Tensor | None:
    """(B, video tokens, D) of a sample's clips; None without a video."""
    if not sample.ticks:
        return None
    pixels, where = (tensor.to(model.device) for tensor in pictures(sample, noise, generator))
    features: torch.Tensor = forward.see(model.model.visual, pixels)[where].flatten(1, 2)
    return features


@dataclass(frozen=True)
class ExamSample(Sample):
    """Plain questions on unseen clips, with their kinds."""

    kinds: Sequence[Sequence[tuple[str, ...]]] = ()
    """Under which names each lesson counts."""


def exam_samples(num_clips: int, seed: int = 1, count: int = 16, *, still: bool = False) -> list[ExamSample]:
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
                [[(a.question.mode, f"{a.question.mode}/{type(a.question).__name__}") for a in row] for row in asked],
            )
        )
    return samples


def fates_exam(num_clips: int, seed: int = 1, count: int = 16, *, still: bool = False) -> list[ExamSample]:
    """What becomes of each shape and of the scene in unseen clips; in single pairs of frames if `still`."""
    stream, rng = scenes("validation", seed), random.Random(seed)
    samples = []
    for _ in range(num_clips // count):
        chosen = list(islice(stream, count))
        ticks = [lessons.moment(scene, rng) if still else range(NUM_TICKS) for scene in chosen]
        taught = [lessons.fates(scene, t) for scene, t in zip(chosen, ticks, strict=True)]
        kinds = [[("fates", f"fates/{'none' if 'Nothing' in one.answer else 'some'}") for one in row] for row in taught]
        samples.append(ExamSample(chosen, ticks, taught, kinds))
    return samples


def absences_exam(num_clips: int, seed: int = 1, count: int = 16) -> list[ExamSample]:
    """What is gone in unseen clips and what is not, as in `lessons.absences`."""
    stream, rng = scenes("validation", seed), random.Random(seed)
    samples = []
    for _ in range(num_clips // count):
        chosen = list(islice(stream, count))
        taught = [lessons.absences(scene, rng) for scene in chosen]
        kinds = [[("absences/gone" if "missing" in one.answer else "absences/there",) for one in row] for row in taught]
        samples.append(ExamSample(chosen, [range(NUM_TICKS)] * count, taught, kinds))
    return samples


@dataclass(frozen=True)
class Answered:
    """Cases of the response model's answers."""

    right: Sequence[Case]
    wrong: Sequence[Case]

    def draw(self, rng: random.Random) -> Case:
        """A case; a wrong one more often than the model errs, or the judge would learn to accept."""
        return rng.choice(self.wrong if rng.random() < WRONG else self.right)


def reading_sample(
    stream: Iterator[Scene], rng: random.Random, count: int, *, verdicts: float, answered: Answered
) -> Sample:
    """`count` texts: questions on a description, and the share `verdicts` of cases to judge.

    Half of the cases are `answered` by the response model; the others are made up, with more and other mistakes.
    """
    chosen = list(islice(stream, count))
    taught = []
    for scene in chosen:
        if rng.random() >= verdicts:
            taught.append(cases.reading(scene, rng))
        elif rng.random() < 0.5:
            taught.append(cases.verdict(answered.draw(rng)))
        else:
            taught.append(cases.verdict(cases.case(scene, rng)))
    return Sample(chosen, [], [[lesson] for lesson in taught])


def judge_exam(num_texts: int, answered: Sequence[Case], seed: int = 1, count: int = 32) -> list[ExamSample]:
    """Questions on a description, and made-up cases, `num_texts` each, and the `answered` cases."""
    stream, rng = scenes("validation", seed), random.Random(seed)
    made: dict[str, Callable[[Scene], Lesson]] = {
        "reading": lambda scene: cases.reading(scene, rng),
        "made-up": lambda scene: cases.verdict(cases.case(scene, rng)),
    }
    samples = []
    for kind, make in made.items():
        for _ in range(num_texts // count):
            samples.append(ExamSample([], [], [[make(scene)] for scene in islice(stream, count)], [[(kind,)]] * count))
    for start in range(0, len(answered), count):
        part = [[cases.verdict(one)] for one in answered[start : start + count]]
        samples.append(ExamSample([], [], part, [[("answered",)]] * len(part)))
    return samples


@torch.no_grad()
def score(model: Any, packer: Packer, samples: Sequence[ExamSample]) -> dict[str, float]:
    """Share of answers of which every token is the likeliest, by name."""
    model.eval()
    right: dict[str, list[bool]] = {}
    generator = torch.Generator().manual_seed(0)
    for sample in samples:
        batch = packed(packer, sample).to(model.device)
        hidden, _ = forward.read(model, batch, features_of(model, sample, NOISE, generator))
        labels = batch.labels[..., 1:]
        taught = labels != IGNORED
        wrong = torch.zeros_like(taught)
        wrong[taught] = functional.linear(hidden[:, :, :-1][taught], model.lm_head.weight).argmax(-1) != labels[taught]
        for b, row in enumerate(sample.kinds):
            for n, names in enumerate(row):
                for name in names:
                    right.setdefault(name, []).append(not wrong[b, n].any().item())
    model.train()
    return {name: float(np.mean(values)) for name, values in right.items()}
