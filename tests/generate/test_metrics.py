"""What a clip adds to the counters of a run."""

from collections import Counter

from tests.works import make_candidate, make_failed, make_finished, make_vote
from videopasta.generate.metrics import METRICS, samples_of
from videopasta.generate.work import Calls, Work

P = "videopasta_generate"


def counted(*works: Work) -> dict[tuple[str, ...], float]:
    """Sums by name and values of labels."""
    sums: Counter[tuple[str, ...]] = Counter()
    for work in works:
        for one in samples_of(work):
            assert one.name.startswith(f"{P}_")
            sums[one.name.removeprefix(f"{P}_"), *(value for _, value in one.labels)] += one.value  # type: ignore[assignment]
    return dict(sums)


def test_finished_clip_counts_candidates_and_their_fate():
    """One pair and one that a guard dropped before any judge saw it."""
    sums = counted(make_finished())
    assert sums["clips_done",] == 1
    assert sums["candidates", "spatial"] == 2
    assert sums["pairs", "spatial"] == 1
    assert sums["dropped", "spatial", "length_ratio"] == 1
    assert sums["verdicts", "spatial"] == sums["agreement", "spatial"] == 1
    assert sums["confidence", "spatial"] == 0.9
    assert sums["stage_seconds", "decode"] == sums["clip_seconds", "decode"] == 0.5
    assert not any(name == "clips_quarantined" for name, *_ in sums)


def test_failed_clip_counts_its_reason_and_what_was_spent_on_it():
    """No candidates: they are not committed."""
    calls = Calls(
        role="query", plan_key="k", video_tokens=100, requests=3, prompt_tokens=300, completion_tokens=40,
        cached_tokens=200, least_cached_after_first=100,
    )  # fmt: skip
    failed = make_failed(reason="no_queries", stage="query").having(
        calls=(calls,), candidates=make_finished().candidates, seconds={"query": 2.0}
    )
    assert counted(failed) == {
        ("clips_quarantined", "query", "no_queries"): 1,
        ("requests", "query"): 3,
        ("tokens", "query", "prompt"): 300,
        ("tokens", "query", "completion"): 40,
        ("tokens", "query", "cached"): 200,
        ("stage_seconds", "query"): 2.0,
        ("clip_seconds", "query"): 2.0,
    }


def test_noes_and_unreadable_votes_are_counted():
    """A verdict's noes by question; a judge's answer that was no vote is one that was asked for."""
    refused = make_candidate(votes=(make_vote(genuine=False, distinct=False),), drop_reason="judge_not_genuine")
    refused = refused.model_copy(update={"unreadable_votes": 2})
    sums = counted(make_finished(candidates=(refused,)))
    assert sums["noes", "spatial", "genuine"] == sums["noes", "spatial", "distinct"] == 1
    assert ("noes", "spatial", "targeted") not in sums
    assert (sums["votes", "spatial"], sums["unreadable_votes", "spatial"]) == (3, 2)


def test_samples_are_declared_with_their_labels():
    """Ray refuses others when it is too late."""
    labels = {metric.name: metric.labels for metric in METRICS}
    for work in (make_finished(), make_failed()):
        for one in samples_of(work):
            assert labels[one.name] == tuple(name for name, _ in one.labels)
