"""One packed pass equals a pass per answer: log-probs, loss and gradients."""

import random

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from videopasta.config.train import LossConfig
from videopasta.dpo.attention import IMPLEMENTATIONS, register
from videopasta.dpo.examples import Clip, Pair, pack, trees
from videopasta.dpo.loss import PairLogps, batch_loss, pair_losses
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.rope import use_engine_positions
from videopasta.dpo.step import speak
from videopasta.engine.models import local_path
from videopasta.video.plan import FramePlan

WORDS = ("the ball rolls", "and then", "red", "a door", "opens", "behind", "a small table", "nobody looks", "left")


def load(attention: str) -> QwenVideo:
    register()
    folder = local_path("tiny:random-vl")
    loaded = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation={"text_config": attention, "vision_config": "sdpa"}
    )
    return QwenVideo(loaded.eval(), AutoProcessor.from_pretrained(folder))


@pytest.fixture
def model() -> QwenVideo:
    """As transformers has it."""
    return load("sdpa")


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(3, 12)))


def make_clip(rng: random.Random, number: int, num_pairs: int) -> tuple[Clip, np.ndarray]:
    """A clip of 8 frames of noise with pairs of 3 a query, which share their chosen answer."""
    plan = FramePlan(tuple(range(number, number + 8)), tuple(map(float, range(8))), 1.0, 84, 56, "pyav")
    pairs = []
    for n in range(num_pairs):
        if n % 3 == 0:
            prompt, chosen = sentence(rng), sentence(rng)
        pairs.append(Pair(f"{number}-{n}", "spatial", prompt, chosen, sentence(rng)))
    frames = np.random.default_rng(number).integers(0, 255, (8, 84, 56, 3), dtype=np.uint8)
    return Clip(f"{number}.mp4", None, None, f"sha{number}", plan, tuple(pairs)), frames


def plain_logp(model: QwenVideo, clip: Clip, frames: np.ndarray, prompt: str, answer: str) -> torch.Tensor:
    """Transformers' own forward pass on a conversation of its own, through its processor."""
    processor = model.processor
    text = processor.tokenizer.apply_chat_template(
        [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": prompt}]}],
        tokenize=False, add_generation_prompt=True,
    )  # fmt: skip
    inputs = processor(text=[f"{text}{answer}<|im_end|>"], videos=[frames], do_sample_frames=False, do_resize=False,
                       return_tensors="pt")  # fmt: skip
    ids = inputs["input_ids"]
    logits = model.model(
        input_ids=ids,
        mm_token_type_ids=(ids == model.model.config.video_token_id).long() * 2,
        pixel_values_videos=inputs["pixel_values_videos"],
        video_grid_thw=inputs["video_grid_thw"],
        second_per_grid_ts=torch.tensor([2 / clip.plan.sampled_fps]),
    ).logits[0]
    count = len(processor.tokenizer(answer)["input_ids"]) + 1
    logps = logits[-count - 1 : -1].log_softmax(-1)
    return logps.gather(-1, ids[0, -count:, None]).sum()


def loss_and_gradient(model: QwenVideo, chosen, rejected, lengths) -> tuple[float, torch.Tensor]:
    """With the reference 0.3 below the policy on one side."""
    config = LossConfig()
    reference = chosen.detach() - 0.3, rejected.detach()
    losses = pair_losses(PairLogps(chosen, rejected, *reference, lengths[0], lengths[1]), config)
    total = batch_loss(losses, torch.ones(len(chosen)), num_pairs=len(chosen),
                       num_chosen_tokens=int(lengths[0].sum()), rpo_alpha=1.0)  # fmt: skip
    model.model.zero_grad()
    total.backward()
    parameters = model.model.model.language_model.parameters()
    return total.item(), torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


@pytest.mark.parametrize("attention", ["tree", "dense"])
@pytest.mark.parametrize(("pairs_per_clip", "num_clips"), [(1, 1), (3, 2), (10, 3)])
def test_packed_equals_plain(model, attention, pairs_per_clip, num_clips):
    """Loss within 1e-5 and gradients within 1e-4 of a conversation per answer, several clips to a pack."""
    use_engine_positions()
    packed = load(IMPLEMENTATIONS[attention])
    rng = random.Random(pairs_per_clip)
    clips = [make_clip(rng, n, pairs_per_clip) for n in range(num_clips)]
    features = {clip.key: packed.features(frames) for clip, frames in clips}
    made = [tree for clip, _ in clips for tree in trees(clip, packed, 10_000)]
    (together,) = pack(made, 10_000)
    spoken = speak(packed, together, features)
    lengths = spoken.chosen_tokens, spoken.rejected_tokens
    packed_loss, packed_gradient = loss_and_gradient(packed, spoken.chosen, spoken.rejected, lengths)

    of_clip = {clip.key: (clip, frames) for clip, frames in clips}
    plain = [
        [plain_logp(model, *of_clip[tree.clip.key], pair.prompt, text) for text in (pair.chosen, pair.rejected)]
        for tree in together
        for pair in tree.pairs
    ]
    chosen, rejected = (torch.stack(side) for side in zip(*plain, strict=True))
    torch.testing.assert_close(spoken.chosen, chosen, atol=1e-4, rtol=1e-6)
    torch.testing.assert_close(spoken.rejected, rejected, atol=1e-4, rtol=1e-6)
    loss, gradient = loss_and_gradient(model, chosen, rejected, lengths)
    assert packed_loss == pytest.approx(loss, abs=1e-5)
    assert (packed_gradient - gradient).norm() / gradient.norm() < 1e-4


def test_flex_attention_sees_what_the_others_see(model):
    """FlexAttention's block mask, forwards on this processor (it has no way back there): equal log-probs."""
    use_engine_positions()
    rng = random.Random(5)
    clips = [make_clip(rng, n, 4) for n in range(2)]
    features = {clip.key: model.features(frames) for clip, frames in clips}
    made = [tree for clip, _ in clips for tree in trees(clip, model, 10_000)]
    with torch.no_grad():
        dense, flex = (speak(load(IMPLEMENTATIONS[name]), made, features) for name in ("dense", "flex"))
    torch.testing.assert_close(flex.chosen, dense.chosen, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(flex.rejected, dense.rejected, atol=1e-4, rtol=1e-5)
