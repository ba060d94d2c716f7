"""From rows of answers to scores. Pure.

A question is looked at in up to three ways: `open` (what the model says, graded), `choice` (the letter that it writes),
`letters` (the likeliest letter). A row gives right, wrong, or nothing for each; what gives nothing is counted under its
reason and never scored. Scores are shares of questions by kind, and

    plain        the answerable ones
    adversarial  false premises and "none of the above", together
    handled      adversarial ones whose plain twin is right too, looked at in the same way
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from videopasta.config import FAILURE_MODES
from videopasta.evaluate.questions import KINDS
from videopasta.intervals import Share, share

Way = Literal["open", "choice", "letters"]
WAYS: tuple[Way, ...] = get_args(Way)
GROUPS = (*KINDS, "plain", "adversarial", "handled")
"""Of questions; `plain` is `answerable` under its usual name."""
_COLUMNS: Mapping[Way, str] = {"open": "open_right", "choice": "choice_right", "letters": "likeliest_right"}
ALL = "all"
"""The failure modes together."""


@dataclass(frozen=True, order=True)
class Cell:
    """What a score is of."""

    group: str
    """Of `GROUPS`."""
    mode: str
    """A failure mode, `all`, or "mode/adversary"."""
    way: Way


@dataclass(frozen=True)
class Outcome:
    """One question looked at in one way."""

    question_id: str
    clip: str
    right: bool


def outcomes(rows: Sequence[Mapping[str, Any]]) -> dict[Cell, list[Outcome]]:
    """All that is known, by cell; cells without any are left out."""
    found: dict[Cell, list[Outcome]] = {}
    for way in WAYS:
        twins = {row["query_id"]: row[_COLUMNS[way]] for row in rows if row["kind"] == "answerable"}
        for row in rows:
            right = row[_COLUMNS[way]]
            if right is None:
                continue
            outcome = Outcome(row["question_id"], row["video_sha256"], right)
            for group in _groups(row["kind"]):
                for mode in _modes(row):
                    found.setdefault(Cell(group, mode, way), []).append(outcome)
            twin = twins.get(row["query_id"])
            if row["kind"] != "answerable" and twin is not None:
                both = Outcome(row["question_id"], row["video_sha256"], right and twin)
                for mode in _modes(row):
                    found.setdefault(Cell("handled", mode, way), []).append(both)
    return found


def _groups(kind: str) -> Iterator[str]:
    yield kind
    yield "plain" if kind == "answerable" else "adversarial"


def _modes(row: Mapping[str, Any]) -> Iterator[str]:
    yield ALL
    yield row["failure_mode"]
    if row["adversary"]:
        yield f"{row['failure_mode']}/{row['adversary']}"


def scores(rows: Sequence[Mapping[str, Any]]) -> dict[Cell, Share]:
    """Each cell's share of right answers."""
    return {cell: share((one.clip, one.right) for one in found) for cell, found in sorted(outcomes(rows).items())}


def problems(rows: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """What came in the way of a score, or of a right answer without being wrong: by reason, in questions."""
    counts: Counter[str] = Counter()
    for row in rows:
        if row["problem"]:
            counts[row["problem"].partition(":")[0]] += 1
            continue
        if row["open_text"] is not None and row["open_right"] is None:
            counts[f"not graded: {row['open_why'].partition(':')[0]}"] += 1
        if row["open_cut"]:
            counts["open answers cut at max_tokens (scored as they stand)"] += 1
        if row["choice_text"] is not None and row["choice_letter"] is None:
            counts["no letter in the answer (counted as wrong)"] += 1
        if row["choice_text"] is not None and row["likeliest_letter"] is None:
            counts["no likeliest letter: none known, or two alike"] += 1
    return counts


def mode_names(cells: Iterable[Cell]) -> list[str]:
    """`all`, the failure modes, then "mode/adversary"."""
    found = {cell.mode for cell in cells}
    first = [mode for mode in (ALL, *FAILURE_MODES) if mode in found]
    return [*first, *sorted(found - set(first))]
