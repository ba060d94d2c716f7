"""The value that travels through an evaluation: a clip with its questions and what a model said. Frozen, no frames.

Out of it: rows of `answers/`, one a question, an unanswered one with what came in the way.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from videopasta.evaluate.grading import by_truth, is_right_letter, likeliest, read_letter
from videopasta.evaluate.questions import Question
from videopasta.pairs.schema import FRAME_PLAN
from videopasta.video import FramePlan

NO_GRADER = "no_grader"
"""Why an open answer is not graded where there is nobody to do it."""


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Said(_Value):
    """What a model said to one question."""

    open_text: str | None = None
    """Asked without options; None where it was not."""
    open_cut: bool = False
    """Whether it ended at `max_tokens` instead of by itself."""
    choice_text: str | None = None
    """Asked with options."""
    letter_logprobs: tuple[float | None, ...] = ()
    """That the answer begins with each letter."""
    graded_right: bool | None = None
    """By a grader."""
    graded_why: str | None = None
    problem: str | None = None
    """Why it was not answered; the other fields are empty then."""


class Sheet(_Value):
    """One clip on its road."""

    questions: tuple[Question, ...]
    plan: FramePlan | None = None
    """None until decoded."""
    said: tuple[Said, ...] = ()
    """One a question, once asked."""
    model: str = ""
    """Who answered, as "name@revision"."""
    grader: str = ""
    """Who graded."""

    def having(self, **changes: object) -> "Sheet":
        """A copy with some fields replaced."""
        return self.model_copy(update=changes)

    def failed(self, problem: str) -> "Sheet":
        """The clip cannot be asked about, and why."""
        return self.having(said=tuple(Said(problem=problem) for _ in self.questions))


def sheets(questions: Sequence[Question]) -> list[Sheet]:
    """The questions by clip, in the order in which clips come first."""
    by_clip: dict[str, list[Question]] = {}
    for question in questions:
        by_clip.setdefault(question.clip, []).append(question)
    return [Sheet(questions=tuple(found)) for found in by_clip.values()]


ANSWERS = pa.schema(
    [
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("video_uri", pa.string(), nullable=False),
        pa.field("video_sha256", pa.string(), nullable=False),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("failure_mode", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("adversary", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("options", pa.list_(pa.string())),
        pa.field("right", pa.int32()),
        pa.field("reference", pa.string()),
        pa.field("misled", pa.string()),
        pa.field("frame_plan", FRAME_PLAN),
        pa.field("open_text", pa.string()),
        pa.field("open_cut", pa.bool_()),
        pa.field("open_right", pa.bool_()),  # null: not asked, or not graded
        pa.field("open_why", pa.string()),  # of the grader, or why there is no grade
        pa.field("choice_text", pa.string()),
        pa.field("choice_letter", pa.string()),  # null with a text: it names no option
        pa.field("choice_right", pa.bool_()),
        pa.field("letter_logprobs", pa.list_(pa.float64())),
        pa.field("likeliest_letter", pa.string()),
        pa.field("likeliest_right", pa.bool_()),  # null: the endpoint tells no log-probs
        pa.field("problem", pa.string()),
        pa.field("model", pa.string()),
        pa.field("grader", pa.string()),
    ]
)


def answer_rows(sheet: Sheet) -> list[dict[str, Any]]:
    """Rows as `ANSWERS` has them."""
    plan = sheet.plan and sheet.plan.to_dict()
    shared = {"frame_plan": plan, "model": sheet.model, "grader": sheet.grader}
    empty = dict.fromkeys(ANSWERS.names)
    return [empty | shared | _row(question, said) for question, said in zip(sheet.questions, sheet.said, strict=True)]


def _row(question: Question, said: Said) -> dict[str, Any]:
    row = question.model_dump(exclude={"truth", "query"}) | {
        "open_text": said.open_text,
        "choice_text": said.choice_text,
        "letter_logprobs": list(said.letter_logprobs),
        "problem": said.problem,
    }
    if said.open_text is not None:
        right = by_truth(said.open_text, question)
        row["open_right"] = right if right is not None else said.graded_right
        row["open_why"] = "truth" if right is not None else NO_GRADER if said.graded_why is None else said.graded_why
        row["open_cut"] = said.open_cut
    if said.choice_text is not None:
        letter, best = read_letter(said.choice_text, question), likeliest(said.letter_logprobs, question)
        row |= {"choice_letter": letter, "choice_right": is_right_letter(letter, question), "likeliest_letter": best}
        row["likeliest_right"] = None if best is None else is_right_letter(best, question)
    return row
