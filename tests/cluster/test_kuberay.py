import importlib
import itertools
import re
import shlex
from collections.abc import Iterator

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from tests.cluster.files import KUBERAY_FILE, read
from tests.conftest import REPOSITORY
from videopasta.cluster.instances import load_instances
from videopasta.cluster.usage import prices_of
from videopasta.config import GenerateConfig, ServeConfig, load_config

JOB_FILE = "deploy/kuberay/rayjob.yaml"
SERVICE_FILE = "deploy/kuberay/rayservice.yaml"
CLUSTERS = pytest.mark.parametrize("file", [KUBERAY_FILE, SERVICE_FILE])


def cluster_of(file: str) -> dict:
    """The RayCluster that a file has, or is."""
    spec = read(file)["spec"]
    return spec.get("rayClusterConfig", spec)


def groups(file: str = KUBERAY_FILE) -> list[tuple[str, dict]]:
    spec = cluster_of(file)
    return [("head", spec["headGroupSpec"]), *((group["groupName"], group) for group in spec["workerGroupSpecs"])]


def containers(file: str = KUBERAY_FILE) -> list[tuple[str, dict]]:
    return [(name, one) for name, group in groups(file) for one in group["template"]["spec"]["containers"]]


def keys_of(node: object) -> Iterator[tuple[str, object]]:
    if isinstance(node, dict):
        yield from node.items()
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from keys_of(value)


@pytest.mark.parametrize(
    ("file", "kind"), [(KUBERAY_FILE, "RayCluster"), (JOB_FILE, "RayJob"), (SERVICE_FILE, "RayService")]
)
def test_resources_are_of_kuberays_api(file: str, kind: str):
    """The version that has `authOptions`."""
    data = read(file)
    assert (data["apiVersion"], data["kind"]) == ("ray.io/v1", kind)


@CLUSTERS
def test_cluster_asks_for_a_token_and_grows_by_the_second_autoscaler(file: str):
    """KubeRay refuses a token without a version of Ray, which is that of the lock."""
    spec = cluster_of(file)
    lock = (REPOSITORY / "requirements/gpu.txt").read_text(encoding="utf-8")
    assert spec["authOptions"] == {"mode": "token"}
    assert f"\nray=={spec['rayVersion']}\n" in lock
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"


@CLUSTERS
def test_every_container_runs_the_one_image_with_equal_requests_and_limits(file: str):
    """A tag, not the newest; and no pod is given what its node may take back."""
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version is not None
    for name, container in containers(file):
        assert container["image"] == f"YOUR_REGISTRY/videopasta:{version[1]}"
        assert container["resources"]["requests"] == container["resources"]["limits"], name


@CLUSTERS
def test_pods_name_a_node_that_they_fill_and_its_price(file: str):
    """By which a run knows what its nodes cost; spot where the node selector says so."""
    instances = load_instances()
    prices = prices_of(instances)
    for name, group in groups(file)[1:]:
        labels, spec = group["labels"], group["template"]["spec"]
        limits, instance = spec["containers"][0]["resources"]["limits"], instances[labels["instance-type"]]
        assert int(limits.get("nvidia.com/gpu", 0)) == instance.gpus, name
        assert 0.8 * instance.vcpus <= int(limits["cpu"]) < instance.vcpus
        assert (labels["market-type"] == "spot") == ("cloud.google.com/gke-spot" in spec["nodeSelector"])
        assert (instance.name, labels["market-type"]) in prices


@CLUSTERS
def test_nothing_is_privileged(file: str):
    """All containers drop what they can, and no pod runs as root or sees its host."""
    for name, container in containers(file):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert all(group["template"]["spec"]["securityContext"]["runAsNonRoot"] for _, group in groups(file))
    forbidden = {"privileged", "hostNetwork", "hostPID", "hostIPC", "hostPath"}
    assert not forbidden & {key for key, _ in keys_of(read(file))}


