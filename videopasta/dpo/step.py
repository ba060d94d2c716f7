"""One pass over a pack: the log-probs of its pairs. Needs no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from videopasta.dpo.examples import Tree
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.tree import join


@dataclass(frozen=True)
class Spoken:
    """Log-probs of a pack's pairs, in the order of its trees and their pairs. All (P,)."""

    chosen: torch.Tensor
    """Summed over the answer's tokens; likewise the other."""
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    """With the end token."""
    rejected_tokens: torch.Tensor


def speak(model: QwenVideo, pack: Sequence[Tree], features: Mapping[str, torch.Tensor]) -> Spoken:
    """One pass for all pairs of a pack.

    Args:
        model: policy or reference.
        pack: trees that fit the memory together.
        features: (V, D) of each clip, by `Clip.key`.
    """
    flat = join([tree.flat for tree in pack])
    logps = model.answer_logps(flat, torch.cat([features[tree.clip.key] for tree in pack]))
    lengths = torch.tensor([span.end - span.start for span in flat.spans], device=logps.device)
    chosen, rejected, first = [], [], 0
    for tree in pack:
        chosen += [first + n for n in tree.chosen]
        rejected += [first + n for n in tree.rejected]
        first += len(tree.flat.spans)
    return Spoken(logps[chosen], logps[rejected], lengths[chosen], lengths[rejected])
