import json

from tests.works import make_candidate, make_failed, make_finished
from videopasta.generate.summary import RunSummary
from videopasta.generate.work import Calls


def make_summary() -> RunSummary:
    return RunSummary(run_id="r", started_at="2026-01-01T00:00:00+00:00", num_entries=5, num_done_before=1)


def make_calls(*, role: str = "response", requests: int = 2, prompt: int = 100, cached: int = 60) -> Calls:
    return Calls(
        role=role,
        plan_key="plan",
        video_tokens=24,
        requests=requests,
        prompt_tokens=prompt,
        completion_tokens=10,
        cached_tokens=cached,
        least_cached_after_first=cached,
    )


def test_candidates_and_pairs_are_counted_by_mode_and_adversary():
    """Dropped candidates count as candidates, under their reason."""
    summary = make_summary()
    candidates = (
        make_candidate(),
        make_candidate(adversary="false_between", drop_reason="identical"),
        make_candidate(mode="temporal", adversary="reordered", drop_reason="judge_not_genuine"),
    )
    summary.add(make_finished(candidates=candidates))
    summary.add(make_finished(content="b", candidates=candidates[:1]))
    assert (summary.num_clips, summary.num_candidates, summary.num_pairs) == (2, 4, 2)
    assert summary.candidates_by_mode == {"spatial": 3, "temporal": 1}
    assert summary.pairs_by_mode == {"spatial": 2}
    assert summary.candidates_by_adversary["spatial/false_between"] == 1
    assert summary.pairs_by_adversary == {"spatial/flipped_relation": 2}
    assert summary.drop_reasons == {"identical": 1, "judge_not_genuine": 1}


def test_failed_clip_counts_as_quarantined_alone():
    """Its engine work still counts; its candidates, never written, do not."""
    summary = make_summary()
    failed = make_failed(reason="prompt_too_long", stage="judge")
    summary.add(failed.having(candidates=(make_candidate(),), calls=(make_calls(),), seconds={"decode": 2.0}))
    assert (summary.num_clips, summary.num_candidates, summary.num_quarantined) == (0, 0, 1)
    assert summary.quarantine_reasons == {"prompt_too_long": 1}
    assert summary.tokens["response"]["requests"] == 2
    assert summary.seconds == {"decode": 2.0}


def test_tokens_and_seconds_add_up_over_clips():
    """By role and by stage; the cache's share is of all prompt tokens."""
    summary = make_summary()
    calls = (make_calls(), make_calls(role="judge.0", requests=1, prompt=40, cached=0), make_calls())
    summary.add(make_finished().having(calls=calls))
    summary.add(make_finished(content="b").having(calls=calls[:1]))
    assert summary.tokens["response"] == {"requests": 6, "prompt": 300, "completion": 30, "cached": 180}
    assert summary.tokens["judge.0"]["requests"] == 1
    assert summary.seconds["decode"] == 1.0
    assert summary.cache_hit_rate == 180 / 340


def test_summary_of_nothing_is_all_zero():
    """No division by the tokens of no request."""
    summary = make_summary()
    assert (summary.cache_hit_rate, summary.num_quarantined) == (0.0, 0)


def test_summary_is_plain_json():
    """It is written to run.json and read back the same."""
    summary = make_summary()
    summary.add(make_finished().having(calls=(make_calls(),)))
    summary.add(make_failed())
    plain = summary.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["run_id"] == "r"
    assert plain["cache_hit_rate"] == 0.6
    assert plain["tokens"]["response"]["prompt"] == 100
    assert plain["finished"] is False