@CLUSTERS
def test_keys_come_by_reference(file: str):
    """No value of a secret stands in the file."""
    for name, container in containers(file):
        for variable in container.get("env", []):
            assert "value" not in variable, (name, variable)
            assert variable["valueFrom"]["secretKeyRef"]["name"] in ("videopasta-keys", "videopasta-serve")


@CLUSTERS
def test_gpu_pods_have_room_for_models_and_land_on_gpu_nodes(file: str):
    """A volume where the image's HF_HOME is, and the toleration of the nodes' taint."""
    home = re.search(r"^ENV HF_HOME=(\S+)", (REPOSITORY / "deploy/Dockerfile").read_text(encoding="utf-8"), re.M)
    assert home is not None
    for name, group in groups(file):
        spec = group["template"]["spec"]
        if "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]:
            continue
        assert group["resources"] == {name: spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"]}
        assert spec["containers"][0]["volumeMounts"] == [{"name": "models", "mountPath": home[1]}]
        assert [volume["name"] for volume in spec["volumes"]] == ["models"]
        assert "cloud.google.com/gke-accelerator" in spec["nodeSelector"]
        assert "nvidia.com/gpu" in [toleration["key"] for toleration in spec["tolerations"]]


def test_job_runs_a_command_and_a_configuration_that_are_in_the_image():
    """On the cluster of the other file; its settings are valid."""
    spec = read(JOB_FILE)["spec"]
    assert spec["clusterSelector"] == {"ray.io/cluster": read(KUBERAY_FILE)["metadata"]["name"]}
    assert "backoffLimit" not in spec  # KubeRay refuses it beside clusterSelector
    words = shlex.split(spec["entrypoint"])
    copied = (REPOSITORY / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert "WORKDIR /opt/videopasta\n" in copied
    paths = [word.removeprefix("/opt/videopasta/") for word in words if word.startswith("/opt/videopasta/")]
    assert len(paths) == 2
    for path in paths:
        assert (REPOSITORY / path).is_file()
        assert re.search(rf"^COPY .* {path.partition('/')[0]} {path.partition('/')[0]}$", copied, re.M)
    settings = [word for before, word in itertools.pairwise(words) if before == "--set"]
    config = load_config(GenerateConfig, REPOSITORY / paths[1], settings)
    assert config.judge_model[0].pool.resources == {"judge": 1}


def test_service_is_an_application_of_the_package_whose_largest_pools_fit():
    """Ray Serve's own schema takes it, without a gRPC proxy, which no token of ours would guard; its arguments are a
    configuration; ports and tokens are those of the pods.
    """
    schema = ServeDeploySchema.model_validate(yaml.safe_load(read(SERVICE_FILE)["spec"]["serveConfigV2"]))
    assert schema.grpc_options.grpc_servicer_functions == []
    (application,) = schema.applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(importlib.import_module(module), name))
    config = ServeConfig.model_validate(application.args)
    (_, group) = groups(SERVICE_FILE)[1]
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    assert config.model.pool.max_size <= group["maxReplicas"] * int(limits["nvidia.com/gpu"])
    decoders, engines, nodes = config.decode_pool, config.model.pool, group["minReplicas"]
    cpus = config.door_cpus + decoders.max_size * decoders.num_cpus + engines.max_size * engines.num_cpus
    assert cpus <= nodes * int(limits["cpu"])
    assert {"name": "serve", "containerPort": schema.http_options.port} in container["ports"]
    assert config.auth.token_env in [variable["name"] for variable in container["env"]]


def test_image_is_built_from_this_ray_and_this_python():
    """The base image's tag names both; the lock is for that Python."""
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert re.search(r"^FROM rayproject/ray:2\.60\.0-py312-cu129$", dockerfile, re.M)
    assert "--python-version 3.12 -o requirements/gpu.txt" in (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "pip install --no-cache-dir --no-deps -r requirements/gpu.txt" in dockerfile
