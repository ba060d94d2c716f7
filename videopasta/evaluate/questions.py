"""Questions that cannot be answered, their plain twins, and the files they stand in. Pure, but for the files.

From each query about a clip come

    answerable          the query itself                              right: answer it
    false_premise       a misleading query, which takes for granted    right: reject it
                        what is not so
    none_of_the_above   the query, with wrong options only            right: "None of the above."

so that the paper's two adversarial columns (its Table 6) each have a twin of the same query: who rejects everything
answers no twin. Where there are wrong answers enough, a question has options; asked openly, it has none.

In: rows of candidates whose labels a judge has checked (`from_candidates`), or a world whose truth is known
(tiny/questionnaire.py). Out: `Question`s, and `questions.jsonl` with one of them a line.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from videopasta import storage
from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.credentials import refuse_credentials
from videopasta.errors import UserError

Kind = Literal["answerable", "false_premise", "none_of_the_above"]
KINDS: tuple[Kind, ...] = get_args(Kind)
NONE_OF_THE_ABOVE = "None of the above."
LETTERS = "ABCD"
MAX_WRONG = 3
"""Wrong options of a question; "None of the above." comes behind them."""
FILE_NAME = "questions.jsonl"
CANDIDATE_COLUMNS = (
    "clip_id", "video_uri", "start_s", "end_s", "video_sha256", "failure_mode", "prompt", "chosen", "rejected",
    "adversary", "adversarial_query", "accepted", "video_info",
)  # fmt: skip


class Truth(BaseModel):
    """What is known of a rendered clip."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scene: dict[str, Any]


class Question(BaseModel):
    """One question about one clip."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    question_id: str
    """32 hex digits of everything below but the uri."""
    query_id: str
    """Twins share it: the same query about the same clip."""
    video_uri: str
    video_sha256: str
    start_s: float | None = Field(allow_inf_nan=False)
    """Of the clip; both None: the whole video."""
    end_s: float | None = Field(allow_inf_nan=False)
    failure_mode: FailureMode
    kind: Kind
    adversary: str | None
    """Who misleads; of `false_premise` only."""
    query: str
    """The aligned query that it comes from."""
    text: str
    """As it is asked: the query, but for `false_premise`."""
    options: tuple[str, ...]
    """With letters from A; the last one is "None of the above.". Empty: asked openly only."""
    right: int | None
    """Which option is; None without options."""
    reference: str
    """The true answer to the query."""
    misled: str | None
    """What a model says that takes the false premise for granted."""
    truth: Truth | None = None
    """Where it is known, open answers are graded by it."""

    @model_validator(mode="after")
    def _has_its_options(self) -> "Question":
        if len(self.options) > len(LETTERS):
            raise ValueError(f"{len(self.options)} options, more than {len(LETTERS)} letters")
        if self.options and (self.right is None or not 0 <= self.right < len(self.options)):
            raise ValueError(f"right={self.right} is none of {len(self.options)} options")
        return self

    @property
    def clip(self) -> str:
        """Equal for questions about the same span of the same video."""
        return f"{self.video_sha256} {self.start_s} {self.end_s}"

    @property
    def letters(self) -> str:
        """Of the options."""
        return LETTERS[: len(self.options)]

    @property
    def is_open(self) -> bool:
        """Whether it can be asked without its options."""
        return self.kind != "none_of_the_above"

    def as_choice(self) -> str:
        """The question with its options."""
        lines = [f"{letter}. {option}" for letter, option in zip(self.letters, self.options, strict=True)]
        return "\n".join([self.text, *lines, "Answer with the letter."])


def question(
    *,
    query: str,
    kind: Kind,
    text: str,
    wrong: Sequence[str],
    reference: str,
    row: Mapping[str, Any],
    adversary: str | None = None,
    misled: str | None = None,
    truth: Truth | None = None,
) -> Question:
    """A question with its options in an order that depends on its content alone.

    Args:
        query: the aligned one.
        kind: of question.
        text: as it is asked.
        wrong: answers that are; fewer than two, and it has no options.
        reference: the true answer to `query`.
        row: `video_uri`, `video_sha256`, `start_s`, `end_s`, `failure_mode`.
        adversary: who misleads.
        misled: the wrong answer that `text` asks for.
        truth: where it is known.
    """
    where = {name: row[name] for name in ("video_sha256", "start_s", "end_s", "failure_mode")}
    query_id = _digest({**where, "query": query})
    wrong = [answer for answer in dict.fromkeys(wrong) if answer != reference][:MAX_WRONG]
    options: list[str] = []
    right = None
    if len(wrong) >= 2:
        options = wrong if kind != "answerable" else [reference, *wrong[: len(wrong) - 1]]
        random.Random(f"{query_id} {kind} {text}").shuffle(options)
        right = options.index(reference) if kind == "answerable" else len(options)
        options = [*options, NONE_OF_THE_ABOVE]
    content: dict[str, Any] = {
        **where, "query_id": query_id, "kind": kind, "adversary": adversary, "query": query, "text": text,
        "options": options, "right": right, "reference": reference, "misled": misled,
        "truth": truth and truth.model_dump(),
    }  # fmt: skip
    return Question(question_id=_digest(content), video_uri=row["video_uri"], **content)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def from_candidates(rows: Iterable[Mapping[str, Any]], *, per_mode: int) -> list[Question]:
    """Questions from accepted candidates: a judge has found their preferred answers right, the adversarial ones wrong.

    Args:
        rows: with `CANDIDATE_COLUMNS`.
        per_mode: queries of each failure mode and clip at most, those with most adversaries first.
    """
    queries: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in map(_with_span, rows):
        if row["accepted"] and row["adversarial_query"]:
            queries.setdefault((row["clip_id"], row["failure_mode"], row["prompt"]), []).append(row)
    by_clip: dict[tuple[str, str], list[list[Mapping[str, Any]]]] = {}
    for (clip, mode, _), accepted in sorted(queries.items()):
        by_clip.setdefault((clip, mode), []).append(sorted(accepted, key=lambda row: str(row["adversary"])))
    made: list[Question] = []
    for found in by_clip.values():
        for accepted in sorted(found, key=len, reverse=True)[:per_mode]:
            made += _of_query(accepted)
    return made


def _with_span(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rows have the span as it was found; a question about a whole video has none."""
    whole = row["video_info"] and not row["start_s"] and (row["end_s"] or 0) >= row["video_info"]["duration_s"]
    return {**row, "start_s": None, "end_s": None} if whole else row


