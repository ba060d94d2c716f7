"""A Ray cluster of a head and two nodes on this machine, whose nodes can be killed. Temp dir and ports of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

NODE = {"num_cpus": 4, "object_store_memory": 100 * 2**20}
"""Of each node; the head does no work."""


_BALLAST = """
import sys, time, ray
ray.init(log_to_driver=False)
@ray.remote(num_cpus=0, scheduling_strategy="SPREAD")
def hold(seconds):
    kept = [ray.put(bytes(2**20)) for _ in range(70)]
    time.sleep(seconds)
ray.get([hold.remote(float(sys.argv[1])) for _ in range(2)])
"""


class LocalCluster:
    """Use as a context."""

    def __init__(self, folder: Path) -> None:
        """`folder` has a short path: Ray's sockets must fit in 107 characters."""
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 0, "object_store_memory": 100 * 2**20, "temp_dir": str(folder)},
        )
        self._folder = folder
        for _ in range(2):
            self.add_node()

    def __enter__(self) -> "LocalCluster":
        return self

    def __exit__(self, *error: object) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        address: str = self._cluster.address
        return address

    def add_node(self) -> None:
        """One more."""
        self._cluster.add_node(temp_dir=str(self._folder), **NODE)

    def kill_node(self, number: int, *, notice: bool = False) -> None:
        """SIGKILL all of a node's processes, and put another in its place.

        Args:
            number: which one.
            notice: tell it of its preemption first, and SIGTERM it, as a cloud does.
        """
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: node.unique_id)
        node = nodes[number % len(nodes)]
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        doomed = [raylet, *raylet.children(recursive=True)]
        if notice:
            self._drain(node._node_id)
            raylet.send_signal(signal.SIGTERM)
            psutil.wait_procs([raylet], timeout=2)
        for process in doomed:
            if process.is_running():
                process.kill()
        psutil.wait_procs(doomed, timeout=10)
        self._cluster.worker_nodes.discard(node)
        self.add_node()

    def press_stores(self, *, seconds: float) -> None:
        """Fill most of the object stores of two nodes, the head may be one, with objects of another job."""
        environment = os.environ | {"RAY_ADDRESS": self.address}
        subprocess.run([sys.executable, "-c", _BALLAST, str(seconds)], check=True, capture_output=True, env=environment)

    def _drain(self, node_id: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", self.address]
        command += ["--node-id", node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "chaos"]
        command += ["--deadline-remaining-seconds", "2"]
        subprocess.run(command, check=True, capture_output=True, env=os.environ)

    def processes(self, *words: str) -> list[psutil.Process]:
        """The processes on its nodes whose command line has all of `words`, oldest first."""
        found = []
        for node in self._cluster.worker_nodes:
            raylet: Any = node.all_processes["raylet"][0].process.pid
            for process in psutil.Process(raylet).children(recursive=True):
                try:
                    line = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if all(word in line for word in words):
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)
