"""Which candidates are pairs, judged anew from what stands in their rows. Pure.

In: rows of candidates, what people decided about some of them, thresholds. Out: for each candidate why it is no pair,
or None. In this order: a person's decision; guards and votes, as a generation has them; near-duplicates; the cap of a
clip; the balance of the failure modes. What a person kept passes the first three.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Indel

from videopasta.config import FAILURE_MODES, RefilterConfig
from videopasta.config.generate import GuardsConfig, JudgeConfig
from videopasta.generate.guards import check_pair, words
from videopasta.generate.judging import decide
from videopasta.generate.work import Vote
from videopasta.pairs.reviews import Review

NEAR_DUPLICATE, OVER_CAP, UNBALANCED = "near_duplicate", "over_max_per_clip", "unbalanced"


@dataclass(frozen=True)
class Entry:
    """A candidate that may be a pair, as far as the choice among them goes."""

    number: int
    """Of the row: an edit may make two pairs one."""
    pair_id: str
    clip_id: str
    failure_mode: str
    prompt: str
    chosen: str
    rejected: str
    confidence: float
    """Of the judges; 0 where none was asked."""
    agreement: float
    by_person: bool
    """A person kept it."""

    @property
    def quality(self) -> tuple[Any, ...]:
        """Sorts the better one first; among equals by content, so that no order of rows matters."""
        return (not self.by_person, -self.confidence, -self.agreement, self.pair_id, self.number)


def entry(number: int, row: Mapping[str, Any], *, by_person: bool) -> Entry:
    """Of a row of candidates."""
    verdict = row["verdict"] or {}
    return Entry(
        number, row["pair_id"], row["clip_id"], row["failure_mode"], row["prompt"], row["chosen"], row["rejected"],
        verdict.get("confidence") or 0.0, verdict.get("agreement") or 0.0, by_person,
    )  # fmt: skip


def drop_reason(row: Mapping[str, Any], judge: JudgeConfig, guards: GuardsConfig) -> str | None:
    """Why the candidate is dropped by itself; None where it is not.

    One that never came before a judge, though its run has some, keeps the reason that it has.
    """
    if row["judge_model"] is None:
        return check_pair(row["chosen"], row["rejected"], guards)
    if not row["votes"]:
        reason: str | None = row["drop_reason"]
        return reason
    votes = [Vote.model_validate(vote) for vote in row["votes"]]
    return check_pair(row["chosen"], row["rejected"], guards) or decide(votes, judge)[1]


def reviewed(row: Mapping[str, Any], review: Review | None) -> dict[str, Any] | None:
    """What a person's decision changes in a row; None where nobody decided.

    A swap exchanges the answers, an edit replaces them. Either leaves the frame plans: they say with which frames the
    pair is trained. Judges never saw such a pair, so it has no verdict.
    """
    if review is None:
        return None
    if review.decision == "reject":
        return {"accepted": False, "drop_reason": "review_reject"}
    chosen, rejected = row["chosen"], row["rejected"]
    changed: dict[str, Any] = {}
    if review.decision == "swap":
        chosen, rejected = rejected, chosen
    elif review.decision == "edit":
        chosen, rejected = review.chosen or chosen, review.rejected or rejected
    if (chosen, rejected) != (row["chosen"], row["rejected"]):
        changed = {"chosen": chosen, "rejected": rejected, "verdict": None, "votes": []}
    is_pair = bool(chosen.strip() and rejected.strip() and chosen != rejected)
    return changed | {"accepted": is_pair, "drop_reason": None if is_pair else "review_no_pair"}


def choose(entries: Iterable[Entry], config: RefilterConfig) -> dict[int, str]:
    """Why some are left out, by number."""
    dropped: dict[int, str] = {}
    kept: list[Entry] = []
    for group in _by(entries, "clip_id").values():
        ordered = sorted(group, key=lambda one: one.quality)
        if config.max_similarity is not None:
            ordered = _distinct(ordered, config.max_similarity, dropped)
        ordered = _in_turn(ordered)
        most = config.max_per_clip or len(ordered)
        dropped |= dict.fromkeys((one.number for one in ordered[most:]), OVER_CAP)
        kept += ordered[:most]
    if config.balance:
        by_mode = _by(kept, "failure_mode")
        least = min(map(len, by_mode.values()), default=0)
        for group in by_mode.values():
            dropped |= dict.fromkeys((one.number for one in _over_clips(group)[least:]), UNBALANCED)
    return dropped


def _by(entries: Iterable[Entry], name: str) -> dict[str, list[Entry]]:
    groups: dict[str, list[Entry]] = defaultdict(list)
    for one in entries:
        groups[getattr(one, name)].append(one)
    return groups


def _distinct(ordered: Sequence[Entry], similarity: float, dropped: dict[int, str]) -> list[Entry]:
    """Without those that say what a better one says; what persons kept stays."""
    kept: list[tuple[Entry, tuple[list[str], ...]]] = []
    for one in ordered:
        texts = tuple(words(text) for text in (one.prompt, one.chosen, one.rejected))
        if not one.by_person and any(
            one.failure_mode == other.failure_mode and _alike(texts, known, similarity) for other, known in kept
        ):
            dropped[one.number] = NEAR_DUPLICATE
        else:
            kept.append((one, texts))
    return [one for one, _ in kept]


def _alike(texts: Sequence[list[str]], others: Sequence[list[str]], similarity: float) -> bool:
    return all(
        Indel.normalized_similarity(text, other) >= similarity for text, other in zip(texts, others, strict=True)
    )


def _in_turn(ordered: Sequence[Entry]) -> list[Entry]:
    """A clip's pairs over failure modes in turn, and in each over its queries in turn, the best first."""
    turns: list[tuple[int, int, tuple[Any, ...], Entry]] = []
    for mode, group in _by(ordered, "failure_mode").items():
        rounds = [(turn, one) for same in _by(group, "prompt").values() for turn, one in enumerate(same)]
        rounds.sort(key=lambda item: (item[0], item[1].quality))
        turns += [(turn, FAILURE_MODES.index(mode), one.quality, one) for turn, (_, one) in enumerate(rounds)]
    return [one for *_, one in sorted(turns, key=lambda item: item[:3])]


def _over_clips(entries: Sequence[Entry]) -> list[Entry]:
    """Pairs of one mode over their clips in turn, in the order in which each clip has them."""
    turns = [(turn, one) for group in _by(entries, "clip_id").values() for turn, one in enumerate(group)]
    return [one for _, one in sorted(turns, key=lambda item: (item[0], item[1].quality))]
