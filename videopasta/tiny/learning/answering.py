"""What a small model says: greedy answers to many prompts about many clips, without an engine.

In: a model, scenes, the moments at which they are seen, prompts. Out: texts. This path needs no files and serves
training and examination.
"""

from collections.abc import Sequence
from typing import Any

import torch

from videopasta.tiny.learning import forward
from videopasta.tiny.learning.lessons import Lesson
from videopasta.tiny.learning.packing import Packer
from videopasta.tiny.learning.samples import DENSE, Sample, features_of, packed
from videopasta.tiny.world import Scene

MAX_TOKENS = 40


def answer(
    model: Any,
    packer: Packer,
    asked: Sequence[Sequence[Lesson]],
    chosen: Sequence[Scene] = (),
    ticks: Sequence[int] = DENSE,
    *,
    batch_size: int = 16,
    max_tokens: int = MAX_TOKENS,
) -> list[list[str]]:
    """Greedy answers to the prompts of `asked`, row by row: a row for each of the scenes, or no scene to be seen.

    Args:
        model: the response model, or the judge.
        packer: of its tokenizer.
        asked: prompts; their answers are not looked at.
        chosen: what is seen, a scene for each row.
        ticks: when it is seen.
        batch_size: rows at once.
        max_tokens: longest answer.
    """
    model.eval()
    generator = torch.Generator().manual_seed(0)
    texts: list[list[str]] = []
    for start in range(0, len(asked), batch_size):
        part, prompts = chosen[start : start + batch_size], asked[start : start + batch_size]
        sample = Sample(part, [ticks] * len(part), prompts)
        with torch.no_grad():
            features = features_of(model, sample, noise=0.0, generator=generator)
        batch = packed(packer, sample).to(model.device)
        ids = forward.decode(model, batch, features, max_tokens=max_tokens, end_id=packer.end_id)
        texts += [[packer.text(ids_) for ids_ in row[: len(of)]] for row, of in zip(ids.tolist(), prompts, strict=True)]
    return texts
