"""Ray is reached by those alone who have its token, on this machine or through a head that was started by hand."""

import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

RAY_COMMAND = Path(sys.executable).with_name("ray")
_OURS = ("RAY_", "OPENAI_")


def environment(home: Path, **more: str) -> dict[str, str]:
    """Of a user without a Ray, with an empty home."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_OURS)} | {"HOME": str(home), **more}


def status_of(url: str, token: str | None = None) -> int:
    """What a GET is answered with."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


TWO_SESSIONS = """
import json, os, sys
import psutil
if "--imported" in sys.argv:
    import ray
from videopasta.ray_session import ray_session

def listens():
    me = psutil.Process()
    found = [c for p in [me, *me.children(recursive=True)] for c in p.net_connections("inet") if c.status == "LISTEN"]
    return sorted({c.laddr.ip.removeprefix("::ffff:") for c in found})

def decode(video):
    from videopasta.config import DecodeConfig, UniformPlan
    from videopasta.video import ClipRequest, DecodeWorker
    config = DecodeConfig()
    with DecodeWorker(config) as worker:
        return worker.decode(ClipRequest(video, None, None, {"dense": UniformPlan()}, config)).info.num_frames

for number in range(2):
    with ray_session(dashboard=number == 0, num_cpus=1) as is_local:
        import ray
        told = {"local": is_local, "listens": listens(), "frames": ray.get(ray.remote(decode).remote(sys.argv[1]))}
        told["data"] = ray.data.range(3).count()
        if number == 0:
            from tests.test_ray_session import status_of
            url = "http://" + ray._private.worker.get_dashboard_url()
            tokens = (None, "0" * 64, os.environ["RAY_AUTH_TOKEN"])
            told["statuses"] = [status_of(url + "/api/jobs/", token) for token in tokens]
        print("TOLD", json.dumps(told), flush=True)
"""


@pytest.mark.parametrize("arguments", [[], ["--imported"]], ids=["", "ray imported before"])
def test_a_ray_made_here_listens_on_loopback_and_asks_for_a_token(ray_folder: Path, tmp_path: Path, arguments: list):
    """Twice in one process: no port on a network, jobs refused without the token, none of it left in the home."""
    from tests.clips import make_clip

    home, video = tmp_path / "home", make_clip(tmp_path / "good.mp4")
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", TWO_SESSIONS, str(video), *arguments], capture_output=True, text=True, timeout=300,
        env=environment(home, RAY_TMPDIR=str(ray_folder), RAY_AUTH_MODE="disabled"), check=False,
    )  # fmt: skip
    told = [json.loads(line.removeprefix("TOLD")) for line in done.stdout.splitlines() if line.startswith("TOLD")]
    assert len(told) == 2, done.stdout + done.stderr
    assert told[0].pop("statuses") == [401, 403, 200]
    assert told[0] == told[1] == {"local": True, "listens": ["127.0.0.1"], "frames": 60, "data": 3}
    assert not list(home.rglob("*token*"))
    line = next(line for line in done.stderr.splitlines() if line.startswith("Dashboard: http://127.0.0.1:"))
    token_file = Path(line.rpartition(" ")[2])
    assert token_file.name.startswith("videopasta-ray-token-")
    assert not token_file.exists()


