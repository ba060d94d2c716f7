"""Whether an answer is right: letters by reading them, open answers by the truth or by a grader. Pure.

In: a question and what the model said. Out: right, wrong, or not known, and why.
"""

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import jinja2

from videopasta.evaluate.questions import Question
from videopasta.generate.asking import clean, parse_json

_TEMPLATE = Path(__file__).parent / "templates/grade.j2"
# A letter is one where a mark or the end follows: "A circle ..." names no option.
_LETTER = re.compile(
    r"[\W_]*(?:(?i:the\s+|correct\s+|best\s+|answer|option|is|:|\s)*)[\W_]*([A-Z])(?=[.):,*]|\s*$|\s*\n)"
)
GRADE_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 160}, "right": {"type": "boolean"}},
    "required": ["reason", "right"],
    "additionalProperties": False,
}


def read_letter(text: str, question: Question) -> str | None:
    """The option that a generated answer names: by its letter, or by its words; None where it names none or several."""
    begins = _LETTER.match(text)
    if begins and begins[1] in question.letters:
        return begins[1]
    if (alone := text.strip(" .()*").upper()) and alone in list(question.letters):
        return alone
    named = {
        letter
        for letter, option in zip(question.letters, question.options, strict=True)
        if _plain(option) and _plain(option) in _plain(text)
    }
    return named.pop() if len(named) == 1 else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def likeliest(logprobs: Sequence[float | None], question: Question) -> str | None:
    """The letter with the highest log-prob; None where none is known."""
    told = zip(logprobs, question.letters, strict=True)
    known = [(logprob, letter) for logprob, letter in told if logprob is not None]
    return max(known)[1] if known else None


def is_right_letter(letter: str | None, question: Question) -> bool:
    """A model that names no option is wrong; that it named none is counted beside."""
    return letter is not None and letter == question.letters[question.right or 0]


def by_truth(text: str, question: Question) -> bool | None:
    """Whether an open answer is right, where the truth is known; None where it is not."""
    if question.truth is None:
        return None
    from videopasta.tiny.questionnaire import is_right

    return is_right(text, question.query, question.truth)


def grading_prompt(text: str, question: Question) -> str:
    """Asks a text model whether an open answer is right."""
    return _template().render(
        query=question.query, text=question.text, reference=question.reference, misled=question.misled,
        answer=clean(text),
    )  # fmt: skip


def read_grade(text: str) -> tuple[bool | None, str]:
    """Whether the grader finds the answer right, and its reason; None where it gave no verdict."""
    value = parse_json(text) or {}
    right = value.get("right")
    if not isinstance(right, bool):
        return None, "grader_unreadable"
    return right, clean(str(value.get("reason") or ""))


def template_hash() -> str:
    """12 hex digits: the version of the grader's prompt."""
    return hashlib.sha256(_TEMPLATE.read_bytes()).hexdigest()[:12]


@functools.cache
def _template() -> jinja2.Template:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(_TEMPLATE.read_text())
