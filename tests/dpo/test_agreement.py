"""The trainer's log-probs equal the engine's: same frames, same tokens, same numbers."""

import asyncio

import numpy as np
import pytest
import torch

from videopasta.config import DecodeConfig, SamplingConfig, UniformPlan, VllmModel
from videopasta.dpo.rope import use_engine_positions
from videopasta.engine import Request, Video, start_engine
from videopasta.engine.models import local_path
from videopasta.video import ClipRequest, decode_clip

MODEL = "tiny:random-vl"


@pytest.fixture(scope="module")
def clip(real_clips):
    """32 frames of a real video, as generation sees them."""
    decoded = decode_clip(
        ClipRequest(
            str(real_clips / "bottle-detection.mp4"), None, None, {"dense": UniformPlan()},
            DecodeConfig(pixels={"min_pixels": 28 * 28 * 16, "max_pixels": 28 * 28 * 48}),
        )
    )  # fmt: skip
    plan = decoded.plans["dense"]
    return Video(decoded.frames[plan.key], plan.sampled_fps, f"{decoded.video_sha256}-{plan.key}")


@pytest.fixture(scope="module")
def answers(clip):
    """Ten greedy answers of the engine with their log-probs."""
    engine = start_engine(VllmModel(model=MODEL, dtype="float32", max_model_len=4096, enforce_eager=True), video=True)
    sampling = SamplingConfig(temperature=0.0, max_tokens=24)

    async def ask():
        requests = [Request(f"Question {i}: what happens?", sampling, i, clip, top_logprobs=0) for i in range(10)]
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    result = asyncio.run(ask())
    engine.close()
    return result


def transformers_logprobs(clip: Video, prompt_ids: list[int], answer_ids: list[int]) -> torch.Tensor:
    """Log-probs of `answer_ids` after `prompt_ids`, (length of the answer,), float32."""
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration
    from transformers.video_utils import VideoMetadata

    path = local_path(MODEL)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(path).video_processor
    count = len(clip.frames)
    metadata = VideoMetadata(fps=clip.sampled_fps, total_num_frames=count, frames_indices=list(range(count)))
    vision = processor(
        [clip.frames], video_metadata=[metadata], do_sample_frames=False, do_resize=False, return_tensors="pt"
    )
    ids = torch.tensor([[*prompt_ids, *answer_ids]])
    with torch.no_grad():
        logits = model(
            input_ids=ids,
            mm_token_type_ids=(ids == model.config.video_token_id).long() * 2,
            pixel_values_videos=vision["pixel_values_videos"],
            video_grid_thw=vision["video_grid_thw"],
            second_per_grid_ts=torch.tensor([2 / clip.sampled_fps]),
        ).logits[0, -len(answer_ids) - 1 : -1]
    return logits.log_softmax(-1).gather(-1, torch.tensor(answer_ids)[:, None])[:, 0]


def test_transformers_and_vllm_agree_within_1e_4(clip, answers):
    """float32 log-probs of ten answers about a real clip differ by less than 1e-4 per token."""
    use_engine_positions()
    worst = 0.0
    for answer in answers:
        ids = [token.id for token in answer.tokens]
        ours = transformers_logprobs(clip, list(answer.prompt_token_ids), ids)
        worst = max(worst, float(np.abs(ours.numpy() - [token.logprob for token in answer.tokens]).max()))
    assert worst < 1e-4


def test_without_the_mending_they_do_not(clip, answers, monkeypatch):
    """The test above can fail: transformers' own positions give other log-probs."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

    fresh = _original_rope_index()
    monkeypatch.setattr(modeling_qwen2_5_vl.Qwen2_5_VLModel, "get_rope_index", fresh)
    answer = answers[0]
    ours = transformers_logprobs(clip, list(answer.prompt_token_ids), [token.id for token in answer.tokens])
    assert float(np.abs(ours.numpy() - [token.logprob for token in answer.tokens]).max()) > 1e-2


def _original_rope_index():
    import importlib.util

    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

    spec = importlib.util.spec_from_file_location(modeling_qwen2_5_vl.__name__, modeling_qwen2_5_vl.__file__)
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    return fresh.Qwen2_5_VLModel.get_rope_index
