"""One clip, many lessons: the video is read once, and each lesson continues from there.

In: lessons per clip. Out: token ids, labels and M-RoPE positions of the common prefix (system, video, preamble)
and of the lessons. The result equals one conversation per lesson, at a fraction of the work.

Shapes: B clips, N lessons of each, P tokens of the prefix, T tokens of the longest lesson, S time steps of the
video (pairs of frames).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from videopasta.tiny.architectures import MERGE, PATCH
from videopasta.tiny.learning.lessons import Lesson, preamble
from videopasta.tiny.render import MODEL_SIZE

IGNORED = -100
GRID = MODEL_SIZE // (PATCH * MERGE)
"""Tokens a side of a frame."""


@dataclass(frozen=True)
class Batch:
    """Input of one pass."""

    prefix_ids: torch.Tensor
    """(P,): the same for all clips but for what is seen."""
    prefix_positions: torch.Tensor
    """(3, P): time, height, width."""
    is_video: torch.Tensor
    """(P,) bool: where the vision features go."""
    ids: torch.Tensor
    """(B, N, T), padded behind."""
    labels: torch.Tensor
    """(B, N, T): the answers' tokens, `IGNORED` elsewhere."""
    prompt_lengths: torch.Tensor
    """(B, N): tokens before the answer."""
    positions: torch.Tensor
    """(T,): of text, all three axes equal."""

    def to(self, device: torch.device) -> "Batch":
        """The same on `device`."""
        return Batch(**{name: tensor.to(device) for name, tensor in vars(self).items()})


class Packer:
    """Encodes lessons with one tokenizer and packs them."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._memory: dict[Lesson, tuple[list[int], list[int], int]] = {}
        self._before = self._encode("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n")
        self._start, self._video, self._end = self._encode("<|vision_start|><|video_pad|><|vision_end|>")
        self._preamble = self._encode(preamble())

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        end: int = self._tokenizer.eos_token_id
        return end

    def text(self, ids: list[int]) -> str:
        """What an answer's tokens say, up to its end."""
        kept = ids[: ids.index(self.end_id)] if self.end_id in ids else ids
        text: str = self._tokenizer.decode(kept, skip_special_tokens=True)
        return text

    def encode(self, lesson: Lesson) -> tuple[list[int], list[int], int]:
        """Tokens, as many labels, and how many of them are the prompt's with the turn's end."""
        if lesson not in self._memory:
            if len(self._memory) > 100_000:
                self._memory.clear()
            prompt = self._encode(f"{lesson.prompt}<|im_end|>\n<|im_start|>assistant\n")
            answer = self._encode(lesson.answer)
            ids, labels = prompt + answer, [IGNORED] * len(prompt) + answer
            for read, answered in lesson.further:
                read_ids, answer = self._encode(read), self._encode(answered)
                ids, labels = ids + read_ids + answer, labels + [IGNORED] * len(read_ids) + answer
            self._memory[lesson] = ([*ids, self.end_id], [*labels, self.end_id], len(prompt))
        return self._memory[lesson]

    def pack(self, lessons: Sequence[Sequence[Lesson]], *, num_steps: int, seconds_per_step: float = 0.5) -> Batch:
        """`lessons` per clip, each clip `num_steps` time steps long; 0: without a video."""
        ids, positions = self._prefix(num_steps, seconds_per_step)
        encoded = [[self.encode(lesson) for lesson in row] for row in lessons]
        shape = len(lessons), max(map(len, lessons)), max(len(one[0]) for row in encoded for one in row)
        all_ids, labels = np.full(shape, self._tokenizer.pad_token_id), np.full(shape, IGNORED)
        lengths = np.ones(shape[:2], dtype=np.int64)
        for b, row in enumerate(encoded):
            for n, (token_ids, taught, prompt_length) in enumerate(row):
                all_ids[b, n, : len(token_ids)] = token_ids
                labels[b, n, : len(taught)] = taught
                lengths[b, n] = prompt_length
        return Batch(
            prefix_ids=torch.tensor(ids),
            prefix_positions=torch.from_numpy(positions),
            is_video=torch.tensor(ids) == self._video,
            ids=torch.from_numpy(all_ids),
            labels=torch.from_numpy(labels),
            prompt_lengths=torch.from_numpy(lengths),
            positions=torch.arange(shape[2]) + positions.max() + 1,
        )

    def _prefix(self, num_steps: int, seconds_per_step: float) -> tuple[list[int], np.ndarray]:
        """Ids and (3, P) positions."""
        ids = list(self._before)
        if not num_steps:
            return ids, np.tile(np.arange(len(ids)), (3, 1))
        ids.append(self._start)
        # As in Qwen2.5-VL: two positions a second on the axis of time, whole ones.
        time = (np.arange(num_steps) * seconds_per_step * 2).astype(int)
        side = np.arange(GRID)
        grid = np.stack(np.meshgrid(time, side, side, indexing="ij")).reshape(3, -1) + len(ids)
        after = [self._end, *self._preamble]
        positions = [
            np.tile(np.arange(len(ids)), (3, 1)),
            grid,
            np.tile(grid.max() + 1 + np.arange(len(after)), (3, 1)),
        ]
        return ids + [self._video] * grid.shape[1] + after, np.concatenate(positions, axis=1)
