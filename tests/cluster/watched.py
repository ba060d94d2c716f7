"""A Ray cluster of this machine with a Prometheus beside it, as docs/dashboards.md sets them up.

What a machine without GPUs cannot show comes from a stand-in, named as such: a page of metrics that Prometheus scrapes
as one more node.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import yaml

from dashboards.render import ask
from tests.conftest import REPOSITORY
from tests.test_ray_session import environment, free_ports, started_head
from videopasta.cluster import dashboards

SCRAPE_S = 2
REPORT_MS = 5000
"""How often Ray's processes send; by default 10 s."""
INSTANCE, MARKET = "g6e.xlarge", "spot"
"""As the node's labels say; instances.yaml has a price for it."""


class GpuNode:
    """What the agent of a node with two GPUs and a training on it would show: names and labels are Ray's and ours."""

    def __init__(self) -> None:
        self.train_run = ""
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = node.page().encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def page(self) -> str:
        """In Prometheus' text format."""
        lines = []
        for gpu, busy in enumerate((81, 64)):
            labels = f'GpuDeviceName="stand-in",GpuIndex="{gpu}"'
            lines += [
                f"ray_node_gpus_utilization{{{labels}}} {busy}",
                f"ray_node_gram_used{{{labels}}} 61000",
                f"ray_node_gram_available{{{labels}}} 19000",
            ]
        if self.train_run:
            lines.append(f'ray_videopasta_train_mfu{{run="{self.train_run}"}} 0.38')
        return "\n".join(lines) + "\n"

    def close(self) -> None:
        self._server.shutdown()


@contextlib.contextmanager
def watched_cluster(folder: Path, ray_folder: Path) -> Iterator[SimpleNamespace]:
    """A head behind a token, whose session has got the boards, and the Prometheus that its files configure."""
    token = "f" * 64
    token_file = folder / "ray-token"
    token_file.write_text(token)
    secured = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file),
               "RAY_metrics_report_interval_ms": str(REPORT_MS), "PYTHONPATH": str(REPOSITORY)}  # fmt: skip
    arguments = ("--num-cpus=8", "--num-gpus=2", "--object-store-memory=300000000",
                 f"--labels=instance-type={INSTANCE},market-type={MARKET}")  # fmt: skip
    gpu_node = GpuNode()
    with started_head(folder, ray_folder / "h", token, arguments=arguments, **secured) as head:
        metrics = dashboards.install(ray_folder / "h/session_latest")
        with _prometheus(metrics / "prometheus/prometheus.yml", folder, gpu_node) as url:

            def start(*command: object) -> subprocess.Popen[str]:
                more = environment(folder, RAY_ADDRESS=head.address, HF_HUB_OFFLINE="1", **secured)
                return subprocess.Popen(
                    [sys.executable, "-m", "videopasta.cli", *map(str, command)], cwd=folder, env=more, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                )  # fmt: skip

            yield SimpleNamespace(start=start, prometheus=url, gpu_node=gpu_node, metrics=metrics)
    gpu_node.close()


@contextlib.contextmanager
def _prometheus(configuration: Path, folder: Path, gpu_node: GpuNode) -> Iterator[str]:
    """Debian's, by the session's configuration; a test waits neither 10 s for a scrape nor minutes for an alert."""
    command = shutil.which("prometheus")
    assert command, "prometheus is missing: apt-get install -y prometheus"
    rules = configuration.with_name("videopasta_alerts.yml")
    made = yaml.safe_load(rules.read_text())
    for rule in made["groups"][0]["rules"]:
        if "alert" in rule:
            rule["for"] = "4s"
    rules.write_text(yaml.safe_dump(made))
    settings = yaml.safe_load(configuration.read_text())
    settings["global"] = {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"}
    settings["scrape_configs"].append(
        {"job_name": "gpu_node", "static_configs": [{"targets": [gpu_node.address]}]},
    )
    configuration.write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [command, f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'tsdb'}",
             f"--web.listen-address={address}"], stdout=log, stderr=log, env=os.environ | {"GOMAXPROCS": "1"},
        )  # fmt: skip
    try:
        until(lambda: _scraped(f"http://{address}"), 60, "Prometheus scrapes Ray")
        yield f"http://{address}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _scraped(url: str) -> bool:
    with contextlib.suppress(OSError, json.JSONDecodeError):
        return value_of(url, 'min(up{job=~"ray|gpu_node"})') == 1 and value_of(url, "count(up)") >= 2
    return False


def value_of(url: str, expr: str) -> float:
    """The one value of an expression now; not a number where it has none."""
    found = ask(url, "query", query=expr)["result"]
    return float(found[0]["value"][1]) if found else float("nan")


def until(is_so: Callable[[], bool], limit_s: float, what: str) -> None:
    """Wait for it.

    Raises:
        TimeoutError: in vain.
    """
    deadline = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {limit_s:g} s")
        time.sleep(1)
