"""What Ray Serve is asked for; that it does it is in `test_service.py`."""

import pytest

from tests.serve.chats import make_config
from videopasta.serve.deployments import build


@pytest.fixture(scope="module")
def deployments() -> dict:
    """By name, as Serve holds them."""
    pool = {"min_size": 2, "max_size": 5, "clips_in_flight": 3, "num_gpus": 2, "resources": {"serve": 1}}
    config = make_config(model={"model": "tiny:vl", "pool": pool}, decode_pool={"max_size": 7, "memory_gib": 1})
    door = build(config)._bound_deployment
    return {one.name: one for one in (door, *(bound._bound_deployment for bound in door.init_args[1:]))}


def test_replicas_grow_as_the_pools_say(deployments: dict):
    """From least to most, aimed at the requests that each is meant to have; of the door there is one."""
    engine, decoder = (deployments[name]._deployment_config.autoscaling_config for name in ("Engine", "Decoder"))
    assert (engine.min_replicas, engine.max_replicas, engine.target_ongoing_requests) == (2, 5, 3)
    assert (decoder.min_replicas, decoder.max_replicas) == (1, 7)
    door = deployments["Door"]._deployment_config
    assert (door.num_replicas, door.autoscaling_config) == (1, None)


def test_replicas_reserve_what_the_pools_say(deployments: dict):
    """GPUs, memory, and the node group."""
    options = deployments["Engine"].ray_actor_options
    assert (options["num_gpus"], options["resources"]) == (2, {"serve": 1})
    assert deployments["Decoder"].ray_actor_options["memory"] == 2**30