def free_ports(count: int) -> list[int]:
    """Neither those that the kernel gives to connections, nor 10002 to 19999, which Ray gives to its workers."""
    sockets: list[socket.socket] = []
    while len(sockets) < count:
        one = socket.socket()
        sockets.append(one)
        try:
            one.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
        except OSError:
            sockets.pop().close()
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextlib.contextmanager
def started_head(
    home: Path, folder: Path, token: str | None = None, *, arguments: Sequence[str] = (), **more: str
) -> Iterator[SimpleNamespace]:
    """A head as docs/security.md starts one, on ports of its own, ended by its process id; `more`: environment."""
    names = (
        "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "runtime-env-agent-port",
        "metrics-export-port", "ray-client-server-port", "node-manager-port", "object-manager-port",
    )  # fmt: skip
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [str(RAY_COMMAND), "start", "--head", "--block", "--disable-usage-stats", "--num-cpus=1",
               "--object-store-memory=100000000", "--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1",
               f"--temp-dir={folder}", *(f"--{name}={port}" for name, port in ports.items()), *arguments]  # fmt: skip
    log = home / "log.txt"
    # At SIGTERM a head waits for half a minute for its own work to leave it; here nothing goes on.
    more = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0", **more}
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment(home, **more), stdout=stream, stderr=stream, start_new_session=True
        )
    dashboard = f"http://127.0.0.1:{ports['dashboard-port']}"
    family: list[psutil.Process] = []
    try:
        for _ in range(240):
            if process.poll() is not None:
                raise RuntimeError(log.read_text()[-3000:])
            with contextlib.suppress(OSError):
                if status_of(f"{dashboard}/api/version", token) == 200:
                    break
            time.sleep(0.5)
        family = psutil.Process(process.pid).children(recursive=True)
        yield SimpleNamespace(address=f"127.0.0.1:{ports['port']}", dashboard=dashboard, log=log)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
        deadline = time.monotonic() + 10
        while any(one.is_running() for one in family) and time.monotonic() < deadline:
            time.sleep(0.2)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory, ray_folder: Path) -> Iterator[SimpleNamespace]:
    """A head behind a token."""
    home, token = tmp_path_factory.mktemp("head"), secrets.token_hex(32)
    file = home / "ray-token"
    file.write_text(token + "\n")
    folder = ray_folder / "h"
    with started_head(home, folder, token, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(file)) as started:
        yield SimpleNamespace(**vars(started), token=token, token_file=file, folder=folder)


@pytest.mark.parametrize("path", ["/api/jobs/", "/api/v0/nodes", "/nodes?view=summary", "/api/cluster_status"])
def test_head_answers_nothing_without_the_token(head: SimpleNamespace, path: str):
    """Jobs, nodes and status: 401 without a token, 403 with another one."""
    assert status_of(head.dashboard + path) == 401
    assert status_of(head.dashboard + path, "0" * 64) == 403
    assert status_of(head.dashboard + path, head.token) == 200


def test_head_runs_no_job_without_the_token(head: SimpleNamespace, tmp_path: Path):
    """`ray job submit` is refused, and runs with the token."""
    command = [str(RAY_COMMAND), "job", "submit", f"--address={head.dashboard}", "--", "echo", "hello-from-the-job"]
    refused = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "hello-from-the-job\n" not in refused.stdout
    assert "uthenticat" in refused.stdout + refused.stderr
    secured = environment(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(head.token_file))
    done = subprocess.run(command, env=secured, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hello-from-the-job\n" in done.stdout


CONNECT = """
from videopasta.ray_session import ray_session
with ray_session() as is_local:
    import ray
    print("CONNECTED", is_local, len(ray.nodes()), ray.get(ray.remote(lambda: 7).remote()))
"""


@pytest.mark.parametrize("token", ["none", "wrong", "right"])
def test_driver_is_let_in_with_the_token_alone(head: SimpleNamespace, tmp_path: Path, token: str):
    """`ray.init(address=...)` without it, or with another, ends in an error of authentication."""
    more = {"none": {}, "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            "right": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(head.token_file)}}[token]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", CONNECT], env=environment(tmp_path, RAY_ADDRESS=head.address, **more),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    if token == "right":
        assert "CONNECTED False 1 7" in done.stdout, said
        assert "answers without a token" not in said
    else:
        assert done.returncode != 0
        assert "CONNECTED" not in done.stdout
        assert "uthenticat" in said


def test_cluster_without_a_token_is_told_of(ray_folder: Path, tmp_path: Path):
    """A driver works there, and says who else could; also one that has a token, which nothing asks for."""
    with started_head(tmp_path, ray_folder / "o", RAY_AUTH_MODE="disabled") as head:
        for more in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}):
            done = subprocess.run(
                [sys.executable, "-c", CONNECT], env=environment(tmp_path, RAY_ADDRESS=head.address, **more),
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
            assert "CONNECTED False 1 7" in done.stdout, done.stdout + done.stderr
            assert f"The Ray at {head.address} answers without a token" in done.stderr


def test_the_token_is_in_no_log(head: SimpleNamespace):
    """Neither in what the head says nor in the files of its session."""
    files = [head.log, *(path for path in head.folder.rglob("*") if path.is_file() and not path.is_symlink())]
    assert len(files) > 10
    assert [str(path) for path in files if head.token.encode() in path.read_bytes()] == []
