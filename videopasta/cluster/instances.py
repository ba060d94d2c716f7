"""Cloud instances by name, and the node groups of a file for Ray's cluster launcher (AWS or GCP).

The files are read; no cloud is asked. Prices are those of `instances.yaml`, unverified, unless the user's file has
others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from pydantic import Field, ValidationError, model_validator

from videopasta.config.video import Frozen
from videopasta.errors import UserError

SHIPPED = Path(__file__).parent / "instances.yaml"
IDLE_TIMEOUT_MINUTES = 5
"""Ray's, where a cluster file gives none."""

Cloud = Literal["aws", "gcp", "here"]
_CLOUDS = ("aws", "gcp")
_SECTIONS = ("gpu_types", "instances", "prices_usd")
_GPU_KEYS = {"memory_gib": "gpu_memory_gib", "bf16_tflops": "gpu_bf16_tflops", "bandwidth_gb_s": "gpu_bandwidth_gb_s"}
_PRICE_KEYS = {"on_demand": "on_demand_usd", "spot": "spot_usd"}
_RAYS_OWN = ("CPU", "GPU", "memory", "object_store_memory")


class InstanceType(Frozen):
    """What a cloud rents under one name."""

    name: str
    """The cloud's name for it."""
    cloud: Cloud
    """Who rents it out."""
    vcpus: int = Field(ge=1)
    """Hardware threads; Ray counts each as a CPU."""
    memory_gib: float = Field(gt=0)
    """Main memory."""
    gpus: int = Field(default=0, ge=0)
    """Number of GPUs."""
    gpu: str | None = None
    """Their type, a key of `gpu_types`."""
    gpu_memory_gib: float = Field(default=0, ge=0)
    """Of one GPU, as its driver sees it."""
    gpu_bf16_tflops: float = Field(default=0, ge=0)
    """Peak of one GPU with dense bfloat16 matrices, by its data sheet. Nothing reaches it."""
    gpu_bandwidth_gb_s: float = Field(default=0, ge=0)
    """Peak bandwidth of one GPU's memory, in 10^9 bytes a second."""
    nvme_gib: float = Field(default=0, ge=0)
    """Local disks, lost with the instance."""
    on_demand_usd: float | None = Field(default=None, gt=0)
    """List price an hour; none: not rented out so. Unverified: see the head of `instances.yaml`."""
    spot_usd: float | None = Field(default=None, gt=0)
    """Typical spot price an hour; none: not rented out so. Unverified, and it moves."""

    @model_validator(mode="after")
    def _gpus_are_described(self) -> "InstanceType":
        if bool(self.gpus) != bool(self.gpu):
            raise ValueError(f"gpus={self.gpus} with gpu={self.gpu!r}: give both, or neither")
        return self


@dataclass(frozen=True)
class NodeGroup:
    """Nodes of one kind, of which the autoscaler starts as many as are needed."""

    name: str
    instance: InstanceType
    min_nodes: int
    max_nodes: int
    spot: bool
    """Cheaper, and taken away at two minutes' notice or less."""
    cpus: float
    """That Ray may use on one node."""
    gpus: float
    """That Ray may use on one node."""
    resources: Mapping[str, float]
    """Custom resources of one node, by which pools are pinned to the group."""


@dataclass(frozen=True)
class Fleet:
    """The nodes that a cluster file allows."""

    name: str
    """Of the cluster."""
    head: InstanceType | None
    """It runs all the time, and does no work. None: of one machine."""
    groups: tuple[NodeGroup, ...]
    """Of workers, in the order of the file."""
    idle_timeout_s: float
    """After which a node without work is given back."""


def load_instances(path: str | None = None) -> dict[str, InstanceType]:
    """The shipped table, over which the file at `path` is laid key by key: it changes instances, or adds some.

    Raises:
        UserError: the file cannot be read, or which instance in it lacks what.
    """
    table = _read_table(SHIPPED)
    if path is not None:
        for section, entries in _read_table(Path(path)).items():
            for name, values in entries.items():
                table[section][name] = table[section].get(name, {}) | values
    source = str(path or SHIPPED)
    if unknown := sorted(table["prices_usd"].keys() - table["instances"].keys()):
        raise UserError(f"{source}: prices_usd has {unknown[0]!r}, which is none of instances; add it there")
    return {name: _instance(name, table, source) for name in table["instances"]}


