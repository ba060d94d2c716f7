"""From rows of pairs to what one pass needs: a clip with all its pairs, as trees of tokens. Pure.

In: rows of `pairs/` (videopasta/pairs/schema.py) and a tokenizer. Out: `Tree`s, each at most a budget of tokens long,
that know which answers make which pair. A query's answers stand in the tree once, however many pairs share them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, Protocol

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

    def content_of(self, pair: Pair) -> str:
        """32 hex digits of all that the log-probs of a pair's answers depend on, beside the model."""
        content = json.dumps([self.key, pair.prompt, pair.chosen, pair.rejected])
        return hashlib.sha256(content.encode()).hexdigest()[:32]


Prompts = Literal["aligned", "adversarial", "both"]
"""Which query the answers follow, as `TrainConfig.prompts`."""


def group(rows: Iterable[Mapping[str, Any]], prompts: Prompts = "aligned", template: str = "{prompt}") -> list[Clip]:
    """Clips and their pairs in the order of their ids, whatever the rows' order.

    The same video under two frame plans makes two. A pair that follows its adversarial query has a pair_id of its own.
    `template` as `TrainConfig.prompt_template`.
    """
    clips: dict[str, Clip] = {}
    pairs: dict[str, list[Pair]] = {}
    for row in rows:
        clip = Clip(
            row["video_uri"], row["start_s"], row["end_s"], row["video_sha256"],
            FramePlan.from_dict(row["chosen_frame_plan"]), (),
        )  # fmt: skip
        clips.setdefault(clip.key, clip)
        asked = {"aligned": (row["pair_id"], row["prompt"])} if prompts != "adversarial" else {}
        if prompts != "aligned" and row["adversarial_query"]:
            asked["adversarial"] = (f"{row['pair_id']}/adversarial", row["adversarial_query"])
        pairs.setdefault(clip.key, []).extend(
            Pair(pair_id, row["failure_mode"], template.replace("{prompt}", text), row["chosen"], row["rejected"])
            for pair_id, text in asked.values()
        )
    return [
        replace(clips[key], pairs=tuple(sorted(pairs[key], key=lambda pair: pair.pair_id)))
        for key in sorted(clips)
        if pairs[key]
    ]


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
        ValueError: a pair does not fit.
    """
    prefix, positions = encoder.prefix(clip.plan)
    twigs = [twig for pairs in _by_prompt(clip.pairs) for twig in _twigs(pairs, encoder, budget - len(prefix))]
    made, unused = [], iter(twigs)
    for branches in packing.split(len(prefix), [twig.branch for twig in twigs], budget):
        chosen: list[int] = []
        rejected: list[int] = []
        pairs: list[Pair] = []
        first = 0
        for twig in islice(unused, len(branches)):
            at = {text: first + n for n, text in enumerate(twig.texts)}
            pairs += twig.pairs
            chosen += [at[pair.chosen] for pair in twig.pairs]
            rejected += [at[pair.rejected] for pair in twig.pairs]
            first += len(twig.texts)
        flat = flatten(prefix, positions, branches)
        made.append(Tree(clip, flat, tuple(pairs), tuple(chosen), tuple(rejected)))
    return made


@dataclass(frozen=True)
class _Twig:
    """A query, some of its pairs, and their different answers."""

    branch: Branch
    pairs: tuple[Pair, ...]
    texts: tuple[str, ...]


def _by_prompt(pairs: Iterable[Pair]) -> list[list[Pair]]:
    found: dict[str, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.prompt, []).append(pair)
    return list(found.values())


def _twigs(pairs: Sequence[Pair], encoder: Encoder, room: int) -> list[_Twig]:
    """The pairs of a query as one branch; as several, each with the query, where their answers exceed `room`."""
    query = encoder.query(pairs[0].prompt)
    groups: list[tuple[list[Pair], dict[str, tuple[int, ...]]]] = []
    for pair in pairs:
        answers = {text: encoder.answer(text) for text in (pair.chosen, pair.rejected)}
        together = {**groups[-1][1], **answers} if groups else {}
        if groups and len(query) + sum(map(len, together.values())) <= room:
            groups[-1] = ([*groups[-1][0], pair], together)
        else:
            groups.append(([pair], answers))
    return [_Twig(Branch(query, tuple(answers.values())), tuple(some), tuple(answers)) for some, answers in groups]


def pack(made: Sequence[Tree], budget: int) -> list[list[Tree]]:
    """The trees in few packs of at most `budget` tokens."""
    return [[made[i] for i in one] for one in packing.pack([len(tree.flat) for tree in made], budget)]
