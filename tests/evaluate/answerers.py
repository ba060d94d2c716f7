"""Models by rule, to see what scores make of them: they know the questions, which no model does.

The engine is the stand-in; asking, grading, rows and scores are the real thing.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from videopasta.config import EvaluateConfig
from videopasta.engine import Answer, ModelId, Request, RequestError, Usage, Video
from videopasta.evaluate.asking import ask
from videopasta.evaluate.questions import Question
from videopasta.evaluate.sheets import answer_rows, sheets
from videopasta.tiny.questionnaire import from_scenes
from videopasta.tiny.world import scenes

VIDEO = Video(np.zeros((2, 28, 28, 3), np.uint8), 2.0, "nothing")
Answerer = Callable[[Question, bool], str]
"""What is said to a question, asked with its options or not."""


def make_questions(*, num_clips: int = 20, per_mode: int = 2, seed: int = 0) -> list[Question]:
    """Questions about scenes of the world; nothing is rendered."""
    from itertools import islice

    clips = [(f"/clips/{n}.mp4", f"{n:064x}", scene) for n, scene in enumerate(islice(scenes("test", seed), num_clips))]
    return from_scenes(clips, per_mode=per_mode, seed=seed)


def oracle(question: Question, with_options: bool) -> str:
    """Always right."""
    return question.letters[question.right or 0] if with_options else question.reference


def reject_all(question: Question, with_options: bool) -> str:
    """Says that nothing is right, whatever is asked."""
    return question.letters[-1] if with_options else "None of the above."


def sycophant(question: Question, with_options: bool) -> str:
    """Goes along with whatever is asked."""
    if with_options:
        return question.letters[question.right or 0] if question.kind == "answerable" else "A"
    return question.misled or question.reference


def shuffled(questions: Sequence[Question], seed: int = 0) -> Answerer:
    """The right answers, each to another question."""
    rng = random.Random(seed)
    letters = [question.letters[question.right or 0] for question in questions if question.options]
    texts = [question.reference for question in questions]
    rng.shuffle(letters)
    rng.shuffle(texts)
    lettered = dict(zip([question.question_id for question in questions if question.options], letters, strict=True))
    told = dict(zip([question.question_id for question in questions], texts, strict=True))
    return lambda question, with_options: (lettered if with_options else told)[question.question_id]


class RuleEngine:
    """Answers by an `Answerer`; a letter's log-prob is 0 for the one it says, -5 for the others."""

    def __init__(self, questions: Sequence[Question], answerer: Answerer) -> None:
        self.model_id = ModelId("rule", "r1")
        self._answerer = answerer
        self._open = {question.text: question for question in questions if question.is_open}
        self._choice = {question.as_choice(): question for question in questions if question.options}

    async def generate(self, request: Request) -> Answer:
        """See `Engine.generate`."""
        question = (self._choice if request.choices else self._open)[request.prompt]
        text = self._answerer(question, bool(request.choices))
        if text == "too long":
            raise RequestError("prompt_too_long", "by rule")
        logprobs = tuple(0.0 if letter == text else -5.0 for letter in request.choices)
        return Answer(text, "stop", Usage(1, 1, 0), choice_logprobs=logprobs)

    def close(self) -> None:
        """See `Engine.close`."""


def rows_of(questions: Sequence[Question], answerer: Answerer) -> list[dict[str, Any]]:
    """Rows of `answers/` for a model by rule. Questions of equal text are told apart by clip."""

    async def all_rows() -> list[dict[str, Any]]:
        rows = []
        for sheet in sheets(questions):
            engine = RuleEngine(sheet.questions, answerer)
            rows += answer_rows(await ask(sheet, VIDEO, engine, EvaluateConfig()))
        return rows

    return asyncio.run(all_rows())
