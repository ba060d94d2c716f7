import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.generate.scripted_engine import CACHED_TOKENS, ScriptedEngine
from tests.works import make_decoded
from videopasta.config import SamplingConfig
from videopasta.generate.asking import Asker, clean, derive_seed, parse_json
from videopasta.generate.pipeline import seen_videos

PARTS = st.lists(st.text(max_size=8) | st.integers(), max_size=4)


def make_asker(engine: ScriptedEngine, *, role: str = "response", run_seed: int = 0, clip_id: str = "clip") -> Asker:
    return Asker(engine, role, run_seed=run_seed, clip_id=clip_id)


def test_seed_is_stable():
    """A resumed run asks what the first one would have asked: these numbers never change."""
    assert derive_seed(0) == 1751011464
    assert derive_seed(0, "clip", "response", "spatial", "Where?", "preferred") == 243019834


@given(st.integers(), PARTS)
def test_seed_is_in_the_range_of_every_engine(run_seed: int, parts: list[object]):
    """0 <= seed < 2**31, whatever it is made of."""
    assert 0 <= derive_seed(run_seed, *parts) < 2**31


@given(st.integers(0, 9), st.lists(st.text(max_size=5), min_size=1, max_size=4), st.data())
def test_seed_differs_by_every_part(run_seed: int, parts: list[str], data: st.DataObject):
    """Each part, the run's seed, and the number of parts matter."""
    seed = derive_seed(run_seed, *parts)
    place = data.draw(st.integers(0, len(parts) - 1))
    changed = [*parts[:place], parts[place] + "x", *parts[place + 1 :]]
    others = [
        derive_seed(run_seed, *changed),
        derive_seed(run_seed + 1, *parts),
        derive_seed(run_seed, *parts, ""),
    ]
    assert seed not in others


def test_parts_do_not_run_into_each_other():
    """("ab", "c") is another request than ("a", "bc")."""
    assert derive_seed(0, "ab", "c") != derive_seed(0, "a", "bc")
    assert derive_seed(0, 'a", "b') != derive_seed(0, "a", "b")


def test_asker_seeds_by_run_clip_role_and_subject():
    """Two judges asked about one candidate, or two clips with one query, are asked differently."""
    engine = ScriptedEngine()
    seed = make_asker(engine).seed("spatial", "Where?")
    assert seed == derive_seed(0, "clip", "response", "spatial", "Where?")
    others = [
        make_asker(engine, role="judge.0").seed("spatial", "Where?"),
        make_asker(engine, clip_id="other").seed("spatial", "Where?"),
        make_asker(engine, run_seed=1).seed("spatial", "Where?"),
        make_asker(engine).seed("temporal", "Where?"),
    ]
    assert seed not in others


def test_model_is_name_and_revision():
    """An endpoint that does not tell its revision has an empty one."""
    assert make_asker(ScriptedEngine(name="org/m", revision="abc")).model == "org/m@abc"
    assert make_asker(ScriptedEngine(name="org/m", revision=None)).model == "org/m@"


def test_calls_are_counted_per_frame_plan():
    """Requests, tokens and cache hits of each plan, and of text, apart."""
    engine = ScriptedEngine()
    asker = make_asker(engine)
    videos = seen_videos(*make_decoded())

    async def ask() -> None:
        sampling = SamplingConfig()
        for index in range(3):
            await asker.ask("one two three", sampling, "dense", index, video=videos["preferred.spatial"])
        await asker.ask("one two", sampling, "sparse", video=videos["adversarial"])
        await asker.ask("one", sampling, "text")

    asyncio.run(ask())
    dense, sparse, text = asker.calls()
    assert dense.plan_key == videos["preferred.spatial"].plan_key
    assert (dense.requests, dense.prompt_tokens, dense.cached_tokens) == (3, 9, 2 * CACHED_TOKENS)
    assert dense.video_tokens == 8 // 2 * 2 * 3  # 8 frames of 56x84
    assert dense.least_cached_after_first == CACHED_TOKENS
    assert (sparse.requests, sparse.least_cached_after_first) == (1, None)
    assert (text.plan_key, text.video_tokens, text.requests) == (None, 0, 1)
    assert {calls.role for calls in asker.calls()} == {"response"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ('```json\n{"a": [1, {"b": 2}]}\n```', {"a": [1, {"b": 2}]}),
        ('Sure! {"a": "}"} Anything else?', {"a": "}"}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ("{}", {}),
        ("", None),
        ("no json", None),
        ('{"a": 1', None),
        ("[1]", None),
        ('{"a": 1} and {"b": 2}', None),
        ('{"a": ' + "1" * 5000 + "}", None),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_json_is_found_in_an_answer(text: str, value: object):
    """One object, bare, fenced or among words; anything else is None, never an exception."""
    assert parse_json(text) == value


@given(st.text())
def test_any_answer_can_be_parsed_and_cleaned(text: str):
    """Nothing that a model says stops the run; what is kept is one printable line that UTF-8 can hold."""
    parse_json(text)
    line = clean(text)
    line.encode()
    assert line.isprintable()
    assert clean(line) == line
    assert "  " not in line
