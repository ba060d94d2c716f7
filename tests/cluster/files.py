"""The cluster files as Ray's launcher and autoscaler see them, and what recipes ask of them."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.resource_demand_scheduler import (
    _resource_based_utilization_scorer,
    get_bin_pack_residual,
    get_nodes_for,
)
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.conftest import REPOSITORY
from videopasta.cluster.instances import load_instances
from videopasta.config import EvaluateConfig, GenerateConfig, PoolConfig, TrainConfig, load_config

LAUNCHER_FILES = ("cluster.yaml", "deploy/cluster-gcp.yaml")
KUBERAY_FILE = "deploy/kuberay/raycluster.yaml"
CLUSTER_FILES = (*LAUNCHER_FILES, KUBERAY_FILE)
GROUPS = ("decode", "generate", "judge", "train")

Bundle = dict[str, float]


def read(file: str) -> dict[str, Any]:
    """The file as it is."""
    data: dict[str, Any] = yaml.safe_load((REPOSITORY / file).read_text(encoding="utf-8"))
    return data


def as_ray_sees_it(file: str) -> dict[str, Any]:
    """The autoscaler's configuration, by Ray's own code, valid by Ray's own schema."""
    data = read(file)
    if file == KUBERAY_FILE:
        data["metadata"]["namespace"] = "default"
        derived: dict[str, Any] = _derive_autoscaling_config_from_ray_cr(data)
        return derived
    config: dict[str, Any] = prepare_config(copy.deepcopy(data))
    validate_config(config)
    if data["provider"]["type"] == "aws":  # which it asks for the memory; the share is Ray's
        instances = load_instances()
        for node_type in config["available_node_types"].values():
            memory_gib = instances[node_type["node_config"]["InstanceType"]].memory_gib
            node_type["resources"].setdefault("memory", int(0.7 * memory_gib * 2**30))
    return config


def started_for(config: dict[str, Any], demands: Sequence[Bundle]) -> dict[str, int]:
    """The nodes that the autoscaler starts beside the head for `demands`; an assertion that all of them fit."""
    head = config["head_node_type"]
    head_resources = config["available_node_types"][head]["resources"]
    waiting, _ = get_bin_pack_residual([head_resources], list(demands))
    started, left = get_nodes_for(
        config["available_node_types"], {head: 1}, head, config["max_workers"], waiting,
        lambda node, bundles, _: _resource_based_utilization_scorer(node, bundles, node_availability_summary=None),
    )  # fmt: skip
    assert not left
    return dict(started)


def actors(pool: PoolConfig, *, largest: bool = True, group: str | None = None) -> list[Bundle]:
    """What a pool's actors reserve, by Ray's names."""
    wanted = {"CPU": pool.num_cpus, "GPU": pool.num_gpus, "memory": pool.memory_gib * 2**30, **pool.resources}
    if group is not None:
        wanted[group] = 1
    number = pool.max_size if largest else pool.min_size
    return [{name: amount for name, amount in wanted.items() if amount}] * number


def generation(*, largest: bool = True, pinned: bool = False) -> list[Bundle]:
    """The pools of the paper's recipe."""
    config = load_config(GenerateConfig, REPOSITORY / "configs/videopasta_7k.yaml")
    pools = [
        ("decode", config.decode_pool),
        ("generate", config.query_model.pool),
        ("generate", config.response_model.pool),
        *(("judge", judge.pool) for judge in config.judge_model),
    ]
    return _flat(actors(pool, largest=largest, group=group if pinned else None) for group, pool in pools)


def training(*, pinned: bool = False) -> list[Bundle]:
    """The workers of the paper's training."""
    workers = load_config(TrainConfig, REPOSITORY / "configs/dpo_qwen2_5_vl_7b_8gpu.yaml").workers
    worker = {"CPU": workers.num_cpus, "GPU": workers.num_gpus} | ({"train": 1.0} if pinned else {})
    return [worker] * workers.max_num


def evaluation() -> list[list[Bundle]]:
    """What an evaluation asks for, one thing after the other: its pools, then a benchmark on each GPU of eight."""
    config = load_config(EvaluateConfig, REPOSITORY / "configs/evaluate_qwen2_5_vl_7b.yaml")
    assert config.grader_model is not None
    pools = (config.decode_pool, config.model.pool, config.grader_model.pool)
    benchmark = {"CPU": config.benchmarks.num_cpus, "GPU": config.benchmarks.num_gpus}
    return [_flat(actors(pool) for pool in pools), [benchmark] * 8]


def _flat(lists: Iterable[list[Bundle]]) -> list[Bundle]:
    return [bundle for bundles in lists for bundle in bundles]
