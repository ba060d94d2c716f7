import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answers import answer_texts
from tests.generate.scripted_engine import ScriptedEngine, good_answer
from tests.works import make_candidate, make_finished, make_vote
from videopasta.config import GenerateConfig, SamplingConfig
from videopasta.config.generate import JudgeConfig
from videopasta.engine import Request
from videopasta.generate.asking import Asker
from videopasta.generate.judging import decide, read_vote, vote, vote_schema
from videopasta.generate.work import Vote, Work
from videopasta.prompts import load_prompts

PROMPTS = load_prompts()
VOTES = st.builds(
    make_vote,
    genuine=st.booleans(),
    targeted=st.booleans(),
    distinct=st.booleans(),
    preferred_ok=st.booleans(),
    confidence=st.floats(0, 1),
)


def make_config(*, num_samples: int = 1) -> GenerateConfig:
    sampling = SamplingConfig(temperature=0.0 if num_samples == 1 else 1.0)
    return GenerateConfig(judge=JudgeConfig(num_samples=num_samples, sampling=sampling))


def run_vote(
    engine: ScriptedEngine,
    *,
    work: Work | None = None,
    config: GenerateConfig,
    role: str = "judge.0",
    last: bool = True,
) -> Work:
    work = work or make_finished(candidates=(make_candidate(votes=()),))
    asker = Asker(engine, role, run_seed=0, clip_id=work.clip_id or "")
    return asyncio.run(vote(work, asker, PROMPTS, config, last=last))


def test_no_votes_drop_the_candidate_without_a_verdict():
    """Answers that cannot be read are no opinion."""
    assert decide([], JudgeConfig()) == (None, "judge_unreadable")


def test_one_yes_makes_a_pair():
    """Its confidence and reason are the verdict's."""
    verdict, reason = decide([make_vote(confidence=0.7, reason="left, not right")], JudgeConfig())
    assert reason is None
    assert verdict is not None
    assert (verdict.confidence, verdict.agreement, verdict.reason) == (0.7, 1.0, "left, not right")


@pytest.mark.parametrize("question", ["genuine", "targeted", "distinct", "preferred_ok"])
def test_no_to_any_question_drops_with_its_name(question: str):
    """Each question can drop a candidate alone."""
    verdict, reason = decide([make_vote(**{question: False})], JudgeConfig())
    assert reason == f"judge_not_{question}"
    assert verdict is not None
    assert getattr(verdict, question) is False


def test_majority_decides():
    """Two of three carry it, for yes and for no."""
    yes, no = make_vote(), make_vote(genuine=False)
    assert decide([yes, yes, no], JudgeConfig())[1] is None
    assert decide([yes, no, no], JudgeConfig())[1] == "judge_not_genuine"


def test_tie_is_a_no():
    """In doubt the candidate is dropped."""
    verdict, reason = decide([make_vote(), make_vote(genuine=False)], JudgeConfig())
    assert reason == "judge_not_genuine"
    assert verdict is not None
    assert verdict.agreement == 0.5


def test_mean_confidence_below_the_limit_drops():
    """At the limit it passes."""
    config = JudgeConfig(min_confidence=0.5)
    assert decide([make_vote(confidence=0.4), make_vote(confidence=0.5)], config)[1] == "judge_low_confidence"
    assert decide([make_vote(confidence=0.4), make_vote(confidence=0.6)], config)[1] is None


def test_agreement_below_the_limit_drops():
    """At the limit it passes."""
    votes = [make_vote(), make_vote(), make_vote(distinct=False)]
    assert decide(votes, JudgeConfig(min_agreement=0.7))[1] == "judge_disagreement"
    assert decide(votes, JudgeConfig(min_agreement=2 / 3))[1] is None


def test_yes_that_no_vote_gave_is_disagreement():
    """Three judges that each object to something else carry every question, and agree on nothing."""
    votes = [make_vote(genuine=False), make_vote(targeted=False), make_vote(distinct=False)]
    verdict, reason = decide(votes, JudgeConfig())
    assert reason == "judge_disagreement"
    assert verdict is not None
    assert verdict.agreement == 0


