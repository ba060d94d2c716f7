"""Candidates that the response model makes of scenes, as the pipeline would, many clips at a time.

In: a response model and scenes. Out: cases for the judge, each with the truth about it. Questions are the model's
own about half of the clips and the world's about the others; misleading queries follow from the preferred answer;
the answers, dense and sparse, and the descriptions are the model's, with its own mistakes in them. The judge is
taught and examined on these.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from rich.progress import track

from videopasta.config import FAILURE_MODES
from videopasta.config.generate import GuardsConfig
from videopasta.engine.models import revision_of
from videopasta.errors import UserError
from videopasta.generate.guards import check_pair
from videopasta.generate.queries import distinct, parse_queries
from videopasta.tiny import questions as q
from videopasta.tiny.claims import Missing, Never, Presence, read_claim
from videopasta.tiny.learning import cases, lessons, models
from videopasta.tiny.learning.answering import answer
from videopasta.tiny.learning.cases import Case
from videopasta.tiny.learning.lessons import Catalogue, Lesson
from videopasta.tiny.learning.packing import Packer
from videopasta.tiny.learning.samples import SPARSE
from videopasta.tiny.learning.sources import source_hash
from videopasta.tiny.world import Scene, Split, scenes

BATCH = 16
SEED_OFFSET = 50
"""Between the scenes that the response model was trained on and those that it answers for the judge."""
GUARDS = GuardsConfig()
_STORED = TypeAdapter(tuple[str, list[Case]])
MAX_DESCRIPTION_TOKENS, MAX_QUERIES_TOKENS = 128, 128


@dataclass(frozen=True)
class Query:
    """A question as it is asked."""

    text: str
    question: q.Question


def candidates(model: Any, packer: Packer, chosen: Iterable[Scene], rng: random.Random, *, per_mode: int) -> list[Case]:
    """Up to `per_mode` cases of each failure mode and scene, less those that no judge sees.

    Those are what the pipeline's guards drop, and preferred answers that neither answer the question nor say that a
    shape or an event never is.
    """
    found: list[Case] = []
    stream = iter(chosen)
    while some := list(islice(stream, BATCH)):
        own = rng.random() < 0.5
        asked = _written(model, packer, some, rng, per_mode) if own else [_drawn(s, rng, per_mode) for s in some]
        plain = [[Lesson(query.text, "") for query in row] for row in asked]
        descriptions = [[lessons.described(scene)] for scene in some]
        told = [row[0] for row in answer(model, packer, descriptions, some, max_tokens=MAX_DESCRIPTION_TOKENS)]
        preferred = answer(model, packer, plain, some)
        leading = [
            [_mislead(query.question, text, rng) for query, text in zip(*row, strict=True)]
            for row in zip(asked, preferred, strict=True)
        ]
        adversarial = answer(model, packer, leading, some, SPARSE)
        for b, scene in enumerate(some):
            for n, query in enumerate(asked[b]):
                if not leading[b][n].prompt or check_pair(preferred[b][n], adversarial[b][n], GUARDS):
                    continue
                found.append(
                    cases.judged_case(
                        scene,
                        query.question,
                        query.text,
                        query.question.mode,
                        preferred[b][n],
                        adversarial[b][n],
                        None if rng.random() < cases.NOT_DESCRIBED else told[b],
                    )
                )
    return found


def stored_candidates(file: Path, model: Path, split: Split, seed: int, num_scenes: int) -> list[Case]:
    """The candidates of `num_scenes` scenes of `split` by the checkpoint `model`; made once, then read from `file`.

    Raises:
        UserError: those in `file` were made otherwise.
    """
    made_by = f"{revision_of(str(model), None, None)}, {split}, seed {seed}, {num_scenes} scenes, {source_hash()}"
    if not file.is_file():
        responds, tokenizer = models.load(model)
        chosen = islice(scenes(split, seed + SEED_OFFSET), num_scenes)
        shown = track(chosen, f"answers about {split} clips", total=num_scenes, transient=True)
        found = candidates(responds, Packer(tokenizer), shown, random.Random(seed), per_mode=3)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_bytes(_STORED.dump_json((made_by, found)))
        file.with_suffix(".new").replace(file)
    stored_by, stored = _STORED.validate_json(file.read_bytes())
    if stored_by != made_by:
        raise UserError(f"{file}: made by {stored_by}, wanted {made_by}; give another folder")
    return stored


def _drawn(scene: Scene, rng: random.Random, per_mode: int) -> list[Query]:
    """The world's questions."""
    catalogue = Catalogue(scene, rng)
    asked = [
        cases.unanswerable(scene, mode, rng).question if rng.random() < cases.MISSING else a.question
        for mode in FAILURE_MODES
        for a in catalogue.draw(mode, per_mode)
    ]
    return [Query(question.text(rng.randrange(len(question.forms))), question) for question in asked]


def _written(model: Any, packer: Packer, some: list[Scene], rng: random.Random, per_mode: int) -> list[list[Query]]:
    """The model's questions, asked for as the pipeline does; the world's where none can be read."""
    prompts = []
    for scene in some:
        catalogue = Catalogue(scene, rng)
        prompts.append([lessons.queries(mode, catalogue, rng) for mode in FAILURE_MODES])
    rows = []
    for scene, told in zip(some, answer(model, packer, prompts, some, max_tokens=MAX_QUERIES_TOKENS), strict=True):
        texts = [text for written in told for text in distinct(parse_queries(written))[:per_mode]]
        row = [Query(text, question) for text in texts if (question := q.read_question(text)) is not None]
        rows.append(row or _drawn(scene, rng, per_mode))
    return rows


def _mislead(question: q.Question, preferred: str, rng: random.Random) -> Lesson:
    """The adversarial query that follows from an answer; empty when none does."""
    claim = read_claim(preferred)
    if claim is None or not (question.fits(claim) or isinstance(claim, Missing | Never | Presence)):
        return Lesson("", "")
    adversary = rng.choice(q.ADVERSARIES[question.mode])
    return Lesson(q.mislead(claim, adversary, rng).query, "")
