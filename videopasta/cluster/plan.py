"""Before the bill: how long a run takes on a fleet, what it costs, and which pool holds it up. Pure.

profile (a clip's cost) + configuration (pools) + fleet (nodes, prices) ─► Plan
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from videopasta.cluster.instances import Fleet, NodeGroup
from videopasta.cluster.profile import DECODE, Profile, stage_name
from videopasta.cluster.simulate import SimGroup, SimStage, Simulated, simulate
from videopasta.config import GenerateConfig, PoolConfig
from videopasta.errors import UserError
from videopasta.generate.pipeline import plan_stages


@dataclass(frozen=True)
class Placement:
    """Where a pool's actors run."""

    group: NodeGroup
    takes: Mapping[str, float]
    """Of a node's resources, one actor."""
    per_node: int
    """Actors of this pool that fit on an empty node."""


@dataclass(frozen=True)
class PoolPlan:
    """One pool of a run."""

    name: str
    group: str
    min_actors: int
    max_actors: int
    """What the configuration allows and the fleet has room for."""
    num_gpus: float
    """Of an actor."""
    actor_s: float
    """Of a clip."""
    recommended: int
    """Actors that use this fleet best: no pool waits much for another."""

    @property
    def clips_per_h(self) -> float:
        """At its largest, when it never waits."""
        return self.max_actors * 3600 / self.actor_s


@dataclass(frozen=True)
class Plan:
    """A run, foretold."""

    videos: int
    profile: Profile
    pools: tuple[PoolPlan, ...]
    simulated: Simulated
    num_shards: int
    node_h: Mapping[str, float]
    """By group; the head is `head`."""
    gpu_h: float
    unpriced: tuple[str, ...]
    """Of `node_h`, those whose price is not known."""
    cost_usd: float | None
    """None: some are unpriced."""

    @property
    def bottleneck(self) -> PoolPlan:
        """The slowest pool at its largest."""
        return min(self.pools, key=lambda pool: pool.clips_per_h)

    @property
    def clips(self) -> float:
        """Of the videos, those that are not quarantined."""
        return self.videos * (1 - self.profile.quarantined_share)


def pools_of(config: GenerateConfig) -> dict[str, PoolConfig]:
    """The pools of a run by name, in the order of the road."""
    return {DECODE: config.decode_pool} | {stage_name(stage): stage.model.pool for stage in plan_stages(config)}


def place(pools: Mapping[str, PoolConfig], fleet: Fleet) -> dict[str, Placement]:
    """Where each pool's actors run: of the groups that hold one, that with the fewest GPUs, then CPUs.

    Of equal groups it is the one that the pools, at their largest, leave least full.

    Raises:
        UserError: a pool's actor fits nowhere.
    """
    placed: dict[str, Placement] = {}
    nodes = dict.fromkeys(
        (group.name for group in fleet.groups), 0.0
    )  # of each group, filled by pools at their largest
    for name, pool in pools.items():
        takes = _takes(pool)
        fitting = [
            Placement(group, takes, count)
            for group in fleet.groups
            if group.max_nodes and (count := _per_node(takes, group, at_most=pool.max_size))
        ]
        if not fitting:
            groups = ", ".join(f"{g.name} ({g.cpus:g} CPUs, {g.gpus:g} GPUs)" for g in fleet.groups)
            raise UserError(
                f"{name}: an actor of {pool.num_cpus:g} CPUs, {pool.num_gpus:g} GPUs, {pool.memory_gib:g} GiB"
                f"{''.join(f' and {one}={amount:g}' for one, amount in pool.resources.items())} fits no node group of "
                f"{fleet.name}: {groups}. Add a group, or make the actor smaller"
            )
        placed[name] = min(fitting, key=partial(_rank, size=pool.max_size, nodes=nodes))
        nodes[placed[name].group.name] += pool.max_size / placed[name].per_node
    return placed


def _rank(one: Placement, *, size: int, nodes: Mapping[str, float]) -> tuple[float, float, float]:
    filled = nodes[one.group.name] + size / one.per_node
    return one.group.gpus, one.group.cpus, filled / one.group.max_nodes


def _takes(pool: PoolConfig) -> dict[str, float]:
    wants = {"CPU": pool.num_cpus, "GPU": pool.num_gpus, "memory": pool.memory_gib, **pool.resources}
    return {name: amount for name, amount in wants.items() if amount}


def _has(group: NodeGroup) -> dict[str, float]:
    # Ray keeps a part of a node's memory for its object store.
    return {"CPU": group.cpus, "GPU": group.gpus, "memory": 0.7 * group.instance.memory_gib, **group.resources}


def _per_node(takes: Mapping[str, float], group: NodeGroup, *, at_most: int) -> int:
    has = _has(group)
    return min((math.floor(has.get(name, 0) / amount + 1e-9) for name, amount in takes.items()), default=at_most)