def test_reason_is_of_the_most_confident_on_the_winning_side():
    """A loud minority does not explain the verdict."""
    votes = [
        make_vote(confidence=0.6, reason="meek"),
        make_vote(confidence=0.7, reason="sure"),
        make_vote(genuine=False, confidence=1.0, reason="loud"),
    ]
    verdict, _ = decide(votes, JudgeConfig())
    assert verdict is not None
    assert verdict.reason == "sure"


@given(st.lists(VOTES, min_size=1, max_size=7), st.randoms())
def test_order_of_the_votes_does_not_decide(votes: list[Vote], random: object):
    """Judges answer in any order."""
    shuffled = sorted(votes, key=lambda _: random.random())  # type: ignore[attr-defined]
    one, other = decide(votes, JudgeConfig()), decide(shuffled, JudgeConfig())
    assert one[1] == other[1]
    assert one[0] is not None
    assert other[0] is not None
    assert one[0].agreement == other[0].agreement


@given(st.lists(VOTES, min_size=1, max_size=7))
def test_pair_needs_a_yes_to_every_question(votes: list[Vote]):
    """No setting of the limits lets a no through."""
    verdict, reason = decide(votes, JudgeConfig(min_confidence=0, min_agreement=0))
    assert verdict is not None
    accepted = verdict.genuine and verdict.targeted and verdict.distinct and verdict.preferred_ok
    assert (reason is None) == accepted


def vote_text(**changes: object) -> str:
    yes = {"genuine": True, "targeted": True, "distinct": True, "preferred_ok": True}
    return json.dumps({**yes, "confidence": 80, "reason": "plain", **changes})


def test_vote_is_read():
    """Confidence comes in percent and is kept as a share; the judge is named."""
    assert read_vote(vote_text(genuine=False), "j@r") == make_vote(judge="j@r", genuine=False, confidence=0.8)


def test_vote_in_a_fence_is_read():
    """Endpoints without schemas answer in Markdown."""
    assert read_vote(f"Here it is:\n```json\n{vote_text()}\n```", "j") is not None


@pytest.mark.parametrize(
    ("confidence", "share"),
    [(0, 0.0), (100, 1.0), (250, 1.0), (-3, 0.0), (55.5, 0.555), pytest.param(10**400, 1.0, id="huge")],
)
def test_confidence_is_held_between_0_and_1(confidence: float, share: float):
    """Whatever number a judge without a grammar writes."""
    read = read_vote(vote_text(confidence=confidence), "j")
    assert read is not None
    assert read.confidence == share


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "{",
        "[1, 2]",
        "{}",
        vote_text(genuine=None),
        vote_text(genuine="perhaps"),
        vote_text(confidence=None),
        vote_text(confidence="high"),
        vote_text(confidence=True),
        vote_text(confidence=float("nan")),
        vote_text()[:-5],
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        '{"confidence": ' + "9" * 5000 + "}",
    ],
    ids=lambda text: text[:30],
)
def test_garbage_is_no_vote(text: str):
    """It is counted as unreadable; it neither counts as a no nor stops the run."""
    assert read_vote(text, "j") is None


@given(answer_texts("reason", "genuine", "targeted", "distinct", "preferred_ok", "confidence"))
def test_any_answer_is_a_vote_or_none(text: str):
    """Whatever JSON or garbage a judge writes; a vote is one that a row holds."""
    read = read_vote(text, "j")
    if read is not None:
        assert 0 <= read.confidence <= 1
        assert read.reason.isprintable()


def test_reason_is_written_before_the_answers():
    """What stands in the schema first is written first, and can be decided by."""
    assert next(iter(vote_schema(100)["properties"])) == "reason"


def test_vote_without_a_reason_counts():
    """The reason explains, it does not decide."""
    for reason in (None, "", 3, ["left"]):
        read = read_vote(vote_text(reason=reason), "j")
        assert read is not None
        assert read.reason == ""


