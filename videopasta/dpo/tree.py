"""All pairs of a clip as one sequence. Pure.

    system + video | query 1 | chosen | rejected | rejected | query 2 | chosen | ...

A token attends to its own segment and to its ancestors: an answer to its query and the video, never to its
siblings. Depth first, the descendants of a segment follow it without a gap, so the whole mask is one number a token:
where the subtree of its segment ends. Token q sees token k when k <= q < end of k's subtree. Positions continue from
the parent's end, so siblings start at the same one. Equal to one sequence per answer (tests/dpo/test_packed.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Branch:
    """A query and its answers, as token ids."""

    query: tuple[int, ...]
    """From behind the video to the start of the answer."""
    answers: tuple[tuple[int, ...], ...]
    """Different ones, each with its end token."""


@dataclass(frozen=True)
class Span:
    """Where an answer stands in a sequence."""

    before: int
    """The token whose output predicts the first one: the query's last."""
    start: int
    end: int
    """Behind its last token."""


@dataclass(frozen=True)
class Flat:
    """A tree, or several behind each other, as one sequence of L tokens."""

    ids: np.ndarray
    """(L,) int64; prefixes hold placeholders where their video is seen."""
    positions: np.ndarray
    """(3, L) int64: time, height, width."""
    subtree_end: np.ndarray
    """(L,) int64: one behind the last token that may attend to this one."""
    spans: tuple[Span, ...]
    """Of the answers, in the order of the branches."""

    def __len__(self) -> int:
        return len(self.ids)

    def path_length(self, span: Span) -> int:
        """Tokens that an answer's last one sees: the length of a conversation with this answer alone."""
        return int(np.count_nonzero(self.subtree_end[: span.end] >= span.end))


def flatten(prefix: np.ndarray, prefix_positions: np.ndarray, branches: Sequence[Branch]) -> Flat:
    """A clip's prefix and its branches as one sequence.

    Args:
        prefix: (P,) token ids of the system's turn and the video.
        prefix_positions: (3, P).
        branches: at least one.
    """
    behind_prefix = int(prefix_positions.max()) + 1
    ids, at, ends, spans = list(prefix), [prefix_positions], [], []
    for branch in branches:
        start = len(ids)
        total = len(branch.query) + sum(map(len, branch.answers))
        ids += branch.query
        at.append(_run(behind_prefix, len(branch.query)))
        ends += [start + total] * len(branch.query)
        last = len(ids) - 1
        for answer in branch.answers:
            spans.append(Span(last, len(ids), len(ids) + len(answer)))
            at.append(_run(behind_prefix + len(branch.query), len(answer)))
            ids += answer
            ends += [len(ids)] * len(answer)
    return Flat(
        np.array(ids, dtype=np.int64),
        np.concatenate(at, axis=1),
        np.array([len(ids)] * len(prefix) + ends, dtype=np.int64),
        tuple(spans),
    )


def _run(start: int, length: int) -> np.ndarray:
    return np.tile(np.arange(start, start + length, dtype=np.int64), (3, 1))


def join(trees: Sequence[Flat]) -> Flat:
    """Several trees behind each other; none attends to another."""
    starts = np.cumsum([0, *map(len, trees)])[:-1]
    return Flat(
        np.concatenate([tree.ids for tree in trees]),
        np.concatenate([tree.positions for tree in trees], axis=1),
        np.concatenate([tree.subtree_end + start for tree, start in zip(trees, starts, strict=True)]),
        tuple(
            Span(span.before + start, span.start + start, span.end + start)
            for tree, start in zip(trees, starts.tolist(), strict=True)
            for span in tree.spans
        ),
    )


def dense_mask(flat: Flat) -> np.ndarray:
    """(L, L) bool: whether a row's token attends to a column's."""
    at = np.arange(len(flat))
    return (at[None, :] <= at[:, None]) & (at[:, None] < flat.subtree_end[None, :])
