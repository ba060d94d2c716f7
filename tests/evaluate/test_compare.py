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
    answerer: Answerer = oracle, *, uri: str = "/after", benchmarks=(), preference=(), **fingerprint: Any
) -> Evaluation:
    return Evaluation(
        uri, f"model of {uri}", rows_of(QUESTIONS, answerer) if answerer else [], list(preference),
        {result.task: result for result in benchmarks},
        {"questions": "q", "pairs": "p", "config": {"model": uri, "plan": 32}} | fingerprint,
    )  # fmt: skip


def make_result(*, samples=(), problem: str | None = None, score: float = 0.5, **asked) -> Result:
    metrics = {} if problem else {"videomme_perception_score": score}
    return Result("videomme", metrics, dict(enumerate(samples)), {"profile": "video", **asked}, 1.0, problem)


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


@pytest.mark.parametrize("name", ["questions", "pairs", "config"])
def test_what_cannot_be_compared_is_refused(name: str):
    """Other questions, other pairs, or asked in another way: the model would not be what differs."""
    other = {"config": {"model": "/after", "plan": 16}} if name == "config" else {name: "other"}
    with pytest.raises(UserError, match="plan" if name == "config" else name):
        compare(make_evaluation(uri="/before"), [make_evaluation(**other)])


def test_implicit_rewards_come_from_both_models():
    """Beta * ((chosen after - before) - (rejected after - before)); right where it is above 0."""
    before = make_evaluation(None, uri="/before", preference=[make_pair("a", -10, -10), make_pair("b", -10, -12)])
    after = make_evaluation(None, preference=[make_pair("a", -8, -11), make_pair("b", -10, -11)])
    rewards = compare(before, [after]).rewards
    assert rewards["all"].accuracy.value == 0.5
    assert rewards["all"].margin.value == pytest.approx(0.1 * (3 - 1) / 2)
    assert set(rewards) == {"all", "spatial", "spatial/x"}


def test_benchmarks_stand_beside_the_paper():
    """Paired intervals from lmms-eval's samples, and the paper's two numbers."""
    before = make_evaluation(None, uri="/before", benchmarks=[make_result(score=0.25, samples=[0.0, 0.0, 1.0, 0.0])])
    after = make_evaluation(None, benchmarks=[make_result(score=0.75, samples=[1.0, 0.0, 1.0, 1.0])])
    (made,) = compare(before, [after]).benchmarks
    assert (made.before, made.after, made.paper) == (0.25, 0.75, (62.2, 64.1))
    assert made.change is not None
    assert made.change.value == 0.5


@pytest.mark.parametrize(
    ("result", "complaint"),
    [(None, "not run"), (make_result(problem="died"), "died"), (make_result(profile="paper"), "profiles")],
)
def test_a_benchmark_that_is_missing_is_named_and_not_scored(result: Result | None, complaint: str):
    """Not run, crashed or run otherwise: no number, and the reason."""
    before = make_evaluation(None, uri="/before", benchmarks=[make_result()])
    after = make_evaluation(None, benchmarks=[result] if result else [])
    (made,) = compare(before, [after]).benchmarks
    assert made.before is None
    assert made.after is None
    assert complaint in made.problem


def test_changed_answers_are_of_all_sorts():
    """The first ones are of different failure modes and kinds, and each did change."""
    made = compare(make_evaluation(sycophant, uri="/before"), [make_evaluation(oracle)])
    by_id = {one.question_id: one for one in QUESTIONS}
    assert {by_id[one.question_id].failure_mode for one in made.changed[:6]} == {"spatial", "temporal", "cross_frame"}
    assert all(one.better for one in made.changed)
