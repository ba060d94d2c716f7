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
from videopasta.generate.asking import clean, clean_if_text, parse_json

_TEMPLATE = Path(__file__).parent / "templates/grade.j2"
# A letter where it stands as one. "A" alone before a word is an article: "A circle ..." names no option.
_FIRST = re.compile(r"[\W_]*(?:([A-Z])(?=[.):,*]|\s*$|\s*\n|\s+(?:is|because|as|since)\b)|([B-Z])(?=\s))")
_NAMED = re.compile(r"\b(?i:answer|option|choice)\b[\s:*]*(?:(?i:is|would be|should be)\b)?[\W_]*([A-Z])\b(?!['’])")
_SEVERAL = re.compile(r"\b([A-Z])\b[.)]?\s*(?:,|/|\bor\b|\band\b)\s*\(?([A-Z])\b")
_DENIAL = re.compile(r"\b(?:not|no|never|neither|nor|cannot)\b|n['’]t\b", re.IGNORECASE)
UNREADABLE = "grader_unreadable"
"""Why an open answer is not graded where the grader gave no verdict."""
GRADE_SCHEMA: dict[str, object] = {
    "type": "object",
    "properties": {"reason": {"type": "string", "maxLength": 160}, "right": {"type": "boolean"}},
    "required": ["reason", "right"],
    "additionalProperties": False,
}


def read_letter(text: str, question: Question) -> str | None:
    """The option that a generated answer names: by its letter, or by its words; None where it names none or several."""
    letters = set(question.letters)
    if (alone := text.strip(" .()*\n").upper()) in letters:
        return alone
    if any(letters.issuperset(pair) and pair[0] != pair[1] for pair in _SEVERAL.findall(text)):
        return None
    first = _FIRST.match(text)
    named = {letter for letter in (*(first.groups() if first else ()), *_NAMED.findall(text)) if letter in letters}
    if named:
        return named.pop() if len(named) == 1 else None
    return _by_words(text, question)


def _by_words(text: str, question: Question) -> str | None:
    """The longest option that stands in the text, where the rest of it denies nothing."""
    said = f" {_plain(text)} "
    found = [(len(words), letter, words) for letter, option in zip(question.letters, question.options, strict=True)
             if (words := _plain(option)) and f" {words} " in said]  # fmt: skip
    if not found:
        return None
    _, letter, longest = max(found)
    others = [words for _, _, words in found if words not in longest]
    denied = _DENIAL.search(said.replace(longest, " "))
    return None if others or denied else letter


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def likeliest(logprobs: Sequence[float | None], question: Question) -> str | None:
    """The letter with the highest log-prob; None where none is known, or where two share the highest."""
    told = zip(logprobs, question.letters, strict=True)
    known = sorted((logprob, letter) for logprob, letter in told if logprob is not None)
    if not known or (len(known) > 1 and known[-1][0] == known[-2][0]):
        return None
    return known[-1][1]


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
        return None, UNREADABLE
    return right, clean_if_text(value.get("reason"))


def template_hash() -> str:
    """12 hex digits: the version of the grader's prompt."""
    return hashlib.sha256(_TEMPLATE.read_bytes()).hexdigest()[:12]


@functools.cache
def _template() -> jinja2.Template:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False).from_string(_TEMPLATE.read_text())
