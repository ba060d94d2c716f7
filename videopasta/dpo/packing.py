"""Which clips share a sequence. Pure.

In: how many tokens each tree has, and a budget. Out: packs. A tree is never cut; a clip whose tree exceeds the budget
is first split by queries, each part with the whole video before it.
"""

from collections.abc import Sequence

from videopasta.dpo.tree import Branch


def num_tokens(branch: Branch) -> int:
    """Of a query and its answers."""
    return len(branch.query) + sum(map(len, branch.answers))


def split(prefix_tokens: int, branches: Sequence[Branch], budget: int) -> list[list[Branch]]:
    """The branches of one clip in as few groups as fit `budget` tokens with the prefix, in their order.

    Raises:
        ValueError: a single query with its answers does not fit.
    """
    groups: list[list[Branch]] = []
    room = 0
    for branch in branches:
        length = num_tokens(branch)
        if prefix_tokens + length > budget:
            raise ValueError(
                f"a video of {prefix_tokens} tokens and a query with answers of {length} exceed the budget of "
                f"{budget} tokens a pack; raise tokens_per_pack, or lower the pixels or frames of the plan"
            )
        if length > room:
            groups.append([])
            room = budget - prefix_tokens
        groups[-1].append(branch)
        room -= length
    return groups


def pack(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices of trees in as few packs as best-fit decreasing finds; each at most `budget` tokens, unless alone."""
    packs: list[list[int]] = []
    rooms: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fitting = [p for p, room in enumerate(rooms) if room >= lengths[index]]
        if fitting:
            best = min(fitting, key=lambda p: rooms[p])
            packs[best].append(index)
            rooms[best] -= lengths[index]
        else:
            packs.append([index])
            rooms.append(budget - lengths[index])
    return packs
