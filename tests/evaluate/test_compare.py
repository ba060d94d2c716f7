from typing import Any

import pytest

from tests.evaluate.answerers import Answerer, make_questions, oracle, reject_all, rows_of, sycophant
from videopasta.errors import UserError
from videopasta.evaluate.compare import compare
from videopasta.evaluate.lmms.runner import Result
from videopasta.evaluate.run import Evaluation
from videopasta.evaluate.scores import Cell

QUESTIONS = make_questions(num_clips=12)


def make_evaluation(
    answerer: Answerer | None = oracle,
    *,
    uri: str = "/after",
    benchmarks=(),
    preference=(),
    finished=True,
    **other: Any,
) -> Evaluation:
    rows = rows_of(QUESTIONS, answerer) if answerer else []
    fingerprint = {"questions": "q", "pairs": "p", "config": {"model": {"model": uri, "dtype": "float32"}, "plan": 32}}
    return Evaluation(
        uri=uri, model=f"model of {uri}", answers=rows, preference=list(preference),
        benchmarks={result.task: result for result in benchmarks}, fingerprint=fingerprint | other, finished=finished,
        num_questions=len(QUESTIONS) if answerer else 0,
    )  # fmt: skip


def make_result(
    *, task: str = "nextqa_mc_test", metric="exact_match", samples=(), problem=None, score=0.5, warnings=(), **asked
) -> Result:
    metrics = {} if problem else {metric: score}
    named = {f"{task}/{n}": value for n, value in enumerate(samples)}
    return Result(task, metrics, named, {"profile": "video", **asked}, 1.0, problem, warnings)


def make_pair(content: str, chosen: float, rejected: float, mode: str = "spatial") -> dict:
    return {
        "pair_id": content, "content": content, "video_sha256": content, "failure_mode": mode, "adversary": "x",
        "logp_chosen": chosen, "logp_rejected": rejected, "problem": None,
    }  # fmt: skip


def test_what_got_better_is_called_so():
    """From going along to the right answers: all adversarial questions, no plain one."""
    made = compare(make_evaluation(sycophant, uri="/before"), [make_evaluation(oracle)])
    rejected = made.changes[Cell("false_premise", "all", "open")]
    assert (rejected.difference.before, rejected.difference.after, rejected.verdict) == (0.0, 1.0, "better")
    assert made.changes[Cell("plain", "all", "open")].verdict == ""
    assert made.regressions() == []


def test_what_got_worse_is_flagged():
    """From the right answers to rejecting everything: plain questions and handled ones are regressions."""
    made = compare(make_evaluation(oracle, uri="/before"), [make_evaluation(reject_all)])
    assert Cell("plain", "all", "choice") in made.regressions()
    assert Cell("handled", "spatial", "choice") in made.regressions()


def test_several_seeds_are_averaged():
    """The change is the mean over the evaluations after, and each one's change is kept."""
    made = compare(make_evaluation(sycophant, uri="/before"), [make_evaluation(oracle), make_evaluation(sycophant)])
    change = made.changes[Cell("false_premise", "all", "open")]
    assert change.difference.after == 0.5
    assert change.seeds == (1.0, 0.0)
    assert change.deviation == pytest.approx(0.7071, abs=1e-4)


def test_only_what_all_have_is_compared():
    """A question that one evaluation could not ask is left out on both sides, and counted."""
    lost = QUESTIONS[0].question_id

    def partly(one, lettered):
        return "too long" if one.question_id == lost else oracle(one, lettered)

    made = compare(make_evaluation(oracle, uri="/before"), [make_evaluation(partly)])
    assert made.num_compared == len(QUESTIONS) - 1
    assert made.problems["/after"] == {"prompt_too_long": 1}


@pytest.mark.parametrize(
    ("other", "complaint"),
    [
        ({"questions": "other"}, "questions"),
        ({"pairs": "other"}, "pairs"),
        ({"config": {"model": {"model": "/after", "dtype": "float32"}, "plan": 16}}, "plan differ"),
        ({"config": {"model": {"model": "/after", "dtype": "bfloat16"}, "plan": 32}}, "model.dtype differ"),
    ],
)
def test_what_cannot_be_compared_is_refused(other: dict, complaint: str):
    """Other questions, other pairs, or asked in another way: the model would not be what differs."""
    with pytest.raises(UserError, match=complaint):
        compare(make_evaluation(uri="/before"), [make_evaluation(**other)])


def test_nothing_in_common_is_refused():
    """There would be nothing to report."""
    with pytest.raises(UserError, match="nothing in common"):
        compare(make_evaluation(None, uri="/before"), [make_evaluation(None)])