def read_fleet(path: str, instances: Mapping[str, InstanceType]) -> Fleet:
    """The node groups of a cluster file, with what their instances are.

    Args:
        path: a file for `ray up` whose provider is aws or gcp.
        instances: of `load_instances`.

    Raises:
        UserError: what of the file cannot be understood, and which instance type is unknown.
    """
    data = _read_yaml(Path(path))
    provider = data.get("provider")
    cloud = provider.get("type") if isinstance(provider, dict) else None
    if cloud not in _CLOUDS:
        raise UserError(f"{path}: provider.type is {cloud!r}; of {' and '.join(_CLOUDS)} the instances are known")
    types, head = data.get("available_node_types"), data.get("head_node_type")
    if not isinstance(types, dict) or head not in types:
        raise UserError(f"{path}: head_node_type is {head!r}; it must name one of available_node_types")
    most = data.get("max_workers", 0)
    found = {name: _group(name, values, cloud, most, instances, path) for name, values in types.items()}
    return Fleet(
        name=str(data.get("cluster_name", "default")),
        head=found[head].instance,
        groups=tuple(group for name, group in found.items() if name != head),
        idle_timeout_s=60 * float(data.get("idle_timeout_minutes", IDLE_TIMEOUT_MINUTES)),
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}. Give the path of a YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path}: expected `key: value` lines, found {type(data).__name__}")
    return data


def _read_table(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    data = _read_yaml(path)
    if unknown := sorted(map(str, data.keys() - set(_SECTIONS))):
        raise UserError(f"{path}: no such section: {', '.join(unknown)}; there are {', '.join(_SECTIONS)}")
    for section, entries in data.items():
        if not isinstance(entries, dict) or not all(isinstance(values, dict) for values in entries.values()):
            raise UserError(f"{path}: {section} must hold lines like `NAME: {{key: value}}`, as in {SHIPPED}")
    return data


def _instance(name: str, table: Mapping[str, Mapping[str, dict[str, Any]]], source: str) -> InstanceType:
    values = table["instances"][name]
    gpu = values.get("gpu")
    if gpu is not None and gpu not in table["gpu_types"]:
        raise UserError(f"{source}: instances.{name}.gpu is {gpu!r}, which is none of gpu_types; add it there")
    described = table["gpu_types"][gpu] if gpu is not None else {}
    peaks = {_GPU_KEYS.get(key, key): value for key, value in described.items()}
    prices = {_PRICE_KEYS.get(key, key): value for key, value in table["prices_usd"].get(name, {}).items()}
    try:
        return InstanceType.model_validate({"name": name} | peaks | prices | values)
    except ValidationError as error:
        _refuse(error, f"{source}: instances.{name}")


def _refuse(error: ValidationError, where: str) -> NoReturn:
    mistakes = []
    for item in error.errors(include_url=False):
        key = "".join(f".{part}" for part in item["loc"])
        mistakes.append(f"{where}{key}: {item['msg'].removeprefix('Value error, ')}")
    raise UserError("\n".join(mistakes)) from None


def _group(
    name: str, values: Any, cloud: Cloud, most: int, instances: Mapping[str, InstanceType], path: str
) -> NodeGroup:
    key = {"aws": "InstanceType", "gcp": "machineType"}[cloud]
    node = values.get("node_config") if isinstance(values, dict) else None
    node = node if isinstance(node, dict) else {}
    wanted = node.get(key)
    where = f"{path}: available_node_types.{name}"
    if not isinstance(wanted, str):
        raise UserError(f"{where}.node_config.{key} is missing; name an instance type of {cloud}")
    instance = instances.get(wanted)
    if instance is None or instance.cloud != cloud:
        raise UserError(
            f"{where}.node_config.{key} = {wanted!r}: nothing is known of this instance type of {cloud}. Add it to a "
            f"file of your own, as in {SHIPPED}, and name that file; or change {SHIPPED}"
        )
    resources = values.get("resources") or {}
    return NodeGroup(
        name=name,
        instance=instance,
        min_nodes=values.get("min_workers", 0),
        max_nodes=values.get("max_workers", most),
        spot=_is_spot(node, cloud),
        cpus=resources.get("CPU", instance.vcpus),
        gpus=resources.get("GPU", instance.gpus),
        resources={name: amount for name, amount in resources.items() if name not in _RAYS_OWN},
    )


def _is_spot(node: Mapping[str, Any], cloud: Cloud) -> bool:
    if cloud == "aws":
        return (node.get("InstanceMarketOptions") or {}).get("MarketType") == "spot"
    scheduling = node.get("scheduling") or {}
    # Ray's own examples write a list of mappings.
    parts = scheduling if isinstance(scheduling, list) else [scheduling]
    return any(part.get("provisioningModel") == "SPOT" or part.get("preemptible") for part in parts)
