"""A clip's video is encoded once: asserted on vLLM's own counts, for every real clip and frame plan."""

import asyncio
from collections import defaultdict
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from videopasta.config import GenerateConfig, load_config
from videopasta.engine import Answer, Engine, Request, start_engine
from videopasta.generate.pipeline import play_roles, views
from videopasta.generate.work import Work, video_tokens
from videopasta.prompts import load_prompts
from videopasta.video import ClipRequest, ManifestEntry, VideoError, decode_clip

VIDEO_TOKEN = "<|video_pad|>"


class Recorder:
    """A real engine, with every answer about a video kept, by cache key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.model_id = engine.model_id
        self.answers: dict[str, list[Answer]] = defaultdict(list)

    async def generate(self, request: Request) -> Answer:
        answer = await self._engine.generate(request)
        if request.video:
            self.answers[request.video.cache_key].append(answer)
        return answer

    def close(self) -> None:
        self._engine.close()


@pytest.fixture(scope="module")
def config() -> GenerateConfig:
    return load_config(GenerateConfig, REPOSITORY / "configs/ci_random.yaml")


@pytest.fixture(scope="module")
def recorder(config):
    recorder = Recorder(start_engine(config.response_model, video=True))
    yield recorder
    recorder.close()


def test_later_requests_have_90_percent_of_the_video_cached(real_clips: Path, config, recorder):
    """Per clip and plan, each request but the first finds at least 90 % of the video's tokens in the cache."""
    from transformers import AutoTokenizer

    from videopasta.engine.models import local_path

    tokenizer = AutoTokenizer.from_pretrained(local_path(config.response_model.model))
    video_id = tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
    prompts = load_prompts()

    async def play(work, frames):
        return await play_roles(work, frames, ("query", "response"), recorder, prompts, config, last_role="judge.0")

    num_clips = 0
    for path in sorted(real_clips.glob("*.m*")):
        try:
            clip = decode_clip(ClipRequest(str(path), None, None, views(config), config.decode))
        except VideoError:
            continue
        num_clips += 1
        work = Work(
            entry=ManifestEntry((str(path),), None, None, None), clip_id=clip.clip_id,
            video_sha256=clip.video_sha256, plans=clip.plans,
        )  # fmt: skip
        recorder.answers.clear()
        work = asyncio.run(play(work, clip.frames))
        assert work.failure is None
        assert {calls.plan_key for calls in work.calls} >= {plan.key for plan in clip.plans.values()}
        for plan in clip.plans.values():
            answers = recorder.answers[f"{clip.video_sha256}-{plan.key}"]
            num_tokens = answers[0].prompt_token_ids.count(video_id)
            assert num_tokens == video_tokens(plan)
            before = answers[0].prompt_token_ids.index(video_id)
            in_cache = sorted(min(answer.usage.cached_tokens - before, num_tokens) for answer in answers)
            assert len(in_cache) > 5
            assert in_cache[1] >= 0.9 * num_tokens, (path.name, plan, in_cache)
    assert num_clips >= 8
