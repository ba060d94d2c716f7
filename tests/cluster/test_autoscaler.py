"""A run on a head without work of its own, whose autoscaler adds and takes nodes: from none to some to none.

The nodes are Ray's fake ones, processes of this machine that call themselves GPU nodes; head, autoscaler, Ray Data and
the run are the real thing. Models are the stand-in of tests/chaos/endpoint.py, whose words are the same however often
and wherever they are asked for; the last test has vLLM's engines instead.
"""

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from tests.cluster.scripted import SECURED, TOKEN, generate_words, write_run
from tests.conftest import REPOSITORY
from tests.test_ray_session import environment, free_ports, started_head
from videopasta.pairs import PairStore

NUM_CLIPS, NUM_VLLM_CLIPS = 60, 12
TINY = REPOSITORY / "videopasta/tiny"
HEAD_ID, HEAD = "f" * 51 + "00000", "ray.head.default"
"""As the provider of fake nodes calls the head."""
MOST = {"decode": 1, "generate": 2, "judge": 1}
"""Nodes of each group."""
IDLE_S = 15


def cluster_file(gcs: str) -> dict[str, Any]:
    """As cluster.yaml: a head without work, groups that start from none, pools pinned by custom resources."""
    groups = {
        name: {
            "resources": {"CPU": 2, "GPU": int(name != "decode"), name: 1, "object_store_memory": 150_000_000},
            "node_config": {}, "min_workers": 0, "max_workers": most,
        }
        for name, most in MOST.items()
    }  # fmt: skip
    empty = (
        "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
        "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
    )  # fmt: skip
    return {
        "cluster_name": "fake", "max_workers": 4, "idle_timeout_minutes": IDLE_S / 60, "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": gcs, "launch_multiple": True, "head_node_id": HEAD_ID,
        },
        "auth": {"ssh_user": "ubuntu"}, "docker": {}, "file_mounts": {}, "file_mounts_sync_continuously": False,
        "head_node_type": HEAD,
        "available_node_types": {HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}} | groups,
        **{key: [] for key in empty},
    }  # fmt: skip


