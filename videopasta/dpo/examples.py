"""From rows of pairs to what one pass needs: a clip with all its pairs, as trees of tokens. Pure.

In: rows of `pairs/` (videopasta/pairs/schema.py) and a tokenizer. Out: `Tree`s, each at most a budget of tokens long,
that know which answers make which pair. A query's answers stand in the tree once, however many pairs share them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np

from videopasta.config import FailureMode
from videopasta.dpo import packing
from videopasta.dpo.tree import Branch, Flat, flatten
from videopasta.video.plan import FramePlan


@dataclass(frozen=True)
class Pair:
    """A query and its two answers."""

    pair_id: str
    failure_mode: FailureMode
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Clip:
    """A clip as it is seen in training, and its pairs."""

    uri: str
    start_s: float | None
    end_s: float | None
    video_sha256: str
    plan: FramePlan
    """The one with which the preferred answers were given."""
    pairs: tuple[Pair, ...]

    @property
    def key(self) -> str:
        """Equal keys mean equal pixels."""
        return f"{self.video_sha256}-{self.plan.key}"


def group(rows: Iterable[Mapping[str, Any]]) -> list[Clip]:
    """Clips in the order in which they first appear; the same video under two plans makes two."""
    clips: dict[str, Clip] = {}
    pairs: dict[str, list[Pair]] = {}
    for row in rows:
        clip = Clip(
            row["video_uri"], row["start_s"], row["end_s"], row["video_sha256"],
            FramePlan.from_dict(row["chosen_frame_plan"]), (),
        )  # fmt: skip
        clips.setdefault(clip.key, clip)
        pairs.setdefault(clip.key, []).append(
            Pair(row["pair_id"], row["failure_mode"], row["prompt"], row["chosen"], row["rejected"])
        )
    return [replace(clip, pairs=tuple(pairs[key])) for key, clip in clips.items()]


class Encoder(Protocol):
    """A model's tokens and positions."""

    def prefix(self, plan: FramePlan) -> tuple[np.ndarray, np.ndarray]:
        """(P,) ids of the system's turn and the video, and (3, P) positions."""
        ...

    def query(self, prompt: str) -> tuple[int, ...]:
        """From behind the video to the start of the answer."""
        ...

    def answer(self, text: str) -> tuple[int, ...]:
        """With its end token."""
        ...


@dataclass(frozen=True)
class Tree:
    """Some or all pairs of a clip as one sequence."""

    clip: Clip
    flat: Flat
    pairs: tuple[Pair, ...]
    chosen: tuple[int, ...]
    """Of each pair, which of `flat.spans`; likewise the other."""
    rejected: tuple[int, ...]


def trees(clip: Clip, encoder: Encoder, budget: int) -> list[Tree]:
    """The clip's pairs as trees of at most `budget` tokens; more than one only where one does not hold them.

    Raises:
        ValueError: a query with its answers does not fit.
    """
    by_prompt: dict[str, list[Pair]] = {}
    for pair in clip.pairs:
        by_prompt.setdefault(pair.prompt, []).append(pair)
    answers = {
        prompt: list(dict.fromkeys(text for pair in pairs for text in (pair.chosen, pair.rejected)))
        for prompt, pairs in by_prompt.items()
    }
    branches = [Branch(encoder.query(prompt), tuple(map(encoder.answer, texts))) for prompt, texts in answers.items()]
    prefix, positions = encoder.prefix(clip.plan)
    made, unused = [], iter(answers)
    for some in packing.split(len(prefix), branches, budget):
        prompts = list(islice(unused, len(some)))
        at = {(p, text): n for n, (p, text) in enumerate((p, text) for p in prompts for text in answers[p])}
        pairs = tuple(pair for p in prompts for pair in by_prompt[p])
        made.append(
            Tree(
                clip,
                flatten(prefix, positions, some),
                pairs,
                tuple(at[pair.prompt, pair.chosen] for pair in pairs),
                tuple(at[pair.prompt, pair.rejected] for pair in pairs),
            )
        )
    return made


def pack(made: Sequence[Tree], budget: int) -> list[list[Tree]]:
    """The trees in few packs of at most `budget` tokens."""
    return [[made[i] for i in one] for one in packing.pack([len(tree.flat) for tree in made], budget)]
