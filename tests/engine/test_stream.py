"""Answers in parts, of vLLM in this process."""

import asyncio

import pytest

from tests.engine.conftest import make_request, make_video
from videopasta.engine import Answer, RequestError


def test_a_stream_ends_with_the_answer_that_it_was(vllm_engine, run):
    """The parts together are its text; both are those of `generate`."""
    request = make_request(video=make_video(), temperature=0.0)

    async def streamed() -> list:
        return [part async for part in vllm_engine.stream(request)]

    *parts, last = run(streamed())
    assert len(parts) > 1
    assert isinstance(last, Answer)
    assert "".join(parts).strip() == last.text == run(vllm_engine.generate(request)).text


def test_a_stream_that_is_left_ends_its_request(vllm_engine, run):
    """The engine does not write on for a client that has gone."""

    async def left() -> bool:
        parts = vllm_engine.stream(make_request(max_tokens=3000))
        await anext(parts)
        await parts.aclose()
        for _ in range(100):
            if not vllm_engine._driver._engine.has_unfinished_requests():
                return True
            await asyncio.sleep(0.05)
        return False

    assert run(left())


def test_a_stream_that_is_refused_says_so(vllm_engine, run):
    """As `generate` does."""

    async def first() -> object:
        return await anext(vllm_engine.stream(make_request(prompt="a long prompt " * 5000)))

    with pytest.raises(RequestError) as caught:
        run(first())
    assert caught.value.reason == "prompt_too_long"
