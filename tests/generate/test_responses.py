import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.answers import answer_texts
from tests.generate.scripted_engine import ScriptedEngine, good_answer, kind_of
from tests.works import NUM_FRAMES, make_decoded
from videopasta.config import FAILURE_MODES, GenerateConfig
from videopasta.config.generate import JudgeConfig, ResponsesConfig
from videopasta.engine import Request
from videopasta.generate.asking import Asker
from videopasta.generate.pipeline import seen_videos
from videopasta.generate.responses import pick_adversaries, respond
from videopasta.generate.work import Query, Work
from videopasta.prompts import load_prompts

PROMPTS = load_prompts()
QUERIES = tuple(Query(failure_mode=mode, index=0, text=f"What about {mode}?") for mode in FAILURE_MODES)


def make_config(*, num_adversaries: int = 3, describe_clip: bool = False) -> GenerateConfig:
    return GenerateConfig(
        responses=ResponsesConfig(num_adversaries=num_adversaries),
        judge=JudgeConfig(describe_clip=describe_clip),
    )


def run_respond(
    engine: ScriptedEngine, *, config: GenerateConfig | None = None, queries: tuple[Query, ...] = QUERIES
) -> Work:
    config = config or make_config()
    work, frames = make_decoded(config=config)
    asker = Asker(engine, "response", run_seed=config.seed, clip_id=work.clip_id or "")
    work = work.having(queries=queries)
    return asyncio.run(respond(work, asker, seen_videos(work, frames), PROMPTS, config))


def num_frames(request: Request) -> int:
    assert request.video is not None
    return len(request.video.frames)


def sees(view: str, request: Request) -> bool:
    return request.video is not None and num_frames(request) == NUM_FRAMES[view]


@given(st.integers(0, 2**31 - 1), st.integers(1, 6))
def test_adversaries_are_picked_without_repetition_in_their_own_order(seed: int, count: int):
    """The same seed picks the same; all of them when as many are wanted."""
    names = ["e", "d", "c", "b", "a", "f"]
    picked = pick_adversaries(names, count, seed)
    assert len(picked) == len(set(picked)) == count
    assert picked == sorted(picked, key=names.index)
    assert picked == pick_adversaries(names, count, seed)


def test_every_adversary_is_picked_by_some_seed():
    """With more adversaries than are asked for, queries differ in theirs."""
    names = ["a", "b", "c", "d", "e"]
    picked = {name for seed in range(50) for name in pick_adversaries(names, 2, seed)}
    assert picked == set(names)


def test_each_query_gets_its_candidates():
    """One preferred answer and `num_adversaries` adversarial ones, each of another adversary."""
    work = run_respond(ScriptedEngine())
    assert [candidate.query for candidate in work.candidates] == [query for query in QUERIES for _ in range(3)]
    for query in QUERIES:
        group = [candidate for candidate in work.candidates if candidate.query == query]
        assert [one.adversary for one in group] == list(PROMPTS.modes[query.failure_mode].adversaries)
        assert len({one.preferred for one in group}) == 1
        assert len({one.adversarial for one in group}) == 3
    assert all(candidate.drop_reason is None for candidate in work.candidates)


def test_number_of_requests():
    """Per query one preferred answer, and a rewrite and an answer per adversary; every seed is another."""
    engine = ScriptedEngine()
    run_respond(engine)
    assert len(engine.requests) == 3 * (1 + 3 + 3)
    assert len(engine.asked("rewrite")) == 9
    assert len({request.seed for request in engine.requests}) == len(engine.requests)


def test_preferred_is_dense_and_adversarial_sparse():
    """Preferred answers see their mode's view, rewriting sees no video, misled answers the sparse one."""
    engine = ScriptedEngine()
    run_respond(engine)
    for mode in FAILURE_MODES:
        (preferred,) = [request for request in engine.requests if sees(f"preferred.{mode}", request)]
        assert f"What about {mode}?" in preferred.prompt
    assert sum(sees("adversarial", request) for request in engine.requests) == 9
    assert all(request.video is None for request in engine.asked("rewrite"))


def test_misled_answer_is_asked_the_adversarial_query_at_the_preferred_length():
    """Not the aligned query; and about as many words as the preferred answer has."""
    engine = ScriptedEngine()
    work = run_respond(engine)
    prompts = {request.seed: request.prompt for request in engine.requests}
    for candidate in work.candidates:
        prompt = prompts[candidate.seed]
        assert candidate.adversarial_query in prompt
        assert candidate.query.text not in prompt
        assert "about 10 words" in prompt


def test_rows_seed_is_that_of_the_request():
    """What is recorded replays the adversarial answer, in the sampling that the configuration gives."""
    engine = ScriptedEngine()
    config = make_config()
    work = run_respond(engine, config=config)
    by_seed = {request.seed: request for request in engine.requests}
    for candidate in work.candidates:
        request = by_seed[candidate.seed]
        assert sees("adversarial", request)
        assert good_answer(request) == candidate.adversarial
        assert request.sampling == config.responses.adversarial


