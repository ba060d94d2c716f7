"""On a GPU: each attention of the packed pass gives the dense mask's log-probs and gradients."""

import random

import pytest
import torch

from tests.dpo.test_packed import load, make_clip
from videopasta.dpo.attention import IMPLEMENTATIONS
from videopasta.dpo.examples import trees
from videopasta.dpo.rope import use_engine_positions
from videopasta.dpo.step import speak

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("attention", ["tree", "flex"])
def test_attentions_agree_forwards_and_backwards(attention, dtype, tolerance):
    """Several clips in a sequence, grouped heads, the relative error of log-probs and of the whole gradient."""
    use_engine_positions()
    rng = random.Random(0)
    clips = [make_clip(rng, n, 4) for n in range(2)]
    found = {}
    for name in ("dense", attention):
        model = load(IMPLEMENTATIONS[name])
        model.model.to("cuda", dtype)
        features = {clip.key: model.features(frames) for clip, frames in clips}
        made = [tree for clip, _ in clips for tree in trees(clip, model, 10_000)]
        logps = speak(model, made, features)
        (logps.chosen.sum() - 0.5 * logps.rejected.sum()).backward()
        parameters = model.model.model.language_model.parameters()
        gradient = torch.cat([p.grad.flatten().float() for p in parameters if p.grad is not None])
        found[name] = (torch.cat([logps.chosen, logps.rejected]).detach(), gradient)
    for one, other in zip(found["dense"], found[attention], strict=True):
        assert (one - other).norm() / one.norm() < tolerance
