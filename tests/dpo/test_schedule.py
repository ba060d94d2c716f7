"""The schedule: every pair once an epoch, full batches, fair shares, the same for equal seeds."""

from collections import Counter

from videopasta.dpo.examples import Clip, Pair
from videopasta.dpo.schedule import batches, num_steps, shares
from videopasta.video.plan import FramePlan

PLAN = FramePlan((0, 1), (0.0, 1.0), 1.0, 28, 28, "pyav")


def make_clips(sizes) -> list[Clip]:
    return [
        Clip(
            f"{n}.mp4",
            None,
            None,
            f"sha{n}",
            PLAN,
            tuple(Pair(f"{n}-{i}", "spatial", "q", "a", "b") for i in range(size)),
        )
        for n, size in enumerate(sizes)
    ]


CLIPS = make_clips([1, 5, 2, 9, 3, 1, 1, 4, 2, 4])
"""32 pairs."""


def test_every_pair_once_an_epoch():
    """Two whole epochs have each pair twice, every batch is full, and no step is lost."""
    steps = list(batches(CLIPS, epochs=2, pairs_per_step=8, seed=0))
    assert len(steps) == num_steps(CLIPS, epochs=2, pairs_per_step=8) == 8
    assert all(sum(len(clip.pairs) for clip in batch) == 8 for batch in steps)
    assert set(Counter(pair.pair_id for batch in steps for clip in batch for pair in clip.pairs).values()) == {2}


def test_pairs_of_a_clip_stay_together():
    """Only a clip at a batch's end is cut, so a batch has at most two parts that are not whole."""
    sizes = {clip.key: len(clip.pairs) for clip in CLIPS}
    for batch in batches(CLIPS, epochs=3, pairs_per_step=8, seed=1):
        assert all(len(clip.pairs) == sizes[clip.key] for clip in batch[1:-1])


def test_equal_seeds_give_equal_schedules():
    """Another seed gives another order, and so does another epoch."""
    one, same, other = (list(batches(CLIPS, epochs=2, pairs_per_step=8, seed=s)) for s in (3, 3, 4))
    assert one == same
    assert one != other
    assert one[:4] != one[4:]


def test_part_of_an_epoch_and_no_clips():
    """Half an epoch is half of the steps; without clips there are none."""
    assert num_steps(CLIPS, epochs=0.5, pairs_per_step=8) == 2
    assert list(batches([], epochs=3, pairs_per_step=8, seed=0)) == []


def test_shares_are_complete_and_fair():
    """Every clip goes to one worker, none has more than the mean and one clip; more workers than clips get nothing."""
    tokens = [100 * len(clip.pairs) for clip in CLIPS]
    dealt = shares(tokens, 3)
    assert sorted(index for share in dealt for index in share) == list(range(len(CLIPS)))
    assert max(sum(tokens[i] for i in share) for share in dealt) <= sum(tokens) / 3 + max(tokens)
    assert [len(share) for share in shares(tokens[:2], 4)].count(0) == 2