def _of_query(accepted: Sequence[Mapping[str, Any]]) -> list[Question]:
    first = accepted[0]
    query, reference = first["prompt"], first["chosen"]
    wrong = [row["rejected"] for row in accepted]
    made = [question(query=query, kind="answerable", text=query, wrong=wrong, reference=reference, row=first)]
    if len(set(wrong)) >= 2:
        made.append(
            question(query=query, kind="none_of_the_above", text=query, wrong=wrong, reference=reference, row=first)
        )
    made += [
        question(
            query=query, kind="false_premise", text=row["adversarial_query"], wrong=[row["rejected"], *wrong],
            reference=reference, row=row, adversary=row["adversary"], misled=row["rejected"],
        )
        for row in accepted
    ]  # fmt: skip
    return made


def write_questions(questions: Sequence[Question], folder: str) -> str:
    """`questions.jsonl` in `folder`; returns its uri.

    Raises:
        UserError: there are no questions.
    """
    if not questions:
        raise UserError(f"{folder}: no questions to write; the source has no accepted candidates, or no clips")
    filesystem, path = storage.resolve(folder)
    filesystem.create_dir(path, recursive=True)
    with filesystem.open_output_stream(f"{path}/{FILE_NAME}") as stream:
        for one in questions:
            stream.write(one.model_dump_json().encode() + b"\n")
    return storage.join(folder, FILE_NAME)


def read_questions(uri: str) -> list[Question]:
    """The questions in a file, or in the `questions.jsonl` of a folder.

    Raises:
        UserError: there is none, or a line of it cannot be read, or holds a secret.
    """
    file = storage.join(uri, FILE_NAME) if storage.kind(uri) == "folder" else uri
    if storage.kind(file) == "missing":
        raise UserError(f"{file}: no such file; `videopasta questions --out FOLDER` writes one")
    found: dict[str, Question] = {}
    with storage.open_input(file) as stream:
        # Not splitlines: names may hold other ends of lines than this one.
        for number, line in enumerate(stream.read().split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                one = Question.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(map(str, first["loc"]))
                raise UserError(f"{file}, line {number}: {where}: {first['msg']}; write the questions anew") from None
            refuse_credentials(one.video_uri, f"{file}, line {number}")
            found[one.question_id] = one
    if not found:
        raise UserError(f"{file}: no questions in it; write them anew by `videopasta questions`")
    return list(found.values())


def count_table(questions: Iterable[Question]) -> dict[FailureMode, dict[Kind, int]]:
    """How many of each kind, by failure mode."""
    counts: dict[FailureMode, dict[Kind, int]] = {mode: dict.fromkeys(KINDS, 0) for mode in FAILURE_MODES}
    for one in questions:
        counts[one.failure_mode][one.kind] += 1
    return counts