@pytest.mark.parametrize(
    ("preferred", "reason"),
    [("", "preferred_empty"), ("I'm sorry, I can't tell.", "preferred_refusal")],
)
def test_useless_preferred_answer_costs_no_adversaries(preferred: str, reason: str):
    """Its candidates are kept as dropped, with the reason, and nothing more is asked."""
    engine = ScriptedEngine(answer=lambda request: preferred)
    work = run_respond(engine)
    assert [candidate.drop_reason for candidate in work.candidates] == [reason] * 9
    assert len(engine.requests) == 3


def test_unreadable_rewrite_costs_no_answer():
    """Its candidate says so; the others of the query go on."""
    operator = PROMPTS.modes["spatial"].adversaries["false_between"]

    def answer(request: Request) -> str:
        return "hm" if operator.instruction in request.prompt else good_answer(request)

    engine = ScriptedEngine(answer=answer)
    work = run_respond(engine, queries=QUERIES[:1])
    reasons = {candidate.adversary: candidate.drop_reason for candidate in work.candidates}
    assert reasons == {
        "false_presupposition": None,
        "false_between": "adversarial_query_unreadable",
        "flipped_relation": None,
    }
    assert len(engine.requests) == 1 + 3 + 2


@pytest.mark.parametrize(
    ("adversarial", "reason"),
    [
        ("The cup stands, on the LEFT of the table", "identical"),
        ("the left of the table", "containment"),
        ("It is right there.", "length_ratio"),
        ("I cannot see any cup.", "refusal"),
        ("No!", "empty"),
        ("The cup stands on the right of a table.", None),
    ],
)
def test_guards_give_the_drop_reason(adversarial: str, reason: str | None):
    """The first one that fails; a candidate is kept either way."""

    def answer(request: Request) -> str:
        if kind_of(request) != "text":
            return good_answer(request)
        return adversarial if sees("adversarial", request) else "The cup stands on the left of the table."

    work = run_respond(ScriptedEngine(answer=answer), queries=QUERIES[:1])
    assert [candidate.drop_reason for candidate in work.candidates] == [reason] * 3
    assert [candidate.adversarial for candidate in work.candidates] == [adversarial] * 3


def test_answers_are_kept_on_one_printable_line():
    """White space and control characters of a model do not reach a row."""

    def answer(request: Request) -> str:
        if kind_of(request) == "rewrite":
            return json.dumps({"query": "  What\n never\x00 happens? "})
        return f" The answer\n {request.seed} has\tten words,\x07 neither more nor less. "

    work = run_respond(ScriptedEngine(answer=answer), queries=QUERIES[:1])
    for candidate in work.candidates:
        assert candidate.adversarial_query == "What never happens?"
        assert candidate.adversarial == f"The answer {candidate.seed} has ten words, neither more nor less."


def test_clip_is_described_only_when_the_judge_wants_it():
    """One request more, on a dense view."""
    engine = ScriptedEngine()
    assert run_respond(engine).description is None
    described = ScriptedEngine()
    work = run_respond(described, config=make_config(describe_clip=True))
    assert work.description
    assert len(described.requests) == len(engine.requests) + 1
    (request,) = [one for one in described.requests if one.prompt == PROMPTS.describe()]
    assert sees("preferred.spatial", request)


def test_fewer_adversaries_than_the_mode_has():
    """Each query picks its own, the same in every run and at every place."""
    config = make_config(num_adversaries=1)
    queries = tuple(Query(failure_mode="spatial", index=i, text=f"What about {i}?") for i in range(12))
    first = run_respond(ScriptedEngine(), config=config, queries=queries)
    moved = tuple(query.model_copy(update={"index": 11 - query.index}) for query in queries[::-1])
    again = run_respond(ScriptedEngine(order=1), config=config, queries=moved)
    chosen = {candidate.query.text: candidate.adversary for candidate in first.candidates}
    assert len(set(chosen.values())) == 3
    assert {candidate.query.text: candidate.adversary for candidate in again.candidates} == chosen


@given(answer_texts("query"), st.text(st.characters()))
@settings(max_examples=50, deadline=None)
def test_any_answer_makes_a_candidate_that_a_row_holds(rewrite: str, said: str):
    """Whatever a model writes as its rewrite and its answers: printable lines, or a reason why there are none."""
    engine = ScriptedEngine(answer=lambda request: rewrite if kind_of(request) == "rewrite" else said)
    for candidate in run_respond(engine, config=make_config(num_adversaries=1), queries=QUERIES[:1]).candidates:
        texts = (candidate.preferred, candidate.adversarial_query, candidate.adversarial)
        assert all(text.isprintable() for text in texts)
        assert candidate.drop_reason or all(texts)
