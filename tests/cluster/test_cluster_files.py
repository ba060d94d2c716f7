import re
import subprocess

import pytest
import yaml

from tests.cluster.files import (
    CLUSTER_FILES,
    GROUPS,
    LAUNCHER_FILES,
    as_ray_sees_it,
    evaluation,
    generation,
    read,
    started_for,
    training,
)
from tests.conftest import REPOSITORY
from videopasta.cluster.instances import load_instances, read_fleet

DISK_GIB = {"head": 100, "decode": 200, "generate": 500, "judge": 500, "train": 600}


@pytest.fixture(params=LAUNCHER_FILES)
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def disks_gib(node: dict) -> list[int]:
    if "BlockDeviceMappings" in node:
        return [mapping["Ebs"]["VolumeSize"] for mapping in node["BlockDeviceMappings"]]
    return [disk["initializeParams"]["diskSizeGb"] for disk in node["disks"]]


@pytest.mark.parametrize("name", CLUSTER_FILES)
def test_ray_accepts_the_file(name: str):
    """Ray's launcher fills in its defaults and finds nothing wrong; KubeRay's autoscaler derives a valid one."""
    config = as_ray_sees_it(name)
    workers = {key: value for key, value in config["available_node_types"].items() if key != config["head_node_type"]}
    assert tuple(workers) == GROUPS
    assert config["max_workers"] == sum(node_type["max_workers"] for node_type in workers.values())
    assert config["available_node_types"][config["head_node_type"]]["max_workers"] == 0
    assert all(node_type["min_workers"] == 0 < node_type["max_workers"] for node_type in workers.values())
    assert all(node_type["labels"]["role"] == key for key, node_type in workers.items())
    assert config["idle_timeout_minutes"] == 10


def test_resources_are_those_of_the_instances(file: str):
    """A node that says it has more than it has is given more than it can do; each group has its custom resource."""
    fleet = read_fleet(str(REPOSITORY / file), load_instances())
    for group in fleet.groups:
        assert (group.cpus, group.gpus) == (group.instance.vcpus, group.instance.gpus), group.name
        assert group.resources == {group.name: group.gpus or group.cpus}
    types = read(file)["available_node_types"]
    for group in fleet.groups:  # by which a run knows what its nodes cost
        market = "spot" if group.spot else "on-demand"
        labels = {"role": group.name, "instance-type": group.instance.name, "market-type": market}
        assert types[group.name]["labels"] == labels
    assert types["head"]["resources"] == {"CPU": 0}
    assert {name: disks_gib(node_type["node_config"]) for name, node_type in types.items()} == {
        name: [gib] for name, gib in DISK_GIB.items()
    }


def test_memory_is_known_to_the_autoscaler(file: str):
    """Without it no node is started for a pool that asks for memory. On AWS Ray asks the cloud; on GCP it does not."""
    for group in read_fleet(str(REPOSITORY / file), load_instances()).groups:
        stated = read(file)["available_node_types"][group.name]["resources"].get("memory")
        if group.instance.cloud == "gcp":
            assert 0.5 < stated / (group.instance.memory_gib * 2**30) <= 0.7, group.name
        else:
            assert stated is None


def test_only_training_is_on_demand(file: str):
    """Generation bears the loss of a node; eight GPUs of a training go together."""
    groups = read_fleet(str(REPOSITORY / file), load_instances()).groups
    assert [group.name for group in groups if not group.spot] == ["train"]


def test_every_start_of_ray_asks_for_the_token(file: str):
    """Head and workers alike, from the file that is copied to them and that only its user can read."""
    config = read(file)
    assert config["file_mounts"]["~/ray-token"] == "~/ray-token"
    assert config["setup_commands"][0] == "chmod 600 ~/ray-token"
    for role in ("head", "worker"):
        starts = [command for command in config[f"{role}_start_ray_commands"] if "ray start" in command]
        assert len(starts) == 1
        before, _, _ = starts[0].partition("ray start")
        assert re.search(r"export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=\$HOME/ray-token &&", before)
        assert "--metrics-export-port=8080" in starts[0]


