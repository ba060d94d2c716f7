"""What a run did, counted clip by clip. Pure."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from videopasta.generate.work import Work


@dataclass
class RunSummary:
    """Counts of one invocation; the folder's totals come from its shards (`pairs.read_statistics`)."""

    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    num_entries: int
    """Clips in the manifest, duplicates merged."""
    num_done_before: int
    """Of these, accounted for by earlier runs."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the packages on which rows depend, as the driver has them."""
    num_clips: int = 0
    """Clips that got candidates in this run."""
    num_candidates: int = 0
    num_pairs: int = 0
    queries_by_mode: Counter[str] = field(default_factory=Counter)
    """Queries that could be read; the writer may give fewer than `queries.per_mode`."""
    pairs_by_mode: Counter[str] = field(default_factory=Counter)
    candidates_by_mode: Counter[str] = field(default_factory=Counter)
    pairs_by_adversary: Counter[str] = field(default_factory=Counter)
    candidates_by_adversary: Counter[str] = field(default_factory=Counter)
    drop_reasons: Counter[str] = field(default_factory=Counter)
    quarantine_reasons: Counter[str] = field(default_factory=Counter)
    tokens: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By role: requests, prompt, completion and cached tokens, as the engines count them."""
    least_video_cached: dict[str, float] = field(default_factory=dict)
    """By role: the fewest cached prompt tokens of a request after a clip's first, over its video's tokens, at most 1.
    The words before the video count too, so it is an upper bound on the video's share."""
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By stage, summed over clips that overlap: shares of the work, not of the clock."""
    wall_s: float = 0.0
    finished: bool = False
    """False: interrupted, or still running."""

    def add(self, work: Work) -> None:
        """Count one clip."""
        for calls in work.calls:
            counts = self.tokens[calls.role]
            counts["requests"] += calls.requests
            counts["prompt"] += calls.prompt_tokens
            counts["completion"] += calls.completion_tokens
            counts["cached"] += calls.cached_tokens
            if calls.video_tokens and calls.least_cached_after_first is not None:
                share = min(1.0, calls.least_cached_after_first / calls.video_tokens)
                self.least_video_cached[calls.role] = min(share, self.least_video_cached.get(calls.role, 1.0))
        for stage, seconds in work.seconds.items():
            self.seconds[stage] += seconds
        if work.failure:
            self.quarantine_reasons[work.failure.reason] += 1
            return
        self.num_clips += 1
        self.queries_by_mode.update(query.failure_mode for query in work.queries)
        for candidate in work.candidates:
            mode = candidate.query.failure_mode
            adversary = f"{mode}/{candidate.adversary}"
            self.num_candidates += 1
            self.candidates_by_mode[mode] += 1
            self.candidates_by_adversary[adversary] += 1
            if candidate.drop_reason:
                self.drop_reasons[candidate.drop_reason] += 1
            else:
                self.num_pairs += 1
                self.pairs_by_mode[mode] += 1
                self.pairs_by_adversary[adversary] += 1

    @property
    def num_quarantined(self) -> int:
        return self.quarantine_reasons.total()

    @property
    def cache_hit_rate(self) -> float:
        """Share of prompt tokens that came from the prefix cache, 0 to 1."""
        prompt = sum(counts["prompt"] for counts in self.tokens.values())
        return sum(counts["cached"] for counts in self.tokens.values()) / prompt if prompt else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for run.json."""
        tokens = {role: dict(counts) for role, counts in self.tokens.items()}
        plain = {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}
        return plain | {"tokens": tokens, "cache_hit_rate": round(self.cache_hit_rate, 4)}
