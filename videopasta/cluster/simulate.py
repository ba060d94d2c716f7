"""A run as events: pools of actors on nodes that come, idle and are lost. Pure: a seed gives one outcome.

    source ─ queue ─ pool ─ queue ─ pool ─ ... ─► done          actors live on nodes, nodes belong to groups

Clips move in lumps, of which there are thousands, so that 10^8 clips take as long as 10^4. What is modelled:
back-pressure (a queue holds two lumps an actor), a pool that grows while clips wait and none of its actors is free,
nodes that take `launch_s`, engines that take `ready_s`, pools that end and nodes that idle, spot nodes that are lost
(what their actors had in hand is done again). What is not: the network, pools that shrink while they have work, actors
that slow each other on one node beyond what a calibration saw, a cloud that has no more nodes.
"""

import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

LUMPS, LUMPS_PER_ACTOR = 4000, 20
"""Clips are moved in at most so many lumps, or so many for each actor if that is more."""
_LOST, _NO_MORE = "its node is lost", "its pool has no more clips"


@dataclass(frozen=True)
class SimStage:
    """A pool."""

    name: str
    actor_s: float
    """Seconds of one actor for a clip."""
    variation: float
    """Standard deviation over mean of that."""
    ready_s: float
    """From an actor's start to its first clip."""
    min_actors: int
    max_actors: int
    group: str
    """Of nodes, on which its actors live."""
    takes: Mapping[str, float]
    """Of a node's resources, one actor."""
    clips_in_flight: int
    """Of an actor: lost with its node."""


@dataclass(frozen=True)
class SimGroup:
    """Equal nodes."""

    name: str
    has: Mapping[str, float]
    """Resources of one node."""
    min_nodes: int
    max_nodes: int
    launch_s: float
    """From asking for a node to having it."""
    spot_mean_s: float | None = None
    """Mean life of a node that the cloud may take back; none: it may not."""


@dataclass(frozen=True)
class Simulated:
    """How a run went."""

    wall_s: float
    """From the start to the last clip."""
    node_s: dict[str, float]
    """Of all nodes, by group, from being asked for until they are gone."""
    busy_s: dict[str, float]
    """Of all actors, by stage, on clips."""
    most_nodes: dict[str, int]
    most_actors: dict[str, int]
    lost_nodes: int
    clips_redone: float


def simulate(
    stages: Sequence[SimStage], groups: Sequence[SimGroup], clips: int, *, idle_timeout_s: float, seed: int = 0
) -> Simulated:
    """Let `clips` go through `stages`.

    Raises:
        ValueError: a pool's smallest size has no room on its group's nodes.
    """
    return _Run(stages, groups, clips, idle_timeout_s, seed).run()


class _Node:
    def __init__(self, env: simpy.Environment, group: SimGroup) -> None:
        self.group, self.asked_at, self.room = group, env.now, dict(group.has)
        self.ready = env.event()
        self.actors: list[tuple[int, Any]] = []
        """Stage and process."""

    def fits(self, takes: Mapping[str, float]) -> bool:
        return all(self.room.get(name, 0.0) >= amount - 1e-9 for name, amount in takes.items())

    def give(self, takes: Mapping[str, float], sign: int) -> None:
        for name, amount in takes.items():
            self.room[name] += sign * amount


