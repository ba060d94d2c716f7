import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answers import answer_texts
from tests.generate.scripted_engine import ScriptedEngine
from tests.works import NUM_FRAMES, make_decoded
from videopasta.config import FailureMode, GenerateConfig
from videopasta.config.generate import QueriesConfig
from videopasta.engine import Request
from videopasta.generate.asking import Asker
from videopasta.generate.guards import words
from videopasta.generate.pipeline import seen_videos
from videopasta.generate.queries import distinct, parse_queries, write_queries
from videopasta.generate.work import Work
from videopasta.prompts import load_prompts

PROMPTS = load_prompts()


def make_config(
    *,
    per_mode: int = 3,
    max_rounds: int = 2,
    modes: tuple[FailureMode, ...] = ("spatial", "temporal", "cross_frame"),
) -> GenerateConfig:
    return GenerateConfig(failure_modes=modes, queries=QueriesConfig(per_mode=per_mode, max_rounds=max_rounds))


def run_queries(engine: ScriptedEngine, *, config: GenerateConfig) -> Work:
    work, frames = make_decoded(config=config)
    asker = Asker(engine, "query", run_seed=config.seed, clip_id=work.clip_id or "")
    return asyncio.run(write_queries(work, asker, seen_videos(work, frames), PROMPTS, config))


def queries_text(*queries: object) -> str:
    return json.dumps({"queries": queries})


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        (queries_text("Where is it?", "Who runs?"), ["Where is it?", "Who runs?"]),
        (queries_text("  Where\n is\tit? "), ["Where is it?"]),
        (queries_text("Where is it?", 3, None, ["x"], "", "?!"), ["Where is it?"]),
        (queries_text(), []),
        ('{"queries": "Where?"}', []),
        ('{"questions": ["Where?"]}', []),
        ("Where is it?", []),
        ("", []),
    ],
)
def test_queries_are_read_from_an_answer(text: str, queries: list[str]):
    """Strings with words in them, on one line each; everything else is left out."""
    assert parse_queries(text) == queries


@given(st.lists(st.sampled_from(["Where is it?", "where is IT", "Who runs?", "who, runs", "What?"]), max_size=8))
def test_distinct_keeps_the_first_of_equal_words(queries: list[str]):
    """In order, each set of words once, none lost."""
    kept = distinct(queries)
    seen = [tuple(words(query)) for query in kept]
    assert seen == list(dict.fromkeys(tuple(words(query)) for query in queries))
    assert distinct(kept) == kept


@given(answer_texts("queries"))
def test_any_answer_gives_queries_that_a_row_holds(text: str):
    """Whatever JSON or garbage a model writes: words on one printable line each, or none."""
    for query in parse_queries(text):
        assert words(query)
        assert query == " ".join(query.split())
        assert query.isprintable()


def test_each_mode_gets_its_queries_in_one_request():
    """`per_mode` queries per mode, asked for by schema and prompt, seen on the query plan."""
    engine = ScriptedEngine()
    work = run_queries(engine, config=make_config(per_mode=3))
    assert work.failure is None
    assert [(query.failure_mode, query.index) for query in work.queries] == [
        (mode, index) for mode in ("spatial", "temporal", "cross_frame") for index in range(3)
    ]
    assert len(engine.requests) == 3
    assert len({request.seed for request in engine.requests}) == 3
    for request in engine.requests:
        assert request.video is not None
        assert len(request.video.frames) == NUM_FRAMES["query"]
        assert request.json_schema is not None
        assert request.json_schema["properties"]["queries"]["minItems"] == 3


def test_repeated_queries_are_asked_for_again():
    """The next round asks for what is missing, names what is taken, and has another seed."""

    def answer(request: Request) -> str:
        if "Do not repeat" in request.prompt:
            return queries_text("What falls?")
        return queries_text("Who runs?", "who runs", "Where is it?")

    engine = ScriptedEngine(answer=answer)
    work = run_queries(engine, config=make_config(per_mode=3, modes=("spatial",)))
    assert [query.text for query in work.queries] == ["Who runs?", "Where is it?", "What falls?"]
    first, second = engine.requests
    assert second.json_schema is not None
    assert second.json_schema["properties"]["queries"]["maxItems"] == 1
    assert "Who runs?" in second.prompt
    assert "Where is it?" in second.prompt
    assert first.seed != second.seed


def test_rounds_end():
    """A writer that repeats itself leaves fewer queries, not a hanging clip."""
    engine = ScriptedEngine(answer=lambda request: queries_text("Who runs?"))
    work = run_queries(engine, config=make_config(per_mode=3, max_rounds=4, modes=("spatial",)))
    assert [query.text for query in work.queries] == ["Who runs?"]
    assert len(engine.requests) == 4


def test_more_queries_than_asked_for_are_cut():
    """Endpoints without schemas do not count."""
    engine = ScriptedEngine(answer=lambda request: queries_text("a b?", "c d?", "e f?", "g h?"))
    work = run_queries(engine, config=make_config(per_mode=2, modes=("temporal",)))
    assert [query.text for query in work.queries] == ["a b?", "c d?"]


def test_clip_without_any_query_fails():
    """With a reason, and after as many rounds as allowed."""
    work = run_queries(ScriptedEngine(answer=lambda request: "hm"), config=make_config(max_rounds=2))
    assert work.failure is not None
    assert (work.failure.stage, work.failure.reason) == ("query", "no_queries")


def test_one_mode_without_queries_does_not_fail_the_clip():
    """The others go on."""

    def answer(request: Request) -> str:
        return queries_text("Who runs?") if PROMPTS.modes["temporal"].about in request.prompt else "hm"

    work = run_queries(ScriptedEngine(answer=answer), config=make_config())
    assert work.failure is None
    assert [query.failure_mode for query in work.queries] == ["temporal"]
