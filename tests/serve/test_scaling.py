"""The application as `serve run` and KubeRay start it, under another name, on a Ray of several CPUs that was there."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.cluster.scripted import SECURED
from tests.cluster.scripted import TOKEN as RAY_TOKEN
from tests.conftest import REPOSITORY
from tests.serve.chats import TOKEN, chat
from tests.test_ray_session import RAY_COMMAND, environment, free_ports, started_head

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
QUICK = {
    "min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 1, "upscale_delay_s": 1, "downscale_delay_s": 2,
    "metrics_interval_s": 0.5, "look_back_period_s": 2,
}  # fmt: skip
"""As `build` asks for it, without Ray Serve's minutes between looks."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[SimpleNamespace]:
    folder = tmp_path_factory.mktemp("scaling")
    (folder / "token").write_text(TOKEN)
    (port,) = free_ports(1)
    config = yaml.safe_load((REPOSITORY / "configs/serve_tiny.yaml").read_text())
    del config["pairs"]
    config["model"]["pool"] |= {"clips_in_flight": 1, "max_size": 2}
    config |= {"auth": {"token_file": str(folder / "token")}}
    config["limits"] |= {"requests_per_minute": 100_000}
    application = {
        "name": "clips", "route_prefix": "/", "import_path": "videopasta.serve.deployments:build", "args": config,
        "deployments": [{"name": "Engine", "autoscaling_config": QUICK}],
    }  # fmt: skip
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump({"http_options": {"port": port}, "applications": [application]}))
    with started_head(
        folder, ray_folder / "s", RAY_TOKEN, arguments=["--num-cpus=8"], **SECURED, PYTHONPATH=str(REPOSITORY)
    ) as head:
        secured = environment(folder, **SECURED, RAY_ADDRESS=head.address, PYTHONPATH=str(REPOSITORY))
        serve = RAY_COMMAND.with_name("serve")
        with (folder / "serve.txt").open("w") as log:
            process = subprocess.Popen([serve, "run", file], env=secured, cwd=REPOSITORY, stdout=log, stderr=log)
        try:
            yield SimpleNamespace(url=f"http://127.0.0.1:{port}", port=port, head=head, environment=secured)
        finally:
            process.kill()


def get(url: str, token: str, body: dict | None = None) -> dict:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, headers=headers, data=None if body is None else json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def is_ready(site: SimpleNamespace) -> bool:
    try:
        return get(f"{site.url}/health", TOKEN)["status"] == "ready"
    except OSError:
        return False


def num_replicas(site: SimpleNamespace) -> int:
    """Of the model, that run."""
    told = get(f"{site.head.dashboard}/api/serve/applications/", RAY_TOKEN)
    replicas = told["applications"]["clips"]["deployments"]["Engine"]["replicas"]
    return sum(one["state"] == "RUNNING" for one in replicas)


def until(reached, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_another_replica_comes_with_requests_and_goes_without(site: SimpleNamespace):
    """More of them at once than each is meant to have; every one is answered, and the service is ready throughout."""
    until(lambda: is_ready(site), 120)
    body, asking, ready = chat(max_tokens=64), True, []
    assert num_replicas(site) == 1

    def ask() -> int:
        count = 0
        while asking:
            count += bool(get(f"{site.url}/v1/chat/completions", TOKEN, body)["choices"])
        return count

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(ask) for _ in range(4)]
        try:
            until(lambda: ready.append(is_ready(site)) or num_replicas(site) == 2, 90)
        finally:
            asking = False
        assert all(client.result() for client in clients)
    until(lambda: ready.append(is_ready(site)) or num_replicas(site) == 1, 60)
    assert all(ready)


@pytest.mark.parametrize("is_its_port", [True, False])
def test_a_serve_that_runs_keeps_its_address_and_its_route(site: SimpleNamespace, is_its_port: bool):
    """A second service there is refused, with what is in its way and where; the first answers on."""
    port = site.port if is_its_port else site.port + 1
    words = ["--config", "configs/serve_tiny.yaml", "--set", f"http.port={port}"]
    told = subprocess.run(
        [RAY_COMMAND.with_name("videopasta"), "serve", *words],
        env={**site.environment, "VIDEOPASTA_SERVE_TOKEN": TOKEN, "COLUMNS": "500"},
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert told.returncode == 1, told.stdout + told.stderr
    expected = (
        'being used by application "clips"' if is_its_port else f"runs at http://127.0.0.1:{site.port}, and stays"
    )
    assert expected in told.stderr
    assert is_ready(site)
