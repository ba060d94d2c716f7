"""What a run's cluster holds and costs: nodes, GPUs, USD. Pure, but for the meter that looks at Ray every 10 s.

A node tells what it is by Ray's labels `instance-type` and `market-type` (`spot` or `on-demand`), which cluster.yaml
sets. All nodes count, also those that another run uses.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from videopasta.cluster.instances import InstanceType, load_instances
from videopasta.telemetry import Meter, Metric, sample

EVERY_S = 10.0
_P = "videopasta_cluster"
METRICS = (
    Metric("gauge", f"{_P}_nodes", "Nodes", ("instance_type", "market")),
    Metric("gauge", f"{_P}_gpus", "GPUs of the nodes"),
    Metric("gauge", f"{_P}_usd_per_hour", "Price of the nodes whose price is known", ("instance_type", "market")),
    Metric("gauge", f"{_P}_unpriced_nodes", "Nodes whose price is not known: the cost leaves them out"),
    Metric("counter", f"{_P}_node_hours", "Hours of nodes since the run began", ("market",)),
    Metric("counter", f"{_P}_gpu_hours", "Hours of GPUs since the run began, busy or not", ("market",)),
    Metric("counter", f"{_P}_cost_usd", "USD since the run began, of the nodes whose price is known", ("market",)),
)
Prices = Mapping[tuple[str, str], float]
"""USD per hour by instance type and market."""


@dataclass(frozen=True)
class Node:
    """One machine."""

    num_gpus: float
    instance_type: str
    """`unknown` without a label."""
    market: str


@dataclass(frozen=True)
class Usage:
    """Nodes of one kind."""

    num_nodes: int
    num_gpus: float
    usd_per_hour: float | None
    """None: the price is not known."""


def nodes_of(found: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The living nodes in what `ray.nodes()` answers."""
    return tuple(
        Node(
            one["Resources"].get("GPU", 0.0),
            one["Labels"].get("instance-type", "unknown"),
            one["Labels"].get("market-type", "on-demand"),
        )
        for one in found
        if one["Alive"]
    )


def usage_of(nodes: Iterable[Node], prices: Prices) -> dict[tuple[str, str], Usage]:
    """Nodes, GPUs and price by instance type and market."""
    kinds: dict[tuple[str, str], list[Node]] = {}
    for node in nodes:
        kinds.setdefault((node.instance_type, node.market), []).append(node)
    return {
        kind: Usage(
            len(found), sum(node.num_gpus for node in found), prices[kind] * len(found) if kind in prices else None
        )
        for kind, found in kinds.items()
    }


def prices_of(types: Mapping[str, InstanceType]) -> dict[tuple[str, str], float]:
    """The prices that are known, of instance types by name."""
    found = {(name, "on-demand"): one.on_demand_usd for name, one in types.items()}
    found |= {(name, "spot"): one.spot_usd for name, one in types.items()}
    return {kind: usd for kind, usd in found.items() if usd is not None}


class UsageMeter:
    """A context around one run, in the driver."""

    def __init__(self, run: str) -> None:
        self._prices = prices_of(load_instances())
        self._meter = Meter(METRICS, {"run": run})
        self._shown: set[tuple[str, str]] = set()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="usage", daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._watcher.join()
        self._meter.close()

    def _watch(self) -> None:
        import ray

        since, goes_on = time.monotonic(), True
        while goes_on:
            usage = usage_of(nodes_of(ray.nodes()), self._prices)
            self._show(usage)
            goes_on = not self._ended.wait(EVERY_S)
            now = time.monotonic()
            self._charge(usage, (now - since) / 3600)
            since = now

    def _show(self, usage: Mapping[tuple[str, str], Usage]) -> None:
        for kind in self._shown | usage.keys():
            labels = dict(zip(("instance_type", "market"), kind, strict=True))
            one = usage.get(kind, Usage(0, 0.0, 0.0))  # the last of its kind has left
            self._meter.set(f"{_P}_nodes", one.num_nodes, **labels)
            if one.usd_per_hour is not None:
                self._meter.set(f"{_P}_usd_per_hour", one.usd_per_hour, **labels)
        self._shown |= usage.keys()
        self._meter.set(f"{_P}_gpus", sum(one.num_gpus for one in usage.values()))
        unpriced = sum(one.num_nodes for one in usage.values() if one.usd_per_hour is None)
        self._meter.set(f"{_P}_unpriced_nodes", unpriced)

    def _charge(self, usage: Mapping[tuple[str, str], Usage], hours: float) -> None:
        for (_, market), one in usage.items():
            self._meter.add(sample(f"{_P}_node_hours", one.num_nodes * hours, market=market))
            self._meter.add(sample(f"{_P}_gpu_hours", one.num_gpus * hours, market=market))
            self._meter.add(sample(f"{_P}_cost_usd", (one.usd_per_hour or 0.0) * hours, market=market))