def recommend(actor_s: Mapping[str, float], placed: Mapping[str, Placement]) -> dict[str, int]:
    """Sizes of the pools that use a fleet best: the slowest gets one actor more, until its group is full.

    Args:
        actor_s: seconds of an actor for a clip, by pool.
        placed: by pool.
    """
    sizes = dict.fromkeys(actor_s, 1)
    while True:
        slowest = max(sizes, key=lambda name: actor_s[name] / sizes[name])
        larger = sizes | {slowest: sizes[slowest] + 1}
        if not _fits(larger, placed):
            return sizes
        sizes = larger


def _fits(sizes: Mapping[str, int], placed: Mapping[str, Placement]) -> bool:
    """By each resource, and each pool for itself: how pools that share nodes lie on them does not count."""
    used: dict[tuple[str, str], float] = {}
    for name, count in sizes.items():
        one = placed[name]
        if count > one.per_node * one.group.max_nodes:
            return False
        for resource, amount in one.takes.items():
            key = one.group.name, resource
            used[key] = used.get(key, 0.0) + count * amount
    return all(
        used[one.group.name, resource] <= one.group.max_nodes * _has(one.group)[resource] + 1e-9
        for one in placed.values()
        for resource in one.takes
    )


def make_plan(
    profile: Profile,
    config: GenerateConfig,
    fleet: Fleet,
    videos: int,
    *,
    launch_s: float,
    spot_mean_h: float,
    best_sizes: bool = False,
    seed: int = 0,
) -> Plan:
    """The plan of a run over `videos`.

    Args:
        profile: of this configuration, on machines like the fleet's.
        config: of the run.
        fleet: the nodes that it may use.
        videos: how many clips.
        launch_s: from asking for a node to having it.
        spot_mean_h: mean life of a spot node.
        best_sizes: pools of the recommended sizes, instead of the configuration's.
        seed: of what is drawn.

    Raises:
        UserError: the profile is of another configuration, or a pool's smallest size has no room.
    """
    profile.check(config)
    pools = pools_of(config)
    placed = place(pools, fleet)
    stages = {stage.name: stage for stage in profile.stages}
    sim_stages, made = [], []
    best = recommend({name: stage.actor_s for name, stage in stages.items()}, placed)
    for name, pool in pools.items():
        stage, where = stages[name], placed[name]
        wanted = best[name] if best_sizes else pool.max_size
        largest = max(pool.min_size, min(wanted, where.per_node * where.group.max_nodes))
        made.append(PoolPlan(name, where.group.name, pool.min_size, largest, pool.num_gpus, stage.actor_s, best[name]))
        sim_stages.append(
            SimStage(
                name, stage.actor_s, stage.variation, stage.ready_s, pool.min_size, largest, where.group.name,
                where.takes, pool.clips_in_flight,
            )
        )  # fmt: skip
    groups = [
        SimGroup(
            group.name,
            _has(group),
            group.min_nodes,
            group.max_nodes,
            launch_s,
            spot_mean_h * 3600 if group.spot else None,
        )
        for group in fleet.groups
    ]
    try:
        simulated = simulate(sim_stages, groups, videos, idle_timeout_s=fleet.idle_timeout_s, seed=seed)
    except ValueError as error:
        raise UserError(f"{error} of {fleet.name}; raise its max_workers, or lower the pools' min_size") from error
    node_h = {name: seconds / 3600 for name, seconds in simulated.node_s.items() if seconds}
    if fleet.head is not None:
        node_h["head"] = simulated.wall_s / 3600
    by_size = videos / config.output.clips_per_shard
    return Plan(
        videos=videos,
        profile=profile,
        pools=tuple(made),
        simulated=simulated,
        num_shards=math.ceil(max(by_size, min(simulated.wall_s / config.output.flush_s, videos))),
        node_h=node_h,
        gpu_h=sum(node_h.get(group.name, 0.0) * group.gpus for group in fleet.groups),
        unpriced=tuple(name for name in node_h if _price(name, fleet) is None),
        cost_usd=_cost(node_h, fleet),
    )


def _cost(node_h: Mapping[str, float], fleet: Fleet) -> float | None:
    """In USD; None where a price is not known."""
    total = 0.0
    for name, hours in node_h.items():
        price = _price(name, fleet)
        if price is None:
            return None
        total += hours * price
    return total


def _price(name: str, fleet: Fleet) -> float | None:
    """Of an hour, in USD; None: not known."""
    if name == "head":
        return fleet.head.on_demand_usd if fleet.head else None
    group = next(group for group in fleet.groups if group.name == name)
    return group.instance.spot_usd if group.spot else group.instance.on_demand_usd


def shares_of_time(pools: Sequence[PoolPlan]) -> dict[str, float]:
    """How much of the time each pool works when the slowest always does: 1 is the bottleneck."""
    slowest = min(pool.clips_per_h for pool in pools)
    return {pool.name: slowest / pool.clips_per_h for pool in pools}
