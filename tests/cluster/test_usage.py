"""Nodes, GPUs and cost of a cluster."""

from types import SimpleNamespace
from typing import Any

from videopasta.cluster.usage import Usage, nodes_of, prices_of, usage_of

PRICES = {("g6e.xlarge", "spot"): 0.8, ("g6e.xlarge", "on-demand"): 1.9}


def make_node(*, gpus: float = 0.0, alive: bool = True, **labels: str) -> dict[str, Any]:
    """As `ray.nodes()` tells of it."""
    resources = {"CPU": 4.0} | ({"GPU": gpus} if gpus else {})
    return {"Alive": alive, "Resources": resources, "Labels": {k.replace("_", "-"): v for k, v in labels.items()}}


def test_nodes_of_a_kind_are_added_up():
    """By instance type and market, each at its price."""
    spot = make_node(gpus=1, instance_type="g6e.xlarge", market_type="spot")
    usage = usage_of(nodes_of([spot, spot, make_node(gpus=1, instance_type="g6e.xlarge")]), PRICES)
    assert usage == {("g6e.xlarge", "spot"): Usage(2, 2, 1.6), ("g6e.xlarge", "on-demand"): Usage(1, 1, 1.9)}


def test_what_has_no_price_costs_nothing_and_is_told():
    """An unknown type, and a node without labels."""
    usage = usage_of(nodes_of([make_node(instance_type="x1.huge"), make_node()]), PRICES)
    assert usage == {("x1.huge", "on-demand"): Usage(1, 0, None), ("unknown", "on-demand"): Usage(1, 0, None)}


def test_dead_nodes_do_not_count():
    """Ray remembers them."""
    assert nodes_of([make_node(alive=False)]) == ()


def test_instance_types_without_a_price_are_left_out():
    """Some are not rented out as spot."""
    types = {
        "a": SimpleNamespace(on_demand_usd=2.0, spot_usd=0.5),
        "b": SimpleNamespace(on_demand_usd=3.0, spot_usd=None),
    }
    assert prices_of(types) == {("a", "on-demand"): 2.0, ("a", "spot"): 0.5, ("b", "on-demand"): 3.0}