def test_an_unfinished_evaluation_is_named():
    """Its questions are counted as asked for, and the report says that it was broken off."""
    after = make_evaluation(finished=False)
    after.answers[:] = after.answers[:10]
    made = compare(make_evaluation(uri="/before"), [after])
    assert (made.num_questions, made.num_compared) == (len(QUESTIONS), 10)
    ((reason, count),) = made.problems["/after"].items()
    assert "unfinished" in reason
    assert count == len(QUESTIONS) - 10


def test_implicit_rewards_come_from_both_models():
    """Beta * ((chosen after - before) - (rejected after - before)); right where it is above 0."""
    before = make_evaluation(None, uri="/before", preference=[make_pair("a", -10, -10), make_pair("b", -10, -12)])
    after = make_evaluation(None, preference=[make_pair("a", -8, -11), make_pair("b", -10, -11)])
    rewards = compare(before, [after]).rewards
    assert rewards["all"].accuracy.value == 0.5
    assert rewards["all"].margin.value == pytest.approx(0.1 * (3 - 1) / 2)
    assert set(rewards) == {"all", "spatial", "spatial/x"}


def test_benchmarks_stand_beside_the_paper():
    """In percent, whatever lmms-eval has; paired intervals from its samples; the paper's two numbers."""
    before = make_evaluation(None, uri="/before", benchmarks=[make_result(score=0.25, samples=[0.0, 0.0, 1.0, 0.0])])
    after = make_evaluation(None, benchmarks=[make_result(score=0.75, samples=[1.0, 0.0, 1.0, 1.0])])
    (made,) = compare(before, [after]).benchmarks
    assert (made.before, made.after, made.paper) == (25.0, 75.0, (75.8, 77.3))
    assert made.change is not None
    assert made.change.value == 0.5


def test_a_benchmark_that_got_worse_is_flagged():
    """By its interval; without single scores, by any fall."""
    samples = [1.0] * 30
    before = make_evaluation(None, uri="/before", benchmarks=[make_result(score=1.0, samples=samples)])
    after = make_evaluation(None, benchmarks=[make_result(score=0.0, samples=[0.0] * 30)])
    assert [one.verdict for one in compare(before, [after]).worse_benchmarks()] == ["worse"]
    before, after = (
        make_evaluation(None, uri=uri, benchmarks=[make_result(score=score)])
        for uri, score in (("/b", 0.5), ("/a", 0.4))
    )
    assert [one.verdict for one in compare(before, [after]).worse_benchmarks()] == ["worse?"]


def test_warnings_of_a_benchmark_reach_the_report():
    """What a reader of its number should know."""
    results = [make_result(warnings=("3 answers matched no rule",))]
    made = compare(make_evaluation(None, uri="/b", benchmarks=results), [make_evaluation(None, benchmarks=results)])
    assert made.benchmarks[0].warnings == ("3 answers matched no rule",)


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (None, "not run"),
        (make_result(problem="died: out of memory"), "/after: died: out of memory"),
        (make_result(profile="paper"), "different ways"),
        (make_result(model_args={"model": "/after", "nframes": 8}), "different ways"),
        (make_result(metric="another"), "no metric in common"),
    ],
)
def test_a_benchmark_that_is_missing_is_named_and_not_scored(result: Result | None, complaint: str):
    """Not run, crashed or run otherwise: no number, and the reason."""
    before = make_evaluation(None, uri="/before", benchmarks=[make_result()])
    after = make_evaluation(None, benchmarks=[result] if result else [])
    (made,) = compare(before, [after]).benchmarks
    assert made.before is None
    assert made.after is None
    assert complaint in made.problem


def test_the_number_of_gpus_does_not_part_two_results():
    """Nor does the model's name: those are what differs."""
    results = [make_result(model_args={"model": name, "tensor_parallel_size": n}) for name, n in (("a", 1), ("b", 4))]
    before, after = (make_evaluation(None, uri=f"/{n}", benchmarks=[one]) for n, one in enumerate(results))
    assert compare(before, [after]).benchmarks[0].problem is None


def test_changed_answers_are_of_all_sorts():
    """The first ones are of different failure modes and kinds, and each did change."""
    made = compare(make_evaluation(sycophant, uri="/before"), [make_evaluation(oracle)])
    by_id = {one.question_id: one for one in QUESTIONS}
    assert {by_id[one.question_id].failure_mode for one in made.changed[:6]} == {"spatial", "temporal", "cross_frame"}
    assert all(one.better for one in made.changed)
