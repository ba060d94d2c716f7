from collections import Counter
from itertools import pairwise

from tests.chaos.faults import Kind, plan_faults


def test_plans_are_of_their_seed_and_have_every_kind():
    """The same seed breaks a run at the same moments; eleven runs have each kind three times, in any order."""
    plans = [plan_faults(seed, num_shards=30) for seed in range(11)]
    assert plans == [plan_faults(seed, num_shards=30) for seed in range(11)]
    assert set(Counter(fault.kind for plan in plans for fault in plan).values()) == {3}
    assert {fault.kind for plan in plans for fault in plan} == set(Kind)
    assert all(a.at_shard <= b.at_shard or a.kind == Kind.WRITER for plan in plans for a, b in pairwise(plan))
    assert all(0 <= fault.at_shard < 28 for plan in plans for fault in plan)
