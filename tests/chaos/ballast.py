"""Another job, which takes most of some nodes' object stores.

python -m tests.chaos.ballast SECONDS NODE_ID ...        fails where a store does not show it
"""

import sys
import time

import numpy as np
import ray
from ray._private.internal_api import node_stats
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

TAKEN_MIB = 70
"""Of the 100 in `cluster.py`."""


@ray.remote(num_cpus=0)
class Ballast:
    """In one store. What somebody looks at can be neither spilled nor evicted."""

    def __init__(self) -> None:
        self.seen = [ray.get(ray.put(np.ones(2**20, np.uint8))) for _ in range(TAKEN_MIB)]

    def is_there(self) -> bool:
        """Once it is."""
        return True


def main(seconds: float, node_ids: list[str]) -> None:
    """Take it, look at the stores, hold it."""
    ray.init(log_to_driver=False)
    nodes = [node for node in ray.nodes() if node["NodeID"] in node_ids]
    on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    ballast = [Ballast.options(scheduling_strategy=here).remote() for here in on]
    ray.get([one.is_there.remote() for one in ballast])
    stores = [node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False).store_stats for node in nodes]
    used_mib = [store.object_store_bytes_used // 2**20 for store in stores]
    if min(used_mib) < TAKEN_MIB:
        sys.exit(f"stores are not under pressure: {used_mib} MiB are in use")
    time.sleep(seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
