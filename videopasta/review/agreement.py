"""How often two say the same, and how much of it is more than chance. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from videopasta.review.decisions import Decision
from videopasta.review.queue import Entry


@dataclass(frozen=True)
class Agreement:
    """Of two who decided the same pairs."""

    count: int
    share: float | None
    """None of nothing."""
    kappa: float | None
    """Cohen 1960: 1 is always, 0 is as by chance; None where one of them has said only one thing."""


def agreement(opinions: Sequence[tuple[bool, bool]]) -> Agreement:
    """Of pairs of opinions: good as it stands, or not."""
    count = len(opinions)
    if not count:
        return Agreement(0, None, None)
    share = sum(one == other for one, other in opinions) / count
    ones, others = (sum(opinion[n] for opinion in opinions) / count for n in (0, 1))
    chance = ones * others + (1 - ones) * (1 - others)
    constant = ones in (0, 1) or others in (0, 1)
    return Agreement(count, share, None if constant else (share - chance) / (1 - chance))


def with_judge(entries: Mapping[str, Entry], standing: Sequence[Decision]) -> Agreement:
    """Of the judge and everybody; candidates that no judge saw are left out."""
    judged = [
        (entries[one.pair_id].accepted, one.action == "accept")
        for one in standing
        if one.pair_id in entries and entries[one.pair_id].confidence is not None
    ]
    return agreement(judged)


def between_reviewers(standing: Sequence[Decision]) -> dict[tuple[str, str], Agreement]:
    """Of each two who decided something in common."""
    by_reviewer: dict[str, dict[str, bool]] = {}
    for decision in standing:
        by_reviewer.setdefault(decision.reviewer, {})[decision.pair_id] = decision.action == "accept"
    found = {}
    for one, other in combinations(sorted(by_reviewer), 2):
        common = by_reviewer[one].keys() & by_reviewer[other].keys()
        if common:
            found[one, other] = agreement(
                [(by_reviewer[one][pair_id], by_reviewer[other][pair_id]) for pair_id in common]
            )
    return found
