from pathlib import Path

import pytest

from videopasta.cluster.instances import SHIPPED, load_instances, read_fleet
from videopasta.errors import UserError


def write(folder: Path, text: str) -> str:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_cluster(
    folder: Path,
    *,
    node: str = "{InstanceType: g7e.12xlarge}",
    provider: str = "{type: aws}",
    head: str = "head",
    more: str = "",
) -> str:
    return write(
        folder,
        f"""
cluster_name: c
max_workers: 7
provider: {provider}
head_node_type: {head}
available_node_types:
  head: {{node_config: {{InstanceType: m7i.2xlarge, machineType: n2-standard-8}}, resources: {{CPU: 0}}}}
  work: {{node_config: {node}, {more}}}
""",
    )


def test_every_instance_has_a_price_and_every_gpu_its_peaks():
    """What planning divides by."""
    for instance in load_instances().values():
        assert instance.on_demand_usd or instance.spot_usd
        assert not (instance.on_demand_usd and instance.spot_usd) or instance.spot_usd < instance.on_demand_usd
        assert bool(instance.gpus) == bool(instance.gpu_memory_gib) == bool(instance.gpu_bf16_tflops)
        assert bool(instance.gpus) == bool(instance.gpu_bandwidth_gb_s)


def test_users_file_changes_single_keys_and_adds(tmp_path: Path):
    """A price alone, or an instance with a GPU that nobody has heard of."""
    path = write(
        tmp_path,
        """
prices_usd:
  p5.48xlarge: {spot: 9.5}
  x9.large: {on_demand: 3}
gpu_types:
  X9: {memory_gib: 500, bf16_tflops: 9000, bandwidth_gb_s: 20000}
instances:
  x9.large: {cloud: aws, vcpus: 4, memory_gib: 64, gpus: 1, gpu: X9}
""",
    )
    shipped, changed = load_instances(), load_instances(path)
    assert changed["p5.48xlarge"] == shipped["p5.48xlarge"].model_copy(update={"spot_usd": 9.5})
    assert (changed["x9.large"].gpu_memory_gib, changed["x9.large"].on_demand_usd) == (500, 3)
    assert len(changed) == len(shipped) + 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("instances: {a: {cloud: aws, vcpus: 4}}", r"instances\.a\.memory_gib: Field required"),
        ("instances: {a: {cloud: moon, vcpus: 4, memory_gib: 1}}", r"instances\.a\.cloud: .*'aws', 'gcp' or 'here'"),
        ("instances: {a: {cloud: aws, vcpus: 4, memory_gib: 1, gpus: 2}}", "gpus=2 with gpu=None: give both"),
        ("instances: {a: {cloud: aws, vcpus: 4, memory_gib: 1, gpu: Z, gpus: 2}}", "'Z', which is none of gpu_types"),
        ("instances: {a: {cloud: aws, vcpus: 4, memory_gib: 1, disk: 2}}", r"instances\.a\.disk: Extra inputs"),
        ("prices_usd: {m9.nano: {spot: 1}}", "prices_usd has 'm9.nano', which is none of instances"),
        ("prices_usd: {m7i.xlarge: {spot: -1}}", r"instances\.m7i\.xlarge\.spot_usd: .*greater than 0"),
        ("machines: {}", "no such section: machines; there are gpu_types, instances, prices_usd"),
        ("instances: [a]", "instances must hold lines like `NAME: "),
        ("- a", "expected `key: value` lines, found list"),
        ("a: b: c", "is not YAML"),
    ],
)
def test_mistakes_of_a_users_file_are_told(tmp_path: Path, text: str, says: str):
    """Which instance lacks what, in which file."""
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=says) as caught:
        load_instances(path)
    assert path in str(caught.value)


def test_a_file_that_is_not_there_is_told():
    """With its path."""
    with pytest.raises(UserError, match=r"/nowhere\.yaml: .*Give the path of a YAML file"):
        load_instances("/nowhere.yaml")


def test_fleet_takes_what_the_file_leaves_out_from_instance_and_cluster(tmp_path: Path):
    """CPUs and GPUs of the instance, all the cluster's nodes, Ray's idle time."""
    instances = load_instances()
    fleet = read_fleet(write_cluster(tmp_path), instances)
    assert (fleet.name, fleet.head, fleet.idle_timeout_s) == ("c", instances["m7i.2xlarge"], 300)
    (group,) = fleet.groups
    assert (group.name, group.instance.name, group.min_nodes, group.max_nodes) == ("work", "g7e.12xlarge", 0, 7)
    assert (group.cpus, group.gpus, group.resources, group.spot) == (48, 2, {}, False)


@pytest.mark.parametrize(
    ("provider", "node", "spot"),
    [
        ("{type: aws}", "{InstanceType: g7e.12xlarge, InstanceMarketOptions: {MarketType: spot}}", True),
        ("{type: aws}", "{InstanceType: g7e.12xlarge, InstanceMarketOptions: {MarketType: capacity-block}}", False),
        ("{type: gcp}", "{machineType: a2-ultragpu-2g, scheduling: {provisioningModel: SPOT}}", True),
        ("{type: gcp}", "{machineType: a2-ultragpu-2g, scheduling: [{preemptible: true}]}", True),
        ("{type: gcp}", "{machineType: a2-ultragpu-2g, scheduling: {onHostMaintenance: TERMINATE}}", False),
    ],
)
def test_spot_is_read_as_each_cloud_writes_it(tmp_path: Path, provider: str, node: str, spot: bool):
    """Also as Ray's examples write it."""
    assert read_fleet(write_cluster(tmp_path, provider=provider, node=node), load_instances()).groups[0].spot is spot


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"node": "{InstanceType: z1.huge}"},
            rf"available_node_types\.work\.node_config\.InstanceType = 'z1\.huge': .*Add it to .*{SHIPPED}",
        ),
        ({"node": "{InstanceType: a2-ultragpu-2g}"}, "nothing is known of this instance type of aws"),
        ({"node": "{}"}, r"work\.node_config\.InstanceType is missing; name an instance type of aws"),
        ({"provider": "{type: azure}"}, "provider.type is 'azure'; of aws and gcp the instances are known"),
        ({"head": "boss"}, "head_node_type is 'boss'; it must name one of available_node_types"),
    ],
)
def test_a_cluster_file_that_is_not_understood_is_told(tmp_path: Path, changes: dict[str, str], says: str):
    """Where, which value, and the fix."""
    with pytest.raises(UserError, match=says):
        read_fleet(write_cluster(tmp_path, **changes), load_instances())
