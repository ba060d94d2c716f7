"""Trees and packs: who sees whom, where positions go on, and that nothing is lost or cut."""

import random

import numpy as np
import pytest

from videopasta.dpo.packing import num_tokens, pack, split
from videopasta.dpo.tree import Branch, dense_mask, flatten, join


def make_tree(rng: random.Random, num_queries: int, answers: int, prefix: int = 7):
    branches = [
        Branch(tuple(range(100, 100 + rng.randint(1, 4))),
               tuple(tuple(range(200, 200 + rng.randint(1, 5))) for _ in range(answers)))
        for _ in range(num_queries)
    ]  # fmt: skip
    positions = np.stack([np.arange(prefix) * axis for axis in (3, 1, 1)])
    return flatten(np.arange(prefix), positions, branches), branches


def test_a_path_through_the_tree_is_a_sequence_of_its_own():
    """Of all tokens an answer's last one sees its own path only: prefix, query, answer; in gapless positions."""
    flat, branches = make_tree(random.Random(0), num_queries=3, answers=3)
    seen, spans = dense_mask(flat), iter(flat.spans)
    for branch in branches:
        for answer in branch.answers:
            span = next(spans)
            path = np.flatnonzero(seen[span.end - 1])
            assert flat.ids[path].tolist() == [*range(7), *branch.query, *answer]
            first = int(flat.positions[:, :7].max()) + 1
            expected = np.arange(first, first + len(branch.query) + len(answer))
            assert (flat.positions[:, path[7:]] == expected).all()
            assert span.before == path[7 + len(branch.query) - 1]
            assert flat.ids[span.start : span.end].tolist() == list(answer)


def test_no_token_sees_what_comes_after_or_its_siblings():
    """The mask is causal, and two answers of a query never see each other."""
    flat, _ = make_tree(random.Random(1), num_queries=2, answers=3)
    seen = dense_mask(flat)
    assert not np.triu(seen, 1).any()
    for one in flat.spans:
        for other in flat.spans:
            if one != other:
                assert not seen[one.start : one.end, other.start : other.end].any()


def test_joined_trees_do_not_see_each_other():
    """Each tree keeps its own mask, ids, positions and spans in a pack."""
    rng = random.Random(2)
    trees = [make_tree(rng, num_queries=n, answers=2)[0] for n in (1, 3, 2)]
    whole, start = join(trees), 0
    seen = dense_mask(whole)
    spans = iter(whole.spans)
    for tree in trees:
        part = slice(start, start + len(tree))
        assert (seen[part, part] == dense_mask(tree)).all()
        assert not seen[part, :start].any()
        assert (whole.positions[:, part] == tree.positions).all()
        for span in tree.spans:
            moved = next(spans)
            assert (whole.ids[moved.start : moved.end] == tree.ids[span.start : span.end]).all()
        start += len(tree)


def test_a_clip_too_large_is_split_by_queries():
    """All branches in their order, no group over the budget, none that could have joined the one before."""
    rng = random.Random(3)
    _, branches = make_tree(rng, num_queries=20, answers=3)
    groups = split(7, branches, 40)
    assert [branch for group in groups for branch in group] == branches
    sizes = [sum(map(num_tokens, group)) for group in groups]
    assert max(sizes) <= 33
    assert all(size + num_tokens(group[0]) > 33 for size, group in zip(sizes, groups[1:], strict=False))


def test_a_query_that_cannot_fit_is_named():
    """The message says how many tokens, and what to change."""
    with pytest.raises(ValueError, match=r"7 tokens.*of 5 exceed the budget of 10.*tokens_per_pack"):
        split(7, [Branch((1, 2), ((3, 4, 5),))], 10)


def test_every_tree_is_in_one_pack():
    """Nothing lost, nothing twice, no pack over the budget, at least 90 % full on average."""
    rng = random.Random(4)
    lengths = [rng.randint(10, 600) for _ in range(400)]
    packs = pack(lengths, 1000)
    assert sorted(i for one in packs for i in one) == list(range(400))
    assert all(sum(lengths[i] for i in one) <= 1000 for one in packs)
    assert sum(lengths) / (1000 * len(packs)) > 0.9
    assert packs == pack(lengths, 1000)
