"""What a set of pairs is, counted row by row. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import mean
from typing import Any

from videopasta.generate.guards import words

COLUMNS = (
    "pair_id", "clip_id", "video_sha256", "video_info", "failure_mode", "prompt", "chosen", "rejected", "adversary",
    "chosen_frame_plan", "rejected_frame_plan", "verdict", "votes", "unreadable_votes", "accepted", "drop_reason",
    "query_model", "response_model", "judge_model",
)  # fmt: skip
"""Of candidates: those that `Facts.add` looks at."""


@dataclass
class Yield:
    """Candidates of one kind, and what became pairs."""

    num_candidates: int = 0
    num_pairs: int = 0

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.num_pairs / self.num_candidates if self.num_candidates else 0.0


@dataclass
class Facts:
    """Counts over the candidates of a folder."""

    videos: set[str] = field(default_factory=set)
    """SHA-256 of those with candidates."""
    clips: set[str] = field(default_factory=set)
    num_candidates: int = 0
    num_judged: int = 0
    """Candidates with a verdict."""
    num_pairs: int = 0
    by_mode: defaultdict[str, Yield] = field(default_factory=lambda: defaultdict(Yield))
    by_adversary: defaultdict[tuple[str, str], Yield] = field(default_factory=lambda: defaultdict(Yield))
    """By mode and adversary."""
    drop_reasons: Counter[str] = field(default_factory=Counter)
    pairs_per_clip: Counter[str] = field(default_factory=Counter)
    words: dict[str, Counter[int]] = field(default_factory=lambda: {"chosen": Counter(), "rejected": Counter()})
    """Of the answers of pairs: how many have how many words."""
    num_chosen_longer: int = 0
    num_rejected_longer: int = 0
    prompts: Counter[str] = field(default_factory=Counter)
    """Of pairs, without regard to case and blanks."""
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Both answers of pairs, in the same way."""
    confidences: Counter[int] = field(default_factory=Counter)
    """Verdicts by tenths: 9 is 0.9 and above."""
    agreements: Counter[float] = field(default_factory=Counter)
    """Verdicts by the share of votes that agree with them, to two digits."""
    num_unreadable_votes: int = 0
    num_votes: int = 0
    models: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Candidates by role and model."""
    plans: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Pairs by `chosen` or `rejected` and how many frames of what size were seen."""
    video_kinds: Counter[str] = field(default_factory=Counter)
    """Videos by container and codec."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Durations of the videos."""

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one candidate, with `COLUMNS`."""
        if row["video_sha256"] not in self.videos:
            self._add_video(row)
        self.clips.add(row["clip_id"])
        self.num_candidates += 1
        for role in ("query", "response", "judge"):
            model = row[f"{role}_model"] or {}
            self.models[role]["@".join(part for part in (model.get("name"), model.get("revision")) if part)] += 1
        self.num_unreadable_votes += row["unreadable_votes"] or 0
        self.num_votes += len(row["votes"] or ())
        if row["verdict"]:
            self.num_judged += 1
            self.confidences[min(9, int(10 * (row["verdict"]["confidence"] or 0.0)))] += 1
            if row["verdict"]["agreement"] is not None:
                self.agreements[round(row["verdict"]["agreement"], 2)] += 1
        kinds = self.by_mode[row["failure_mode"]], self.by_adversary[row["failure_mode"], row["adversary"]]
        for kind in kinds:
            kind.num_candidates += 1
        if row["accepted"]:
            for kind in kinds:
                kind.num_pairs += 1
            self._add_pair(row)
        else:
            self.drop_reasons[row["drop_reason"] or "unknown"] += 1

    def _add_video(self, row: Mapping[str, Any]) -> None:
        self.videos.add(row["video_sha256"])
        info = row["video_info"] or {}
        self.video_kinds[" / ".join(info.get(name) or "?" for name in ("container", "codec"))] += 1
        if info.get("duration_s") is not None:
            self.seconds[row["video_sha256"]] = info["duration_s"]

    def _add_pair(self, row: Mapping[str, Any]) -> None:
        self.num_pairs += 1
        self.pairs_per_clip[row["clip_id"]] += 1
        chosen, rejected = (len(words(row[side])) for side in ("chosen", "rejected"))
        self.words["chosen"][chosen] += 1
        self.words["rejected"][rejected] += 1
        self.num_chosen_longer += chosen > rejected
        self.num_rejected_longer += rejected > chosen
        self.prompts[_plain(row["prompt"])] += 1
        self.answers[_plain(row["chosen"]), _plain(row["rejected"])] += 1
        for side in ("chosen", "rejected"):
            plan = row[f"{side}_frame_plan"] or {}
            if plan.get("indices"):
                self.plans[side][f"{len(plan['indices'])} frames of {plan['width']}×{plan['height']}"] += 1

    @property
    def num_imported(self) -> int:
        """Candidates whose answers came of nobody knows what model."""
        return self.models["response"][""] if "response" in self.models else 0

    @property
    def num_repeated_prompts(self) -> int:
        """Pairs whose question another pair before them has asked too."""
        return self.num_pairs - len(self.prompts)

    @property
    def num_repeated_answers(self) -> int:
        """Pairs both of whose answers another pair before them has too."""
        return self.num_pairs - len(self.answers)

    @property
    def unanimous(self) -> float | None:
        """Share of verdicts to which all votes agree."""
        count = self.agreements.total()
        return self.agreements[1.0] / count if count else None

    @property
    def funnel(self) -> list[tuple[str, int]]:
        """From candidates to pairs."""
        return [("candidates", self.num_candidates), ("judged", self.num_judged), ("pairs", self.num_pairs)]

    def mean_words(self, side: str) -> float:
        """Of the `chosen` or `rejected` answers of pairs."""
        return mean(self.words[side].elements()) if self.words[side] else 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "num_videos": len(self.videos),
            "num_clips": len(self.clips),
            "video_hours": sum(self.seconds.values()) / 3600,
            "video_kinds": dict(self.video_kinds.most_common()),
            "funnel": dict(self.funnel),
            "by_mode": {mode: vars(one) | {"share": one.share} for mode, one in sorted(self.by_mode.items())},
            "by_adversary": {
                f"{mode}/{adversary}": vars(one) | {"share": one.share}
                for (mode, adversary), one in sorted(self.by_adversary.items())
            },
            "drop_reasons": dict(self.drop_reasons.most_common()),
            "words": {side: {"mean": self.mean_words(side), **_by_number(self.words[side])} for side in self.words},
            "num_chosen_longer": self.num_chosen_longer,
            "num_rejected_longer": self.num_rejected_longer,
            "num_repeated_prompts": self.num_repeated_prompts,
            "num_repeated_answers": self.num_repeated_answers,
            "confidences": _by_number(self.confidences),
            "agreements": _by_number(self.agreements),
            "num_votes": self.num_votes,
            "num_unreadable_votes": self.num_unreadable_votes,
            "models": {role: dict(counts.most_common()) for role, counts in self.models.items()},
            "plans": {side: dict(counts.most_common()) for side, counts in self.plans.items()},
        }


@dataclass(frozen=True)
class Effort:
    """What the runs of a folder took."""

    num_runs: int
    wall_s: float
    tokens: Mapping[str, Mapping[str, int]]
    """By role: requests, prompt, completion and cached tokens."""
    seconds: Mapping[str, float]
    """By stage, summed over clips that overlap."""


def effort_of(runs: Iterable[Mapping[str, Any]]) -> Effort:
    """Sum up the runs in run.json; those that make no clips (an import, another choice) took none."""
    runs = [run for run in runs if "tokens" in run]
    tokens: defaultdict[str, Counter[str]] = defaultdict(Counter)
    seconds: Counter[str] = Counter()
    for run in runs:
        for role, counts in run["tokens"].items():
            tokens[role].update(counts)
        seconds.update(run["seconds"])
    return Effort(len(runs), sum(run["wall_s"] for run in runs), {k: dict(v) for k, v in tokens.items()}, dict(seconds))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _by_number(counts: Counter[Any]) -> dict[str, int]:
    return {str(number): counts[number] for number in sorted(counts)}
