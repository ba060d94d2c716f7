"""What every engine owes: the same tests for vLLM in this process and for a vLLM server behind HTTP."""

import asyncio
import json

import pytest

from tests.engine.conftest import make_request, make_video, texts
from videopasta.engine import Engine, RequestError, Turn


def ask_all(run, engine: Engine, *requests):
    async def gathered():
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    return run(gathered())


def test_same_request_same_answer(engine, run):
    """Equal requests get equal answers, alone or among others."""
    requests = [make_request(seed=seed) for seed in range(4)]
    together = ask_all(run, engine, *requests)
    alone = [ask_all(run, engine, request)[0] for request in requests]
    assert texts(together) == texts(alone)


def test_seed_decides(engine, run):
    """Another seed gives another answer at temperature above 0."""
    answers = ask_all(run, engine, *(make_request(seed=seed) for seed in range(4)))
    assert len(set(texts(answers))) > 1


def test_video_decides(engine, run):
    """Another video gives another greedy answer."""
    videos = [make_video(seed=seed) for seed in range(4)]
    answers = ask_all(run, engine, *(make_request(video=video, temperature=0.0) for video in videos))
    assert len(set(texts(answers))) > 1


def test_history_decides(engine, run):
    """Turns before the prompt are read; the video may stand in one of them, and is another one elsewhere."""
    video, told = make_video(), (Turn("system", "Be short."), Turn("user", "Look."), Turn("assistant", "I see."))
    alone, after, with_video, earlier = ask_all(
        run, engine,
        make_request(), make_request(history=told),
        make_request(history=told, video=video), make_request(history=told, video=video, video_turn=1),
    )  # fmt: skip
    assert after.usage.prompt_tokens > alone.usage.prompt_tokens
    assert with_video.usage.prompt_tokens == earlier.usage.prompt_tokens
    if with_video.prompt_token_ids is not None:
        assert sorted(with_video.prompt_token_ids) == sorted(earlier.prompt_token_ids)
        assert with_video.prompt_token_ids != earlier.prompt_token_ids


def test_counts_tokens(engine, run):
    """Prompt and answer tokens are counted, the video's among them."""
    with_video, without = ask_all(run, engine, make_request(video=make_video()), make_request())
    assert without.usage.completion_tokens == 12
    assert without.finish_reason == "length"
    # 4 frame pairs of 5x6 merged patches; as single images each frame gets its own 5x6 tokens.
    assert with_video.usage.prompt_tokens - without.usage.prompt_tokens >= 4 * 5 * 6


def test_second_request_finds_the_video_cached(engine, run):
    """After one request about a video, the next one takes at least 90 % of the video's tokens from the cache."""
    video = make_video(seed=99, num_frames=16)
    shared = "These words stand in every request about a video, so that its last block is shared. " * 3
    ask_all(run, engine, make_request(video=video, prompt=f"{shared} What moves?"))
    (answer,) = ask_all(run, engine, make_request(video=video, prompt=f"{shared} What stops?"))
    assert answer.usage.cached_tokens >= 0.9 * 8 * 5 * 6


def test_json_follows_the_schema(engine, run):
    """With a schema the answer is JSON of that schema, from random weights too."""
    schema = {
        "type": "object",
        "properties": {"sure": {"type": "boolean"}, "why": {"type": "string", "maxLength": 20}},
        "required": ["sure", "why"],
        "additionalProperties": False,
    }
    answers = ask_all(run, engine, *(make_request(seed=s, json_schema=schema, max_tokens=200) for s in range(3)))
    for answer in answers:
        value = json.loads(answer.text, strict=False)
        assert set(value) == {"sure", "why"}
        assert isinstance(value["sure"], bool)


def test_logprobs_of_the_answer(engine, run):
    """One token per place, log-probs at most 0, the greedy one the likeliest of the list."""
    (answer,) = ask_all(run, engine, make_request(top_logprobs=3, temperature=0.0))
    assert len(answer.tokens) == answer.usage.completion_tokens == 12
    for token in answer.tokens:
        assert token.logprob <= 0
        assert token.logprob == pytest.approx(token.top[0][1], abs=1e-5)
        assert len(token.top) >= 3
    assert not ask_all(run, engine, make_request())[0].tokens


def test_a_prompt_too_long_is_the_requests_fault(engine, run):
    """A prompt beyond the context is refused with a reason, and the engine goes on."""
    with pytest.raises(RequestError) as refusal:
        ask_all(run, engine, make_request(prompt="word " * 6000))
    assert refusal.value.reason == "prompt_too_long"
    assert ask_all(run, engine, make_request())[0].text


def test_what_is_no_text_is_the_requests_fault(engine, run):
    """Half a character, as JSON's escapes can name it; the engine answers the next."""
    with pytest.raises(RequestError) as caught:
        run(engine.generate(make_request(prompt="What \ud800 moves?")))
    assert caught.value.reason == "engine_refused"
    assert run(engine.generate(make_request())).text


def test_names_its_model(engine):
    """The model's name is in its id; a local one has a revision that identifies the weights."""
    assert engine.model_id.name
    if engine.model_id.name.startswith("tiny:"):
        assert engine.model_id.revision.startswith("sha256:")


def test_logprobs_of_choices(engine, run):
    """Each choice's log-prob is at most 0, and the greedy answer begins with the likeliest token of all."""
    (free,) = ask_all(run, engine, make_request(top_logprobs=3, temperature=0.0))
    likeliest = next(text for text, _ in free.tokens[0].top if text.strip())
    (answer,) = ask_all(run, engine, make_request(choices=(likeliest,), temperature=0.0))
    assert answer.choice_logprobs[0] == pytest.approx(free.tokens[0].logprob, abs=1e-5)
    assert answer.text == free.text


def test_a_call_given_up_leaves_the_engine_able(engine, run):
    """Cancelled in mid-answer; the next request gets the answer it would have got."""
    wanted = texts(ask_all(run, engine, make_request(seed=5)))

    async def give_up():
        late = asyncio.create_task(engine.generate(make_request(max_tokens=2000)))
        await asyncio.sleep(0.3)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late

    run(give_up())
    assert texts(ask_all(run, engine, make_request(seed=5))) == wanted
