"""Arithmetic of a packed pass, for the utilisation of a GPU. Pure, but for the model's sizes."""

import torch

from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.tree import Flat

PEAK_BF16 = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
"""Dense bfloat16 operations per second by a part of the device's name, from NVIDIA's data sheets (SXM)."""


def peak_flops(device: torch.device) -> float | None:
    """What the device could do per second; None where that is not known, and on a CPU."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAK_BF16.items() if part in name), None)


def flops_of(video: QwenVideo, flat: Flat) -> float:
    """Operations of the language model's pass and its way back over one sequence.

    Two per weight and token forwards; backwards as many for the activations, and as many again for the weights that
    are trained. Attention counts only the tokens that see each other. What activation checkpointing computes again
    does not count (PaLM's model FLOPs, Chowdhery et al. 2022, appendix B).
    """
    layers = video.language.text.layers
    size = sum(p.numel() for p in layers.parameters() if p.ndim == 2)
    trained = sum(p.numel() for p in layers.parameters() if p.ndim == 2 and p.requires_grad)
    config = video.model.config.text_config
    answered = sum(span.end - span.start for span in flat.spans)
    head = config.vocab_size * config.hidden_size * answered
    seen = float((flat.subtree_end - torch.arange(len(flat)).numpy()).sum())
    attention = 4 * config.num_hidden_layers * config.hidden_size * seen
    return 2 * (2 * size + trained) * len(flat) + 2 * 2 * head + 3 * attention
