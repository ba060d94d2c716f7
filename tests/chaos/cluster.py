"""A Ray cluster of a head and two nodes on this machine, whose nodes can be killed. Temp dir and ports of its own.

It listens on 127.0.0.1 and asks for a token that is made for this process; what it starts inherits it.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from videopasta.ray_session import close_to_others

NODE = {"num_cpus": 4, "object_store_memory": 100 * 2**20}
"""Of each node; the head does no work."""
NUM_NODES = 2


class LocalCluster:
    """Use as a context."""

    def __init__(self, folder: Path) -> None:
        """`folder` has a short path: Ray's sockets must fit in 107 characters."""
        close_to_others()
        from ray.cluster_utils import Cluster

        self._folder, self._num_added = folder, 0
        self._temporary: dict[Any, Path] = {}
        head = NODE | {"num_cpus": 0, "temp_dir": str(folder / "ray")}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(NUM_NODES):
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
        """One more, with a folder of its own for what is temporary on it."""
        self._num_added += 1
        temporary = self._folder / f"tmp-{self._num_added}"
        temporary.mkdir()
        node = self._cluster.add_node(temp_dir=str(self._folder / "ray"), env_vars={"TMPDIR": str(temporary)}, **NODE)
        self._temporary[node] = temporary

    @property
    def temporary(self) -> list[Path]:
        """The folders for what is temporary, of the nodes that are there."""
        return [self._temporary[node] for node in self._cluster.worker_nodes]

    def kill_node(self, number: int, *, notice: bool = False) -> None:
        """SIGKILL all of a node's processes, and put another in its place. What was on its disk is gone with it.

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
        shutil.rmtree(self._temporary.pop(node), ignore_errors=True)
        self.add_node()

    def press_stores(self, *, seconds: float) -> None:
        """Fill most of each node's object store with objects of another job."""
        # By their ids: Ray takes a while to see that a killed node is none any more.
        nodes = [node._node_id for node in self._cluster.worker_nodes]
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.ballast", str(seconds), *nodes], capture_output=True, text=True,
            env=os.environ | {"RAY_ADDRESS": self.address}, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)

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
