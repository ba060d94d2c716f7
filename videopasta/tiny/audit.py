"""How many pairs are right, how well the judge knows, which adversary fails: a run on the world against the truth.

In: the candidates of a store, and the truth about their videos. Out: shares with 95 % intervals. A pair is right
when its preferred answer is true and answers the query, and its adversarial answer is false. An answer that is no
sentence of the world counts as not right on the preferred side, and as not false on the adversarial side.
Intervals: videopasta/intervals.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table

from videopasta.intervals import Share, ratio, share
from videopasta.tiny.claims import read_claim
from videopasta.tiny.questions import is_right, read_question
from videopasta.tiny.world import Scene

COLUMNS = [
    "video_sha256",
    "failure_mode",
    "adversary",
    "prompt",
    "chosen",
    "rejected",
    "accepted",
    "verdict",
    "drop_reason",
]


@dataclass(frozen=True)
class Checked:
    """One candidate against the truth."""

    clip: str
    failure_mode: str
    adversary: str
    judged: bool
    """False: a guard dropped it before any judge. A judge whose votes cannot be read has refused."""
    accepted: bool
    query_readable: bool
    preferred_true: bool
    adversarial_false: bool

    @property
    def right(self) -> bool:
        return self.preferred_true and self.adversarial_false


@dataclass(frozen=True)
class Audit:
    """What the truth says of a run."""

    num_clips: int
    num_unknown: int
    """Rows whose video is not in the truth; they are left out."""
    kept_right: dict[str, Share]
    """Of the pairs, how many are right: by `all`, failure mode, and "mode/adversary"."""
    preferred_true: dict[str, Share]
    """Of all candidates, whose preferred answer is true."""
    adversarial_true: dict[str, Share]
    """Of the candidates that reached a judge, whose adversarial answer is true or unreadable: false negatives."""
    judge: dict[str, Share]
    """`precision`, `recall`, `f1` of accepting right candidates, and `base_rate`: how many are right unjudged."""
    unreadable_queries: Share
    """Of all candidates, whose query is no question of the world."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""

        def plain(value: Any) -> Any:
            if isinstance(value, Share):
                return value.to_dict()
            return {name: plain(part) for name, part in value.items()} if isinstance(value, dict) else value

        return {name: plain(value) for name, value in vars(self).items()}


def check_row(row: Mapping[str, Any], scene: Scene) -> Checked:
    """A row of `candidates` against the scene that its video shows."""
    question, adversarial = read_question(row["prompt"]), read_claim(row["rejected"])
    return Checked(
        clip=row["video_sha256"],
        failure_mode=row["failure_mode"],
        adversary=row["adversary"],
        judged=row["verdict"] is not None or row["drop_reason"] == "judge_unreadable",
        accepted=row["accepted"],
        query_readable=question is not None,
        preferred_true=question is not None and is_right(row["chosen"], question, scene),
        adversarial_false=adversarial is not None and not adversarial.holds(scene),
    )


def audit(rows: Iterable[Mapping[str, Any]], truth: Mapping[str, Scene]) -> Audit:
    """Check every row, and count."""
    checked, num_unknown = [], 0
    for row in rows:
        scene = truth.get(row["video_sha256"])
        if scene is None:
            num_unknown += 1
        else:
            checked.append(check_row(row, scene))
    kept = [c for c in checked if c.accepted]
    judged = [c for c in checked if c.judged]
    return Audit(
        num_clips=len({c.clip for c in checked}),
        num_unknown=num_unknown,
        kept_right=_by_group(kept, lambda c: c.right),
        preferred_true=_by_group(checked, lambda c: c.preferred_true, adversaries=False),
        adversarial_true=_by_group(judged, lambda c: not c.adversarial_false),
        judge={
            "base_rate": _share(judged, lambda c: c.right),
            "precision": _share([c for c in judged if c.accepted], lambda c: c.right),
            "recall": _share([c for c in judged if c.right], lambda c: c.accepted),
            "f1": _f1(judged),
        },
        unreadable_queries=_share(checked, lambda c: not c.query_readable),
    )


def _by_group(
    checked: Sequence[Checked], test: Callable[[Checked], bool], *, adversaries: bool = True
) -> dict[str, Share]:
    groups: dict[str, list[Checked]] = {"all": list(checked)}
    for c in checked:
        groups.setdefault(c.failure_mode, []).append(c)
        if adversaries:
            groups.setdefault(f"{c.failure_mode}/{c.adversary}", []).append(c)
    return {name: _share(groups[name], test) for name in ("all", *sorted(set(groups) - {"all"}))}


def _share(checked: Iterable[Checked], test: Callable[[Checked], bool]) -> Share:
    """Of `checked`, those that pass."""
    return share((c.clip, test(c)) for c in checked)


def _f1(judged: Iterable[Checked]) -> Share:
    """2 TP / (TP + FP + TP + FN) of accepting right candidates."""
    return ratio((c.clip, 2.0 * (c.right and c.accepted), float(c.right) + float(c.accepted)) for c in judged)


def tables(result: Audit) -> list[RenderableType]:
    """The audit for people."""
    groups = Table("", title=f"truth audit of {result.num_clips} clips, 95 % intervals", title_justify="left")
    for name in ("kept pairs right", "preferred true", "adversarial not false"):
        groups.add_column(name, justify="right")
    names = {*result.kept_right, *result.preferred_true, *result.adversarial_true}
    for name in ("all", *sorted(names - {"all"})):
        shares = (result.kept_right.get(name), result.preferred_true.get(name), result.adversarial_true.get(name))
        groups.add_row(name, *("" if value is None else str(value) for value in shares))
    judge = Table("judge", "", title_justify="left")
    for name, value in result.judge.items():
        judge.add_row(name.replace("_", " "), str(value))
    judge.add_row("unreadable queries", str(result.unreadable_queries))
    if result.num_unknown:
        judge.add_row("rows without truth", str(result.num_unknown))
    return [groups, judge]
