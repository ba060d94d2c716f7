"""What the small models compute, many clips and lessons at once: equal to transformers', which goes one by one.

Shapes as in `packing`: B clips, N lessons of each, T tokens of the longest lesson.
"""

from typing import Any

import torch

from videopasta.tiny.architectures import MERGE, PATCH
from videopasta.tiny.learning.packing import Batch

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of Qwen2.5-VL's video processor, for pixels from 0 to 1."""


def patches(pairs: torch.Tensor) -> torch.Tensor:
    """Pixels as Qwen's video processor lays them out.

    Args:
        pairs: float (N, 2, H, W, 3), RGB from 0 to 255.

    Returns:
        (N, patches of a pair, 2 * 3 * 14 * 14), merged patches adjacent.
    """
    num, _, height, width, _ = pairs.shape
    mean, std = (torch.tensor(x) * 255 for x in (MEAN, STD))
    x = ((pairs - mean) / std).permute(0, 1, 4, 2, 3)
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    x = x.view(num, 2, 3, rows, MERGE, PATCH, columns, MERGE, PATCH)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(num, rows * columns * MERGE**2, -1)


def see(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower over many pairs of frames at once: transformers' own loops over each.

    Args:
        visual: a `Qwen2_5_VisionTransformerPretrainedModel`, its window as large as a frame.
        pixels: (N, P, C) of `patches`.

    Returns:
        (N, P / 4, D) features.
    """
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

    num, num_patches, _ = pixels.shape
    side = round((num_patches / MERGE**2) ** 0.5)
    x = visual.patch_embed(pixels.reshape(num * num_patches, -1)).view(num, num_patches, -1)
    angles = _rotary(visual, side * MERGE)
    cos, sin = angles.cos(), angles.sin()
    for block in visual.blocks:
        attention = block.attn
        q, k, v = attention.qkv(block.norm1(x)).view(num, num_patches, 3, attention.num_heads, -1).unbind(2)
        q, k = apply_rotary_pos_emb_vision(q.flatten(0, 1), k.flatten(0, 1), cos.repeat(num, 1), sin.repeat(num, 1))
        q, k = (z.view_as(v) for z in (q, k))
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + attention.proj(mixed.transpose(1, 2).reshape(num, num_patches, -1))
        x = x + block.mlp(block.norm2(x))
    features: torch.Tensor = visual.merger(x.reshape(num * num_patches, -1))
    return features.view(num, num_patches // MERGE**2, -1)


def _rotary(visual: Any, side: int) -> torch.Tensor:
    """(P, head size) angles of one frame's patches, `side` a side."""
    frequencies = visual.rotary_pos_emb.inv_freq
    rows, columns = torch.meshgrid(2 * [torch.arange(side, device=frequencies.device)], indexing="ij")
    merged = [
        a.reshape(side // MERGE, MERGE, side // MERGE, MERGE).transpose(1, 2).reshape(-1, 1) for a in (rows, columns)
    ]
    angles = torch.cat([a * frequencies for a in merged], dim=-1)
    return torch.cat([angles, angles], dim=-1).float()


def read(model: Any, batch: Batch, features: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
    """The last hidden states of the lessons, (B, N, T, D), and the cache of all keys and values, for decoding.

    Args:
        model: the Qwen2.5-VL or the Qwen2 of `models`.
        batch: B clips with N lessons each.
        features: (B, video tokens, D) of `see`; None without a video.
    """
    from transformers import DynamicCache

    is_vl = hasattr(model.model, "language_model")
    text = model.model.language_model if is_vl else model.model
    num_clips, num_lessons, length = batch.ids.shape
    prefix = text.embed_tokens(batch.prefix_ids).expand(num_clips, -1, -1)
    if features is not None:
        prefix = prefix.masked_scatter(batch.is_video[None, :, None], features)
    at = batch.prefix_positions[:, None].expand(-1, num_clips, -1)
    cache = text(
        inputs_embeds=prefix,
        attention_mask={"full_attention": _causal(prefix)},
        position_ids=at if is_vl else at[0],
        past_key_values=DynamicCache(),
        use_cache=True,
    ).past_key_values
    cache.batch_repeat_interleave(num_lessons)
    at = batch.positions.expand(3, num_clips * num_lessons, -1)
    told = text.embed_tokens(batch.ids.flatten(0, 1))
    hidden = text(
        inputs_embeds=told,
        attention_mask={"full_attention": _causal(told, before=prefix.shape[1])},
        position_ids=at if is_vl else at[0],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden.view(num_clips, num_lessons, length, -1), cache


@torch.no_grad()
def decode(model: Any, batch: Batch, features: torch.Tensor | None, *, max_tokens: int, end_id: int) -> torch.Tensor:
    """Greedy answers to a batch's prompts.

    Args:
        model: the Qwen2.5-VL or the Qwen2 of `models`.
        batch: B clips with N lessons each; their answers are not looked at.
        features: as for `read`.
        max_tokens: longest answer.
        end_id: the token that ends an answer.

    Returns:
        (B, N, A) token ids, A at most `max_tokens`; what follows an end token means nothing.
    """
    text = model.model.language_model if hasattr(model.model, "language_model") else model.model
    is_vl = text is not model.model
    num_clips, num_lessons, length = batch.ids.shape
    hidden, cache = read(model, batch, features)
    lengths = batch.prompt_lengths.flatten()
    last = hidden.flatten(0, 1)[torch.arange(len(lengths)), lengths - 1]
    # What stands behind a prompt in `batch.ids`, its answer and padding, is in the cache: hidden from all that follows.
    seen = lengths.new_ones(len(lengths), batch.prefix_ids.shape[0] + length, dtype=torch.bool)
    seen[:, -length:] = torch.arange(length, device=lengths.device) < lengths[:, None]
    written, ended = [], torch.zeros_like(lengths, dtype=torch.bool)
    for step in range(max_tokens):
        token = model.lm_head(last).argmax(-1)
        written.append(token)
        ended |= token == end_id
        if ended.all():
            break
        seen = torch.nn.functional.pad(seen, (0, 1), value=True)
        at = (batch.positions[0] + lengths + step)[None, :, None].expand(3, -1, -1)
        last = text(
            inputs_embeds=text.embed_tokens(token[:, None]),
            attention_mask={"full_attention": seen[:, None, None]},
            position_ids=at if is_vl else at[0],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, 0]
    return torch.stack(written, dim=1).view(num_clips, num_lessons, -1)


def _causal(inputs: torch.Tensor, before: int = 0) -> torch.Tensor:
    """(1, 1, T, before + T) bool of `inputs` (B, T, D) behind a cache of `before` tokens."""
    length = inputs.shape[1]
    return inputs.new_ones(length, before + length, dtype=torch.bool).tril(before)[None, None]
