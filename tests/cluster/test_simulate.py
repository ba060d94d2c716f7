"""A run as events: nothing is lost, limits hold, and what is simple comes out as by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videopasta.cluster.simulate import SimGroup, SimStage, simulate


def stage(name: str = "engine", **changes: object) -> SimStage:
    values = {
        "actor_s": 2.0, "variation": 0.0, "ready_s": 10.0, "min_actors": 1, "max_actors": 1, "group": "node",
        "takes": {"CPU": 1}, "clips_in_flight": 4,
    }  # fmt: skip
    return SimStage(name, **(values | changes))  # type: ignore[arg-type]


def group(name: str = "node", **changes: object) -> SimGroup:
    values = {"has": {"CPU": 4, "GPU": 2}, "min_nodes": 1, "max_nodes": 1, "launch_s": 0.0}
    return SimGroup(name, **(values | changes))  # type: ignore[arg-type]


def test_one_pool_takes_its_clips_one_after_the_other():
    """Ready, then so many seconds a clip; the node is paid for all along."""
    made = simulate([stage()], [group()], 50, idle_timeout_s=0)
    assert made.wall_s == pytest.approx(10 + 50 * 2)
    assert made.node_s == {"node": pytest.approx(110)}
    assert made.busy_s == {"engine": pytest.approx(100)}


def test_the_slowest_pool_sets_the_pace():
    """Others wait for it, before and behind."""
    stages = [stage("decode", actor_s=0.5), stage("engine", actor_s=2.0), stage("judge", actor_s=1.0)]
    made = simulate(stages, [group()], 200, idle_timeout_s=0)
    assert made.wall_s == pytest.approx(10 + 0.5 + 200 * 2 + 1, rel=0.01)


def test_nodes_come_with_the_clips_and_not_beyond_the_most():
    """From none to as many as the pool may fill; a node takes its time to come."""
    made = simulate(
        [stage(max_actors=5, takes={"CPU": 4})], [group(min_nodes=0, max_nodes=3, launch_s=100)], 300, idle_timeout_s=60
    )
    assert made.most_nodes == {"node": 3}
    assert made.most_actors == {"engine": 3}
    assert made.wall_s == pytest.approx(100 + 10 + 300 * 2 / 3, rel=0.05)
    assert made.node_s["node"] == pytest.approx(3 * (made.wall_s + 60), rel=0.02)


def test_lost_nodes_cost_time_and_no_clip():
    """Each lost node is replaced, and what it had in hand is done again."""
    stages, clips = [stage(max_actors=4, takes={"CPU": 4})], 2000
    nodes = {"min_nodes": 0, "max_nodes": 4, "launch_s": 100.0}
    calm = simulate(stages, [group(**nodes)], clips, idle_timeout_s=60)
    rough = simulate(stages, [group(**nodes, spot_mean_s=600.0)], clips, idle_timeout_s=60, seed=3)
    assert calm.lost_nodes == 0
    assert rough.lost_nodes > 0
    assert rough.wall_s > calm.wall_s
    assert 0 < rough.clips_redone <= 4 * rough.lost_nodes
    assert rough.busy_s["engine"] >= clips * 2.0 - 1e-6


def test_nodes_of_a_pool_that_has_ended_are_given_back():
    """While another pool works on: they are not paid for to the end."""
    stages = [stage("decode", actor_s=0.1, group="cpu"), stage("engine", actor_s=20.0)]
    made = simulate(stages, [group("cpu", min_nodes=0), group()], 3, idle_timeout_s=5)
    assert made.wall_s == pytest.approx(10 + 0.1 + 3 * 20)
    assert made.node_s["cpu"] == pytest.approx(10 + 3 * 0.1 + 5)


def test_pools_that_share_too_few_spot_nodes_do_not_take_each_others_last_actor():
    """After a loss each pool gets its smallest size first; a pool without actors would hold up the others for ever."""
    stages = [stage(name, actor_s=5.0, max_actors=8, takes={"CPU": 2}) for name in "abc"]
    nodes = group(min_nodes=0, max_nodes=3, launch_s=5.0, spot_mean_s=60.0)
    made = simulate(stages, [nodes], 100, idle_timeout_s=1)
    assert made.lost_nodes > 3
    assert made.most_nodes == {"node": 3}


def test_a_hundred_million_clips_go_in_lumps():
    """As many events as for a few thousand clips; the time is what the slowest pool takes."""
    made = simulate([stage(variation=0.5), stage("judge", actor_s=1.0)], [group()], 10**8, idle_timeout_s=0)
    assert made.wall_s == pytest.approx(2e8, rel=0.01)


def test_no_room_is_told():
    """A pool whose smallest size does not fit would wait for ever: of any resource."""
    for takes in ({"CPU": 2}, {"GPU": 1}, {"CPU": 1, "judge": 1}):
        with pytest.raises(ValueError, match="3 actors have no room on node"):
            simulate([stage(min_actors=3, max_actors=3, takes=takes)], [group()], 1, idle_timeout_s=0)


def test_pools_that_take_different_resources_share_a_node():
    """Decoders take the CPUs that engines on all GPUs leave."""
    stages = [stage("decode", takes={"CPU": 2}), stage("engine", takes={"CPU": 1, "GPU": 2})]
    made = simulate(stages, [group()], 10, idle_timeout_s=0)
    assert made.most_nodes == {"node": 1}
    assert made.wall_s == pytest.approx(10 + 2 + 10 * 2)


@settings(max_examples=60, deadline=None)
@given(
    clips=st.integers(1, 300),
    sizes=st.lists(st.tuples(st.floats(0.1, 20), st.integers(1, 5)), min_size=1, max_size=4),
    nodes=st.integers(1, 5),
    spot=st.one_of(st.none(), st.floats(30, 3000)),
    seed=st.integers(0, 99),
)
def test_every_run_ends_and_no_faster_than_its_slowest_pool(
    clips: int, sizes: list[tuple[float, int]], nodes: int, spot: float | None, seed: int
):
    """Whatever the pools, the losses, and whether all have room: it ends, within its limits."""
    stages = [stage(str(i), actor_s=s, max_actors=n, variation=0.3) for i, (s, n) in enumerate(sizes)]
    made = simulate(
        stages,
        [group(min_nodes=0, max_nodes=nodes, launch_s=5.0, spot_mean_s=spot)],
        clips,
        idle_timeout_s=1,
        seed=seed,
    )
    for one in stages:
        assert made.busy_s[one.name] / one.max_actors <= made.wall_s
        assert made.most_actors[one.name] <= one.max_actors
    assert made.most_nodes["node"] <= nodes