class _Run:
    def __init__(
        self, stages: Sequence[SimStage], groups: Sequence[SimGroup], clips: int, idle_timeout_s: float, seed: int
    ) -> None:
        self.env = simpy.Environment()
        self.stages, self.groups = stages, {group.name: group for group in groups}
        lumps = max(LUMPS, LUMPS_PER_ACTOR * max(stage.max_actors for stage in stages))
        self.clips, self.lump = clips, max(1.0, clips / lumps)
        self.idle_timeout_s, self.random = idle_timeout_s, random.Random(seed)
        self.queues = [simpy.Store(self.env, capacity=2 * stage.max_actors) for stage in stages]
        self.nodes: dict[str, dict[_Node, None]] = {group.name: {} for group in groups}
        self.roomy: list[dict[_Node, None]] = [{} for _ in stages]  # nodes that hold one actor more, by stage
        self.num_actors = [0] * len(stages)
        self.num_free = [0] * len(stages)  # that wait for a clip, or are about to be ready for one
        self.done = [0.0] * len(stages)
        self.finished = self.env.event()
        self.node_s = dict.fromkeys(self.groups, 0.0)
        self.busy_s = {stage.name: 0.0 for stage in stages}
        self.most_nodes = dict.fromkeys(self.groups, 0)
        self.most_actors = {stage.name: 0 for stage in stages}
        self.lost_nodes, self.redone = 0, 0.0

    def run(self) -> Simulated:
        for group in self.groups.values():
            for _ in range(group.min_nodes):
                self._launch(group, launch_s=0.0)
        for index, stage in enumerate(self.stages):
            for _ in range(stage.min_actors):
                if not self._add_actor(index):
                    raise ValueError(f"{stage.name}: {stage.min_actors} actors have no room on {stage.group}")
        self.env.process(self._source())
        self.env.run(until=self.finished)
        wall_s = self.env.now
        for name, nodes in self.nodes.items():
            waits_s = 0.0 if len(nodes) <= self.groups[name].min_nodes else self.idle_timeout_s
            self.node_s[name] += sum(wall_s + waits_s - node.asked_at for node in nodes)
        return Simulated(
            wall_s, self.node_s, self.busy_s, self.most_nodes, self.most_actors, self.lost_nodes, self.redone
        )  # fmt: skip

    # -- clips ---------------------------------------------------------------------------------------------

    def _source(self) -> Generator[Any, Any, None]:
        left = float(self.clips)
        while left > 1e-9:
            amount = min(self.lump, left)
            yield self.queues[0].put(amount)
            self._grow(0)
            left -= amount

    def _actor(self, index: int, node: _Node) -> Generator[Any, Any, None]:
        stage, queue = self.stages[index], self.queues[index]
        amount, started, takes, get = 0.0, 0.0, 0.0, None
        is_free = True
        try:
            yield node.ready
            yield self.env.timeout(stage.ready_s)
            while True:
                get = queue.get()
                amount = yield get
                get, is_free = None, False
                self.num_free[index] -= 1
                self._grow(index)
                started, takes = self.env.now, amount * stage.actor_s * self._spread(stage.variation, amount)
                yield self.env.timeout(takes)
                self.busy_s[stage.name] += takes
                handing, amount = self.env.process(self._hand_on(index, amount)), 0.0
                is_free = True  # also while the next queue is full: one more actor would not help
                self.num_free[index] += 1
                yield handing
        except simpy.Interrupt as interrupt:
            self.num_free[index] -= is_free
            if get is not None:
                get.cancel()
            if interrupt.cause == _NO_MORE:
                self.num_actors[index] -= 1
                node.give(stage.takes, 1)
                self._note_room(node)
                node.actors.remove((index, self.env.active_process))
                if not node.actors:
                    self.env.process(self._idle(node))
                for other in range(len(self.stages)):
                    self._grow(other)
                return
            if amount:
                # What it had finished is out; what it had in hand, and what it had not begun, is done elsewhere.
                finished = amount * (self.env.now - started) / takes
                self.busy_s[stage.name] += self.env.now - started
                self.redone += min(stage.clips_in_flight, amount - finished)
                self.env.process(self._hand_on(index, finished))
                self.env.process(self._take_back(index, amount - finished))

    def _take_back(self, index: int, amount: float) -> Generator[Any, Any, None]:
        yield self.queues[index].put(amount)
        self._grow(index)

    def _hand_on(self, index: int, amount: float) -> Generator[Any, Any, None]:
        if index + 1 < len(self.stages):
            yield self.queues[index + 1].put(amount)
            self._grow(index + 1)
        self.done[index] += amount
        if not self._has_ended(index):
            return
        for node in self.nodes[self.stages[index].group]:
            for of, actor in node.actors:
                if of == index:
                    actor.interrupt(_NO_MORE)
        if index + 1 == len(self.stages):
            self.finished.succeed()

    def _has_ended(self, index: int) -> bool:
        return self.done[index] >= self.clips * (1 - 1e-9)

    def _spread(self, variation: float, amount: float) -> float:
        """A lump's seconds over their mean: its clips differ, and even out."""
        if variation == 0:
            return 1.0
        shape = max(amount, 1.0) / variation**2
        return self.random.gammavariate(shape, 1 / shape)

    # -- actors and nodes ----------------------------------------------------------------------------------

    def _grow(self, index: int) -> None:
        """An actor more for each lump that waits and finds none free, or about to be."""
        while len(self.queues[index].items) > self.num_free[index] and self._add_actor(index):
            pass

    def _replace_lost(self) -> None:
        """The smallest size of every pool, before any grows: one without actors would hold the others up for ever."""
        for index, stage in enumerate(self.stages):
            while not self._has_ended(index) and self.num_actors[index] < stage.min_actors and self._add_actor(index):
                pass
        for index in range(len(self.stages)):
            self._grow(index)

    def _add_actor(self, index: int) -> bool:
        stage = self.stages[index]
        if self.num_actors[index] >= stage.max_actors:
            return False
        group = self.groups[stage.group]
        node = next(iter(self.roomy[index]), None)
        if node is None and len(self.nodes[group.name]) < group.max_nodes:
            node = self._launch(group)
        if node is None or not node.fits(stage.takes):
            return False
        node.give(stage.takes, -1)
        self._note_room(node)
        self.num_actors[index] += 1
        self.num_free[index] += 1
        self.most_actors[stage.name] = max(self.most_actors[stage.name], self.num_actors[index])
        node.actors.append((index, self.env.process(self._actor(index, node))))
        return True

    def _note_room(self, node: _Node) -> None:
        is_there = node in self.nodes[node.group.name]
        for stage, roomy in zip(self.stages, self.roomy, strict=True):
            if stage.group != node.group.name:
                continue
            if is_there and node.fits(stage.takes):
                roomy[node] = None
            else:
                roomy.pop(node, None)

    def _launch(self, group: SimGroup, launch_s: float | None = None) -> _Node:
        node = _Node(self.env, group)
        self.nodes[group.name][node] = None
        self._note_room(node)
        self.most_nodes[group.name] = max(self.most_nodes[group.name], len(self.nodes[group.name]))
        self.env.process(self._life(node, group.launch_s if launch_s is None else launch_s))
        return node

    def _life(self, node: _Node, launch_s: float) -> Generator[Any, Any, None]:
        yield self.env.timeout(launch_s)
        node.ready.succeed()
        if node.group.spot_mean_s is None:
            return
        yield self.env.timeout(self.random.expovariate(1 / node.group.spot_mean_s))
        if node not in self.nodes[node.group.name]:
            return
        self._remove(node)
        self.lost_nodes += 1
        for index, actor in node.actors:
            self.num_actors[index] -= 1
            actor.interrupt(_LOST)
        while len(self.nodes[node.group.name]) < node.group.min_nodes:
            self._launch(node.group)
        self._replace_lost()

    def _idle(self, node: _Node) -> Generator[Any, Any, None]:
        yield self.env.timeout(self.idle_timeout_s)
        nodes = self.nodes[node.group.name]
        if not node.actors and node in nodes and len(nodes) > node.group.min_nodes:
            self._remove(node)

    def _remove(self, node: _Node) -> None:
        del self.nodes[node.group.name][node]
        self._note_room(node)
        self.node_s[node.group.name] += self.env.now - node.asked_at