class Cluster:
    """The head, and who is there."""

    def __init__(self, address: str, dashboard: str) -> None:
        self.address, self._dashboard = address, dashboard

    def nodes(self) -> list[dict[str, Any]]:
        """Those alive, without the head."""
        request = urllib.request.Request(
            f"{self._dashboard}/api/v0/nodes?detail=1", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found = json.load(answer)["data"]["result"]["result"]
        return [node for node in found if node["state"] == "ALIVE" and not node["is_head_node"]]

    def count(self) -> dict[str, int]:
        """Nodes by group."""
        alive = self.nodes()
        return {name: sum(name in node["resources_total"] for node in alive) for name in MOST}

    def kill(self, group: str) -> bool:
        """SIGKILL one node of `group` and all on it; False where there is none."""
        node = next((node for node in self.nodes() if group in node["resources_total"]), None)
        if node is None:
            return False
        for process in psutil.process_iter(["cmdline", "name"]):
            if "raylet" in (process.info["name"] or "") and node["node_id"] in " ".join(process.info["cmdline"] or []):
                for one in [process, *process.children(recursive=True)]:
                    one.kill()
                return True
        raise RuntimeError(f"no raylet of {node['node_id']}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("autoscaler")
    (port,) = free_ports(1)
    file = home / "cluster.yaml"
    file.write_text(yaml.safe_dump(cluster_file(f"127.0.0.1:{port}")))
    fake = {
        "RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID, "RAY_NODE_TYPE_NAME": HEAD,
    }  # fmt: skip
    arguments = [f"--port={port}", "--num-cpus=0", "--num-gpus=0", f"--autoscaling-config={file}"]
    before = {process.pid for process in psutil.process_iter()}
    with started_head(home, ray_folder / "a", TOKEN, arguments=arguments, **fake, **SECURED) as head:
        yield Cluster(f"127.0.0.1:{port}", head.dashboard)
    for process in psutil.process_iter(["cmdline"]):  # fake nodes that outlive their head
        if process.pid not in before and str(ray_folder / "a") in " ".join(process.info["cmdline"] or []):
            process.kill()


def pools(**generates: Any) -> dict[str, dict[str, Any]]:
    """Pinned to the groups; what is given is of the generator's pool."""
    gpu = {"num_cpus": 0.5, "num_gpus": 1, "clips_in_flight": 1}
    generator = gpu | {"resources": {"generate": 1}} | generates
    return {
        "decode": {"num_cpus": 0.5, "clips_in_flight": 1, "resources": {"decode": 0.5}},
        "query": generator, "response": generator, "judge": gpu | {"resources": {"judge": 1}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clips and a configuration of the stand-in, whose generator may have two engines."""
    folder = tmp_path_factory.mktemp("site")
    write_run(folder, num_clips=NUM_CLIPS, pools=pools(max_size=2))
    return folder


def run(cluster: Cluster, site: Path, out: Path, *, kill: str | None = None) -> SimpleNamespace:
    """`videopasta generate` on the cluster; the nodes that were seen, and at most one killed in the middle."""
    command = [sys.executable, "-m", "videopasta.cli", "generate", *generate_words(site, out)]
    secured = SECURED | {"RAY_ADDRESS": cluster.address}
    seen: list[dict[str, int]] = []
    killed = False
    with (site / f"{out.name}.log").open("w") as log:
        process = subprocess.Popen(command, env=environment(site, **secured), stdout=log, stderr=log)
        watchdog = threading.Timer(300, process.kill)
        watchdog.start()
        while process.poll() is None:
            seen.append(cluster.count())
            if kill and not killed and len(list(out.glob("candidates/*.parquet"))) >= 3:
                killed = cluster.kill(kill)
            time.sleep(1)
        watchdog.cancel()
    said = (site / f"{out.name}.log").read_text()
    return SimpleNamespace(code=process.returncode, seen=seen, said=said, killed=killed)


def wait_for_none(cluster: Cluster) -> dict[str, int]:
    for _ in range(120):
        if not any(cluster.count().values()):
            break
        time.sleep(1)
    return cluster.count()


def rows(out: Path) -> dict[str, tuple]:
    table = PairStore(str(out)).read("candidates", ["pair_id", "chosen", "rejected", "accepted"])
    found = {row.pop("pair_id"): tuple(row.values()) for row in table.to_pylist()}
    assert len(found) == table.num_rows
    return found


@pytest.mark.slow
def test_nodes_come_for_a_run_and_go_after_it(cluster: Cluster, site: Path):
    """From no node to the most of each group, never more, and back to none; the second engine came by backlog."""
    assert wait_for_none(cluster) == dict.fromkeys(MOST, 0)
    done = run(cluster, site, site / "calm")
    assert done.code == 0, done.said
    most = {name: max(count[name] for count in done.seen) for name in MOST}
    assert most == MOST
    first = next(i for i, count in enumerate(done.seen) if count["generate"] == 1)
    assert any(count["generate"] == 2 for count in done.seen[first:])
    assert len(PairStore(str(site / "calm")).ledger().clip_ids) == NUM_CLIPS
    assert wait_for_none(cluster) == dict.fromkeys(MOST, 0)


@pytest.mark.slow
def test_nothing_is_lost_with_a_node(cluster: Cluster, site: Path):
    """A GPU node is taken in the middle: another comes, and the rows are those of the run that kept its nodes."""
    done = run(cluster, site, site / "rough", kill="generate")
    assert done.code == 0, done.said
    assert done.killed
    assert rows(site / "rough") == rows(site / "calm")


@pytest.mark.slow
def test_engines_of_vllm_come_with_their_nodes(cluster: Cluster, tmp_path: Path):
    """The shipped models on nodes that were not there before: pairs of every clip, and no node is left."""
    assert wait_for_none(cluster) == dict.fromkeys(MOST, 0)
    config = yaml.safe_load((TINY / "generate.yaml").read_text())
    write_run(tmp_path, num_clips=NUM_VLLM_CLIPS, pools=pools(clips_in_flight=4), config=config)
    done = run(cluster, tmp_path, tmp_path / "out")
    assert done.code == 0, done.said
    assert all(1 <= max(count[name] for count in done.seen) <= MOST[name] for name in MOST)
    store = PairStore(str(tmp_path / "out"))
    assert len(store.ledger().clip_ids) == NUM_VLLM_CLIPS
    assert store.read("pairs").num_rows > NUM_VLLM_CLIPS
    assert wait_for_none(cluster) == dict.fromkeys(MOST, 0)
