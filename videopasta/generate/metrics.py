"""What a generation run shows on the dashboards, from each clip that comes out. The driver alone emits it.

A clip comes out once, however often its tasks were tried again, so the counts are exact. What the driver cannot know
- the engines' own state - `engine/host.py` and vLLM emit.
"""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from videopasta.generate.judging import QUESTIONS
from videopasta.generate.work import Candidate, Work
from videopasta.telemetry import Meter, Metric, Pace, Sample, sample

_P = "videopasta_generate"
_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0)
METRICS = (
    Metric("counter", f"{_P}_clips_done", "Clips that got candidates"),
    Metric("counter", f"{_P}_clips_quarantined", "Clips that could not be processed", ("stage", "reason")),
    Metric("counter", f"{_P}_stage_seconds", "Seconds that clips spent in a stage; clips overlap", ("stage",)),
    Metric("histogram", f"{_P}_clip_seconds", "Seconds that a clip spent in a stage", ("stage",), _SECONDS),
    Metric("counter", f"{_P}_requests", "Requests to engines", ("role",)),
    Metric("counter", f"{_P}_tokens", "Tokens of prompts, of answers, and of prompts from the cache", ("role", "kind")),
    Metric("counter", f"{_P}_candidates", "Candidates", ("failure_mode",)),
    Metric("counter", f"{_P}_pairs", "Candidates that passed", ("failure_mode",)),
    Metric("counter", f"{_P}_dropped", "Candidates that did not", ("failure_mode", "reason")),
    Metric("counter", f"{_P}_verdicts", "Candidates that judges decided on", ("failure_mode",)),
    Metric("counter", f"{_P}_agreement", "Sum of the verdicts' agreement", ("failure_mode",)),
    Metric("counter", f"{_P}_confidence", "Sum of the verdicts' confidence", ("failure_mode",)),
    Metric("counter", f"{_P}_noes", "Verdicts whose majority said no to a question", ("failure_mode", "question")),
    Metric("counter", f"{_P}_votes", "Votes asked of judges, readable or not", ("failure_mode",)),
    Metric("counter", f"{_P}_unreadable_votes", "Answers of judges that were no vote", ("failure_mode",)),
    Metric("counter", f"{_P}_shards", "Shards committed"),
    Metric("gauge", f"{_P}_clips_left", "Clips that have not come out yet"),
    Metric("gauge", f"{_P}_eta_seconds", "Seconds until the last clip at the pace of the last ones"),
    Metric("gauge", f"{_P}_run_active", "1 while a run works, 0 when it ends"),
)


def samples_of(work: Work) -> Iterator[Sample]:
    """What one clip adds to the counters. Pure."""
    for calls in work.calls:
        yield sample(f"{_P}_requests", calls.requests, role=calls.role)
        tokens = {"prompt": calls.prompt_tokens, "completion": calls.completion_tokens, "cached": calls.cached_tokens}
        for kind, count in tokens.items():
            yield sample(f"{_P}_tokens", count, role=calls.role, kind=kind)
    for stage, seconds in work.seconds.items():
        yield sample(f"{_P}_stage_seconds", seconds, stage=stage)
        yield sample(f"{_P}_clip_seconds", seconds, stage=stage)
    if work.failure:
        yield sample(f"{_P}_clips_quarantined", stage=work.failure.stage, reason=work.failure.reason)
        return
    yield sample(f"{_P}_clips_done")
    for candidate in work.candidates:
        yield from _of_candidate(candidate)


def _of_candidate(candidate: Candidate) -> Iterator[Sample]:
    mode = candidate.query.failure_mode
    yield sample(f"{_P}_candidates", failure_mode=mode)
    if candidate.drop_reason:
        yield sample(f"{_P}_dropped", failure_mode=mode, reason=candidate.drop_reason)
    else:
        yield sample(f"{_P}_pairs", failure_mode=mode)
    yield sample(f"{_P}_votes", len(candidate.votes) + candidate.unreadable_votes, failure_mode=mode)
    yield sample(f"{_P}_unreadable_votes", candidate.unreadable_votes, failure_mode=mode)
    if candidate.verdict is None:
        return
    yield sample(f"{_P}_verdicts", failure_mode=mode)
    yield sample(f"{_P}_agreement", candidate.verdict.agreement, failure_mode=mode)
    yield sample(f"{_P}_confidence", candidate.verdict.confidence, failure_mode=mode)
    for question in QUESTIONS:
        if not getattr(candidate.verdict, question):
            yield sample(f"{_P}_noes", failure_mode=mode, question=question)


class GenerationMetrics:
    """A context around one run, in the driver."""

    def __init__(self, run: str) -> None:
        self._meter = Meter(METRICS, {"run": run})
        self._pace = Pace()

    def __enter__(self) -> Self:
        self._meter.set(f"{_P}_run_active", 1.0)
        self._meter.watch(f"{_P}_clips_left", lambda: float(self._pace.left))
        self._meter.watch(f"{_P}_eta_seconds", lambda: self._pace.eta_s(time.monotonic()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._meter.set(f"{_P}_run_active", 0.0)
        self._meter.close()

    def add(self, work: Work) -> None:
        """A clip came out, and is as it will be committed."""
        for one in samples_of(work):
            self._meter.add(one)

    def progress(self, *, left: int) -> None:
        """So many clips have not come out: call it at the begin, then after each."""
        self._pace.progress(left, time.monotonic())

    def shard(self) -> None:
        """A shard was committed."""
        self._meter.add(sample(f"{_P}_shards"))
