"""Attention over prefix trees, as transformers calls it.

    tree   per clip, the trunk (system, video) by the causal kernel, which needs no mask, and what branches off by a
           mask of its few rows; nothing is computed between clips. On any device.
    dense  one mask of all tokens by all tokens: simple, and the yardstick of the others
    flex   FlexAttention's block mask, compiled on a GPU; transformers' own way to it leaves Qwen2.5-VL out

A step of two clips of 1,100 tokens takes 1.0 s by `tree`, 1.7 s by `dense` (benchmarks/dpo.py, 2 cores, 2026-11-25).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from videopasta.dpo.tree import Flat, dense_mask

Attention = Literal["tree", "dense", "flex"]
IMPLEMENTATIONS: dict[Attention, str] = {"tree": "videopasta_tree", "dense": "sdpa", "flex": "videopasta_flex"}
"""Names under which transformers knows them, once `register` was called."""


@dataclass(frozen=True)
class Part:
    """One tree of a sequence: tokens `start` to `end`, of which those before `trunk_end` are a plain sequence."""

    start: int
    trunk_end: int
    end: int
    seen: torch.Tensor
    """(1, 1, R, end - start) bool: what each of the R tokens behind the trunk sees."""


def parts_of(flat: Flat, device: torch.device) -> tuple[Part, ...]:
    """The trees of a sequence, one behind the other."""
    found, start = [], 0
    while start < len(flat):
        end = int(flat.subtree_end[start])
        ends = flat.subtree_end[start:end]
        branches = np.flatnonzero(ends != end)
        trunk_end = start + (int(branches[0]) if len(branches) else end - start)
        rows, columns = np.arange(trunk_end, end), np.arange(start, end)
        seen = (columns[None, :] <= rows[:, None]) & (rows[:, None] < ends[None, :])
        found.append(Part(start, trunk_end, end, torch.from_numpy(seen).to(device)[None, None]))
        start = end
    return tuple(found)


def mask_of(flat: Flat, implementation: str, device: torch.device) -> Any:
    """Who sees whom in a sequence, as the attention of that name takes it."""
    if implementation == IMPLEMENTATIONS["tree"]:
        return parts_of(flat, device)
    if implementation == IMPLEMENTATIONS["dense"]:
        return torch.from_numpy(dense_mask(flat)).to(device)[None, None]
    end = torch.from_numpy(flat.subtree_end).to(device)

    def sees(b: Any, h: Any, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (k <= q) & (q < end[k])

    return create_block_mask(sees, None, None, len(flat), len(flat), device=str(device))


def tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: tuple[Part, ...],
    *,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """(1, L, heads, width) of queries (1, heads, L, width) and keys and values of as many, or a divisor's, heads."""
    groups = query.shape[1] // key.shape[1]
    # Grouped heads with a mask would fall back to a kernel that writes all scores down.
    key, value = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key, value))

    def attend(q: slice, k: slice, mask: torch.Tensor | None) -> torch.Tensor:
        return scaled_dot_product_attention(
            query[:, :, q],
            key[:, :, k],
            value[:, :, k],
            attn_mask=mask,
            is_causal=mask is None,
            scale=scaling,
            dropout_p=dropout,
        )

    outputs = []
    for part in attention_mask:
        trunk = slice(part.start, part.trunk_end)
        outputs.append(attend(trunk, trunk, None))
        if part.trunk_end < part.end:
            outputs.append(attend(slice(part.trunk_end, part.end), slice(part.start, part.end), part.seen))
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def block_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    *,
    scaling: float,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """As `tree_attention`, with a BlockMask."""
    attend = _compiled() if query.is_cuda else flex_attention
    output: Any = attend(
        query, key, value, block_mask=attention_mask, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
    )
    return output.transpose(1, 2), None


@cache
def _compiled() -> Any:
    """For sequences of any length: a kernel for each would be compiled over and over."""
    return torch.compile(flex_attention, dynamic=True)


def register() -> None:
    """Make `tree` and `flex` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(IMPLEMENTATIONS["tree"], tree_attention)
    AttentionInterface.register(IMPLEMENTATIONS["flex"], block_attention)
