"""What the response model can do on unseen clips, beside what guessing can: the tables of the model card.

In: a model and a split. Out: for each kind of question the share of right answers when asked plainly, when misled
(an adversarial query on the dense frames), and on sparse frames (one per second), and the prior: what the best
answer by the question alone would get. Answers are decoded greedily, read back as claims, and held against the
scene.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import torch
from rich.table import Table

from videopasta.config import FAILURE_MODES
from videopasta.tiny import lessons, models
from videopasta.tiny import questions as q
from videopasta.tiny.audit import answers
from videopasta.tiny.claims import Claim, read_claim
from videopasta.tiny.lessons import Asked, Catalogue, Lesson
from videopasta.tiny.packing import Packer
from videopasta.tiny.samples import Sample, features_of, packed
from videopasta.tiny.world import NUM_TICKS, Scene, Split, scenes

DENSE = tuple(range(NUM_TICKS))
SPARSE = tuple(round(i * (NUM_TICKS - 1) / 7) for i in range(8))
"""Eight frames: one a second, as the pipeline's adversarial plan has them."""
MAX_TOKENS = 40


@dataclass(frozen=True)
class Score:
    """Right answers to one kind of question."""

    count: int
    plain: float
    prior: float
    misled: float
    """Share still right when asked misleadingly."""
    sparse: float


def examine(model: Any, packer: Packer, *, split: Split, seed: int, num_clips: int) -> dict[str, Score]:
    """Scores by failure mode, and by "mode/kind"; four questions of each mode a clip."""
    rng = random.Random(seed)
    chosen = list(islice(scenes(split, seed), num_clips))
    asked = [_draw(scene, rng) for scene in chosen]
    plain = [[lessons.plain(a, rng) for a in row] for row in asked]
    leading = [[_leading(a, scene, rng) for a in row] for scene, row in zip(chosen, asked, strict=True)]
    dense = answer(model, packer, chosen, DENSE, plain)
    misled = answer(model, packer, chosen, DENSE, leading)
    sparse = answer(model, packer, chosen, SPARSE, plain)
    found: dict[str, list[tuple[bool, bool, bool, bool]]] = defaultdict(list)
    for i, scene in enumerate(chosen):
        for n, a in enumerate(asked[i]):
            right = (
                is_right(dense[i][n], a.question, scene),
                _guess(a.question) == a.answer,
                _is_true(misled[i][n], scene),
                is_right(sparse[i][n], a.question, scene),
            )
            found[a.question.mode].append(right)
            found[f"{a.question.mode}/{type(a.question).__name__}"].append(right)
    return {
        name: Score(len(rows), *(sum(column) / len(rows) for column in zip(*rows, strict=True)))
        for name, rows in sorted(found.items())
    }


def table(scores: dict[str, Score]) -> Table:
    """Scores for people, in percent."""
    shown = Table("kind of question")
    for name in ("questions", "plain", "by guessing", "misled", "sparse"):
        shown.add_column(name, justify="right")
    for name, score in scores.items():
        values = (score.plain, score.prior, score.misled, score.sparse)
        shown.add_row(name, str(score.count), *(f"{100 * value:.1f}" for value in values))
    return shown


def answer(
    model: Any,
    packer: Packer,
    chosen: Sequence[Scene],
    ticks: Sequence[int],
    asked: Sequence[Sequence[Lesson]],
    *,
    batch_size: int = 16,
    max_tokens: int = MAX_TOKENS,
) -> list[list[str]]:
    """Greedy answers to the prompts of `asked`, per scene, seen at `ticks`."""
    model.eval()
    generator = torch.Generator().manual_seed(0)
    texts: list[list[str]] = []
    for start in range(0, len(chosen), batch_size):
        part = chosen[start : start + batch_size]
        sample = Sample(part, [ticks] * len(part) if ticks else [], asked[start : start + batch_size])
        with torch.no_grad():
            features = features_of(model, sample, noise=0.0, generator=generator)
        ids = models.decode(model, packed(packer, sample), features, max_tokens=max_tokens, end_id=packer.end_id)
        texts += [[packer.text(answer) for answer in row] for row in ids.tolist()]
    return texts


def is_right(text: str, question: q.Question, scene: Scene) -> bool:
    """Whether an answer is true and answers the question."""
    claim = read_claim(text)
    return claim is not None and answers(question, claim, scene)


def _is_true(text: str, scene: Scene) -> bool:
    claim = read_claim(text)
    return claim is not None and claim.holds(scene)


def _draw(scene: Scene, rng: random.Random) -> list[Asked]:
    catalogue = Catalogue(scene, rng)
    return [a for mode in FAILURE_MODES for a in catalogue.draw(mode, 4)]


def _leading(asked: Asked, scene: Scene, rng: random.Random) -> Lesson:
    adversary = rng.choice(q.ADVERSARIES[asked.question.mode])
    return Lesson(q.mislead(asked.answer, adversary, rng, scene).query, "")


def _guess(question: q.Question) -> Claim | None:
    return priors().get(question)


@cache
def priors(num_scenes: int = 20_000) -> dict[q.Question, Claim]:
    """The most frequent answer to each question over training scenes: the best guess without a look.

    A question that none of those scenes had is not guessed, and counts as wrong.
    """
    counts = _count(islice(scenes("train", seed=7), num_scenes), random.Random(7))
    return {question: answers.most_common(1)[0][0] for question, answers in counts.items()}


def _count(some: Iterable[Scene], rng: random.Random) -> dict[q.Question, Counter[Claim]]:
    counts: dict[q.Question, Counter[Claim]] = defaultdict(Counter)
    for scene in some:
        for a in _draw(scene, rng):
            counts[a.question][a.answer] += 1
    return counts
