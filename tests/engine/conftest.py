"""Real engines: vLLM in this process, and a real vLLM server reached through the OpenAI protocol."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import numpy as np
import pytest

from videopasta.config import OpenAIModel, SamplingConfig, VllmModel
from videopasta.engine import Answer, Engine, Request, Video, start_engine
from videopasta.engine.vllm import VllmEngine

MODEL = "tiny:random-vl"
MAX_MODEL_LEN = 4096
Result = TypeVar("Result")
Run = Callable[[Awaitable[Result]], Result]


def make_video(*, seed: int = 0, num_frames: int = 8, height: int = 140, width: int = 168, fps: float = 2.0) -> Video:
    """Noise of one seed; its cache key names seed and shape."""
    frames = np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
    return Video(frames, fps, f"noise-{seed}-{frames.shape}-{fps}")


def make_request(
    *, prompt: str = "What moves?", seed: int = 0, temperature: float = 0.7, max_tokens: int = 12, **rest
) -> Request:
    return Request(
        prompt=prompt,
        sampling=SamplingConfig(temperature=temperature, max_tokens=max_tokens),
        seed=seed,
        **rest,
    )


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    """Runs a coroutine; one event loop for the session, as engines keep futures on it."""
    with asyncio.Runner() as runner:
        yield lambda awaitable: runner.run(_await(awaitable))


async def _await(awaitable: Awaitable[Result]) -> Result:
    return await awaitable


@pytest.fixture(scope="session")
def vllm_engine() -> Iterator[Engine]:
    engine = start_engine(
        VllmModel(model=MODEL, dtype="float32", max_model_len=MAX_MODEL_LEN, enforce_eager=True), video=True
    )
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a real vLLM server with the same model."""
    from videopasta.engine.models import local_path

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log: Path = tmp_path_factory.mktemp("server") / "log.txt"
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", local_path(MODEL),
        "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32",
        "--max-model-len", str(MAX_MODEL_LEN), "--enforce-eager", "--max-num-seqs", "16", "--block-size", "32",
        "--enable-prompt-tokens-details", "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192",
        "--limit-mm-per-prompt", '{"video": 1, "image": 64}',
    ]  # fmt: skip
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("w") as stream:
        server = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if server.poll() is not None:
            raise RuntimeError(f"the server ended with {server.returncode}:\n{log.read_text()[-3000:]}")
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(1)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def vllm_in_own_processes() -> Iterator[Engine]:
    """VLLM's asynchronous front end, the way it runs on GPU; here its processes run on CPU."""
    config = VllmModel(model=MODEL, dtype="float32", max_model_len=MAX_MODEL_LEN, enforce_eager=True)
    engine = VllmEngine(config, video=True, in_process=False)
    yield engine
    engine.close()


@pytest.fixture(scope="session", params=["vllm", "vllm/own_processes", "openai/image_frames", "openai/video_url"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn, behind the one protocol."""
    kind, _, video_as = request.param.partition("/")
    if request.param == "vllm/own_processes":
        return request.getfixturevalue("vllm_in_own_processes")
    if kind == "vllm":
        return request.getfixturevalue("vllm_engine")
    base_url = request.getfixturevalue("vllm_server")
    return start_engine(OpenAIModel(model="tiny", base_url=base_url, video_as=video_as), video=True)


def texts(answers: list[Answer]) -> list[str]:
    return [answer.text for answer in answers]