def test_reason_that_is_nested_deeply_is_none():
    """JSON as deep as can be read is too deep to be written."""
    for depth in range(700, 1000, 10):
        nested = '{"reason": ' + "[" * depth + "]" * depth + "," + vote_text()[1:].replace(', "reason": "plain"', "")
        read = read_vote(nested, "j")
        assert read is None or read.reason == ""


def test_reason_is_one_printable_line():
    """Half a surrogate pair or a control character would break the row that holds it."""
    read = read_vote(vote_text(reason="a\n\x00b \ud800c"), "j")
    assert read is not None
    assert read.reason == "a b c"


def test_schema_asks_for_what_is_read():
    """Every field of a vote is required, and nothing else is allowed."""
    schema = vote_schema(40)
    assert set(schema["required"]) == set(schema["properties"])  # type: ignore[call-overload]
    assert set(schema["required"]) == set(Vote.model_fields) - {"judge"}  # type: ignore[call-overload]
    assert schema["additionalProperties"] is False


def test_judge_sees_text_only():
    """The prompt holds both answers, and no request carries video."""
    engine = ScriptedEngine()
    run_vote(engine, config=make_config())
    (request,) = engine.requests
    assert request.video is None
    candidate = make_candidate()
    assert candidate.preferred in request.prompt
    assert candidate.adversarial in request.prompt


def test_dropped_candidate_is_not_judged():
    """A guard's reason stands, and costs no request."""
    engine = ScriptedEngine()
    work = make_finished(candidates=(make_candidate(votes=(), drop_reason="length_ratio"),))
    assert run_vote(engine, work=work, config=make_config()) == work
    assert engine.requests == []


def test_samples_are_asked_with_seeds_of_their_own():
    """Three votes are three requests with the same words, and their answers are all kept."""
    engine = ScriptedEngine()
    work = run_vote(engine, config=make_config(num_samples=3))
    assert len({request.seed for request in engine.requests}) == 3
    assert len({request.prompt for request in engine.requests}) == 1
    (candidate,) = work.candidates
    assert [one.judge for one in candidate.votes] == ["scripted@r1"] * 3
    assert candidate.drop_reason is None


def test_unreadable_votes_are_counted_and_the_others_decide():
    """One garbled answer of three does not lose the candidate."""

    def answer(request: Request) -> str:
        return "hm" if request is engine.requests[0] else good_answer(request)

    engine = ScriptedEngine(answer=answer)
    (candidate,) = run_vote(engine, config=make_config(num_samples=3)).candidates
    assert candidate.unreadable_votes == 1
    assert len(candidate.votes) == 2
    assert candidate.drop_reason is None


def test_candidate_without_a_readable_vote_is_dropped():
    """And says so."""
    (candidate,) = run_vote(ScriptedEngine(answer=lambda request: "hm"), config=make_config()).candidates
    assert (candidate.drop_reason, candidate.verdict) == ("judge_unreadable", None)
    assert candidate.unreadable_votes == 1


def test_jury_decides_after_its_last_judge():
    """Earlier judges add votes; the verdict is over all of them, and judges have seeds of their own."""
    first, second = ScriptedEngine(name="first"), ScriptedEngine(name="second", revision=None)
    half = run_vote(first, config=make_config(), role="judge.0", last=False)
    assert half.candidates[0].verdict is None
    assert half.candidates[0].drop_reason is None
    whole = run_vote(second, work=half, config=make_config(), role="judge.1")
    assert [one.judge for one in whole.candidates[0].votes] == ["first@r1", "second@"]
    assert whole.candidates[0].verdict is not None
    assert first.requests[0].seed != second.requests[0].seed


def test_description_of_the_clip_reaches_the_judge():
    """When there is one."""
    engine = ScriptedEngine()
    work = make_finished(candidates=(make_candidate(votes=()),)).having(description="A red room.")
    run_vote(engine, work=work, config=make_config())
    assert "A red room." in engine.requests[0].prompt
