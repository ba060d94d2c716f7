"""Text positions after a video: transformers' made equal to the engine's.

Qwen2.5-VL's M-RoPE gives each token a position on three axes (time, height, width). Text after a video starts at
the largest position of all three axes plus one: so the paper, transformers 4.57, and vLLM. transformers 5.16 to
5.23 start it at `max(height, width) // merge` instead, whatever the video's length, so a model trained there and
served by vLLM sees shifted text: log-probs differ by up to 1.4, greedy answers in every case (2 cores, float32,
2026-11). With `use_engine_positions()` they agree within 1e-4; tests/dpo/test_agreement.py keeps it so.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch

VIDEO, IMAGE = 2, 1


def use_engine_positions() -> None:
    """Make Qwen2.5-VL in transformers place text after a video where vLLM does. Safe to call twice."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl

    setattr(modeling_qwen2_5_vl.Qwen2_5_VLModel, "get_rope_index", rope_index)  # noqa: B010 - replaces a method


def rope_index(
    self: Any,
    input_ids: torch.Tensor,
    mm_token_type_ids: torch.Tensor,
    image_grid_thw: torch.Tensor | None = None,
    video_grid_thw: torch.Tensor | None = None,
    second_per_grid_ts: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """M-RoPE positions and their offsets; stands in for `Qwen2_5_VLModel.get_rope_index`.

    Args:
        self: the model; gives the vision configuration and the positions inside one image or video.
        input_ids: (B, L) token ids.
        mm_token_type_ids: (B, L); 0 text, 1 image, 2 video.
        image_grid_thw: (number of images, 3) patches in time, height, width.
        video_grid_thw: (number of videos, 3), likewise.
        second_per_grid_ts: (number of videos,) seconds between the merged frames.
        attention_mask: (B, L); 0 where padded.

    Returns:
        (3, B, L) positions, and (B, 1) next position minus length, from which generation continues.
    """
    vision = self.config.vision_config
    merge = vision.spatial_merge_size
    grids: dict[int, Iterator[torch.Tensor]] = {
        IMAGE: iter(image_grid_thw if image_grid_thw is not None else ()),
        VIDEO: iter(video_grid_thw if video_grid_thw is not None else ()),
    }
    seconds = itertools.repeat(1.0) if second_per_grid_ts is None else iter(second_per_grid_ts)
    device = input_ids.device
    positions = torch.zeros(3, *input_ids.shape, dtype=torch.long, device=device)
    deltas = []
    for b, row_types in enumerate(mm_token_type_ids):
        kept = torch.ones_like(row_types, dtype=torch.bool) if attention_mask is None else attention_mask[b].bool()
        start, parts = 0, []
        for kind, run in itertools.groupby(row_types[kept].tolist()):
            length = len(list(run))
            if kind not in grids:
                parts.append(torch.arange(length, device=device).expand(3, -1) + start)
                start += length
                continue
            # One run of vision tokens may hold several adjacent images or videos.
            while length > 0:
                interval = vision.tokens_per_second * next(seconds) if kind == VIDEO else 1
                part = self.get_vision_position_ids(start, next(grids[kind]), 1, merge, interval, device=device)
                parts.append(part)
                length -= part.shape[1]
                start = int(part.max()) + 1
        row = torch.cat(parts, dim=1).to(positions.dtype)
        positions[:, b, kept] = row
        deltas.append(int(row.max()) + 1 - row.shape[1])
    return positions, torch.tensor(deltas, device=device).unsqueeze(1)
