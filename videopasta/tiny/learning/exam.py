"""What the small models can do on unseen clips, beside what guessing can: the tables of the model card.

Response model: for each kind of question the share of right answers when asked plainly, when misled (an adversarial
query on the dense frames), and on sparse frames (one per second), and the prior: what the best answer by the
question alone would get. Judge: how well it tells right candidates of that model from wrong ones. Answers are
decoded greedily, read back as claims, and held against the scene.
"""

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from rich.box import MARKDOWN
from rich.table import Table

from videopasta.config import FAILURE_MODES
from videopasta.generate.judging import read_vote
from videopasta.tiny import questions as q
from videopasta.tiny.claims import Claim
from videopasta.tiny.learning import lessons
from videopasta.tiny.learning.answering import answer
from videopasta.tiny.learning.candidates import candidates
from videopasta.tiny.learning.cases import Case, verdict
from videopasta.tiny.learning.lessons import Asked, Catalogue, Lesson
from videopasta.tiny.learning.packing import Packer
from videopasta.tiny.learning.samples import SPARSE
from videopasta.tiny.world import Scene, Split, scenes

MAX_VERDICT = 96
"""Tokens."""


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
    dense = answer(model, packer, plain, chosen)
    misled = answer(model, packer, leading, chosen)
    sparse = answer(model, packer, plain, chosen, SPARSE)
    found: dict[str, list[tuple[bool, bool, bool, bool]]] = defaultdict(list)
    for i, scene in enumerate(chosen):
        for n, a in enumerate(asked[i]):
            right = (
                q.is_right(dense[i][n], a.question, scene),
                _guess(a.question) == a.answer,
                q.is_right(misled[i][n], a.question, scene),
                q.is_right(sparse[i][n], a.question, scene),
            )
            found[a.question.mode].append(right)
            found[f"{a.question.mode}/{type(a.question).__name__}"].append(right)
    return {
        name: Score(len(rows), *(sum(column) / len(rows) for column in zip(*rows, strict=True)))
        for name, rows in sorted(found.items())
    }


@dataclass(frozen=True)
class JudgeScore:
    """How well candidates are judged; a right one has a true preferred answer and a false adversarial one."""

    count: int
    base_rate: float
    """Share of right candidates: the precision of accepting all."""
    precision: float
    recall: float
    f1: float


def unseen_cases(model: Any, packer: Packer, *, split: Split, seed: int, num_clips: int) -> list[Case]:
    """What the response model makes of clips of `split`, for the judge."""
    return candidates(model, packer, islice(scenes(split, seed), num_clips), random.Random(seed), per_mode=2)


def examine_judge(judge: Any, packer: Packer, cases: Sequence[Case]) -> dict[str, JudgeScore]:
    """Scores of all cases, by failure mode, and with and without a description."""
    told = answer(judge, packer, [[verdict(case)] for case in cases], max_tokens=MAX_VERDICT)
    found: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for case, (text,) in zip(cases, told, strict=True):
        vote = read_vote(text, "")
        outcome = case.right, vote is not None and vote.accepts
        described = "undescribed" if case.description is None else "described"
        for name in ("all", case.failure_mode, described):
            found[name].append(outcome)
    return {name: _judge_score(found[name]) for name in ("all", *sorted(set(found) - {"all"}))}


def _judge_score(outcomes: Sequence[tuple[bool, bool]]) -> JudgeScore:
    """NaN where there is nothing to divide by."""
    right = sum(is_right for is_right, _ in outcomes)
    accepted = sum(accepts for _, accepts in outcomes)
    both = sum(is_right and accepts for is_right, accepts in outcomes)
    precision = both / accepted if accepted else math.nan
    recall = both / right if right else math.nan
    f1 = 2 * both / (right + accepted) if right + accepted else math.nan
    base_rate = right / len(outcomes) if outcomes else math.nan
    return JudgeScore(len(outcomes), base_rate, precision, recall, f1)


def judge_table(sets: Sequence[dict[str, JudgeScore]]) -> Table:
    """Scores for people, in percent."""
    columns = {"right": "base_rate", "precision": "precision", "recall": "recall", "F1": "f1"}
    return _table("candidates", "number", columns, sets)


def table(sets: Sequence[dict[str, Score]]) -> Table:
    """Scores for people, in percent."""
    columns = {"plain": "plain", "by guessing": "prior", "misled": "misled", "sparse": "sparse"}
    return _table("kind of question", "questions", columns, sets)


def _table(
    title: str, count: str, columns: Mapping[str, str], sets: Sequence[Mapping[str, Score | JudgeScore]]
) -> Table:
    """A row for each name in any of the sets of clips; mean and standard deviation over those that have it."""
    shown = Table(title, box=MARKDOWN)
    for column in (count, *columns):
        shown.add_column(column, justify="right")
    for name in dict.fromkeys(name for scores in sets for name in scores):
        scores = [one[name] for one in sets if name in one]
        values = [_percent([getattr(score, field) for score in scores]) for field in columns.values()]
        shown.add_row(name, str(sum(score.count for score in scores)), *values)
    return shown


def _percent(shares: Sequence[float]) -> str:
    mean = f"{100 * statistics.fmean(shares):.1f}"
    return mean if len(shares) == 1 else f"{mean} ± {100 * statistics.stdev(shares):.1f}"


def _draw(scene: Scene, rng: random.Random) -> list[Asked]:
    catalogue = Catalogue(scene, rng)
    return [a for mode in FAILURE_MODES for a in catalogue.draw(mode, 4)]


def _leading(asked: Asked, scene: Scene, rng: random.Random) -> Lesson:
    adversary = rng.choice(q.ADVERSARIES[asked.question.mode])
    return Lesson(q.mislead(asked.answer, adversary, rng, scene).query, "")


def _guess(question: q.Question) -> Claim | None:
    """The best answer without a look; where training scenes never had the question, the first one it allows."""
    nothing = Scene((), ("", ""), ())
    return priors().get(question) or next(iter(question.possible(nothing)), None)


@cache
def priors(num_scenes: int = 20_000) -> dict[q.Question, Claim]:
    """The most frequent answer to each question over training scenes."""
    counts = _count(islice(scenes("train", seed=7), num_scenes), random.Random(7))
    return {question: answers.most_common(1)[0][0] for question, answers in counts.items()}


def _count(some: Iterable[Scene], rng: random.Random) -> dict[q.Question, Counter[Claim]]:
    counts: dict[q.Question, Counter[Claim]] = defaultdict(Counter)
    for scene in some:
        for a in _draw(scene, rng):
            counts[a.question][a.answer] += 1
    return counts
