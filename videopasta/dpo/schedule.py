"""Which pairs make which step, and which worker takes them. Pure: the same for equal seeds, on every machine.

In: clips with their pairs. Out: batches of a fixed number of pairs, in which the pairs of a clip stay together as far
as they fit. Epochs follow each other without a seam, so every step has a full batch.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from videopasta.dpo.examples import Clip


def num_steps(clips: Sequence[Clip], *, epochs: float, pairs_per_step: int) -> int:
    """Full batches in so many epochs."""
    return int(epochs * sum(len(clip.pairs) for clip in clips)) // pairs_per_step


def batches(clips: Sequence[Clip], *, epochs: float, pairs_per_step: int, seed: int) -> Iterator[list[Clip]]:
    """The batch of each step: every clip with those of its pairs that take part.

    Each epoch has an order of its own. A clip at a batch's end is cut between pairs; its others open the next batch.
    """
    return islice(
        _cut(_epochs(clips, seed), pairs_per_step), num_steps(clips, epochs=epochs, pairs_per_step=pairs_per_step)
    )


def _epochs(clips: Sequence[Clip], seed: int) -> Iterator[Clip]:
    epoch = 0
    while clips:
        order = list(clips)
        random.Random(f"{seed} {epoch}").shuffle(order)
        yield from order
        epoch += 1


def _cut(stream: Iterator[Clip], pairs_per_step: int) -> Iterator[list[Clip]]:
    batch: list[Clip] = []
    room = pairs_per_step
    for clip in stream:
        pairs = clip.pairs
        while pairs:
            batch.append(replace(clip, pairs=pairs[:room]))
            pairs, room = pairs[room:], room - len(pairs[:room])
            if not room:
                yield batch
                batch, room = [], pairs_per_step


def shares(tokens: Sequence[int], num_workers: int) -> list[list[int]]:
    """Indices dealt out so that workers have about equally many tokens: longest first, each to who has least.

    Args:
        tokens: of each clip's trees.
        num_workers: may exceed the clips; then some get none.
    """
    dealt: list[list[int]] = [[] for _ in range(num_workers)]
    loads = [0] * num_workers
    for index in sorted(range(len(tokens)), key=lambda i: -tokens[i]):
        worker = loads.index(min(loads))
        dealt[worker].append(index)
        loads[worker] += tokens[index]
    return [sorted(indices) for indices in dealt]