def test_dashboard_is_on_loopback_and_nothing_is_opened_to_all(file: str):
    """Ray's own template binds the dashboard to all addresses."""
    config = read(file)
    head = next(command for command in config["head_start_ray_commands"] if "ray start" in command)
    assert "--dashboard-host=127.0.0.1" in head
    assert "0.0.0.0" not in (REPOSITORY / file).read_text(encoding="utf-8")
    assert "security_group" not in config["provider"]


def test_what_is_copied_to_the_nodes_is_there(file: str):
    """Paths from here, where `ray up` runs; the lock that is installed is among them."""
    config = read(file)
    mounts = {remote: local for remote, local in config["file_mounts"].items() if local != "~/ray-token"}
    assert all((REPOSITORY / local).exists() for local in mounts.values())
    commands = " ".join([*config["setup_commands"], *config["head_setup_commands"]])
    for lock in re.findall(r"~/videopasta/(requirements/\S+)", commands):
        assert (REPOSITORY / lock).is_file()


def test_commands_are_shell(file: str):
    """A mistake would show on the first node, after minutes."""
    config = read(file)
    for key in ("setup_commands", "head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[key]:
            subprocess.run(["bash", "-n", "-c", command], check=True)


def test_head_may_end_the_nodes_of_this_cluster():
    """The policy names it; under another name nodes would run for ever."""
    text = (REPOSITORY / "deploy/aws-iam.yaml").read_text(encoding="utf-8")
    assert f'{{"ec2:ResourceTag/ray-cluster-name": {read("cluster.yaml")["cluster_name"]}}}' in text


def test_policy_is_yaml_as_cloudformation_reads_it():
    """Without aliases, which it refuses."""
    with (REPOSITORY / "deploy/aws-iam.yaml").open(encoding="utf-8") as file:
        assert not [event for event in yaml.parse(file) if isinstance(event, yaml.AliasEvent)]


def test_workers_hold_no_keys():
    """On AWS two instance profiles, which deploy/aws-iam.yaml makes, and metadata that a plain GET does not read."""
    types = read("cluster.yaml")["available_node_types"]
    profiles = {name: node_type["node_config"]["IamInstanceProfile"]["Name"] for name, node_type in types.items()}
    assert profiles == {"head": "videopasta-head"} | dict.fromkeys(GROUPS, "videopasta-worker")
    assert all(node_type["node_config"]["MetadataOptions"]["HttpTokens"] == "required" for node_type in types.values())
    made = yaml.safe_load((REPOSITORY / "deploy/aws-iam.yaml").read_text(encoding="utf-8"))["Resources"].values()
    names = {one["Properties"].get("InstanceProfileName") for one in made}
    assert {"videopasta-head", "videopasta-worker"} <= names
    accounts = [
        node_type["node_config"]["serviceAccounts"][0]["email"].partition("@")[0]
        for name, node_type in read("deploy/cluster-gcp.yaml")["available_node_types"].items()
        if name != "head"
    ]
    assert accounts == ["videopasta-worker"] * len(GROUPS)


@pytest.mark.parametrize("name", CLUSTER_FILES)
def test_pinned_recipe_fills_its_groups(name: str):
    """The paper's pools at their largest, pinned: each group as large as its pool, and no other."""
    started = started_for(as_ray_sees_it(name), generation(pinned=True))
    assert started.pop("decode") in (2, 3)  # 32 decoders on nodes of 16 or 14 CPUs
    assert started == {"generate": 5, "judge": 2}
    assert started_for(as_ray_sees_it(name), training(pinned=True)) == {"train": 1}


@pytest.mark.parametrize("name", CLUSTER_FILES)
def test_recipe_fits_as_it_is(name: str):
    """Not pinned: all fits, the pools at their smallest leave the expensive node alone, and a training takes it."""
    config = as_ray_sees_it(name)
    started_for(config, generation())
    assert "train" not in started_for(config, generation(largest=False))
    assert started_for(config, training()) == {"train": 1}
    for step in evaluation():
        started_for(config, step)
