"""The service on Ray Serve: three deployments, each scaled by itself.

    Door      one replica: FastAPI, tokens, limits. One, so that a limit is counted in one place; it only passes on
    Decoder   CPU replicas, one video at a time each
    Engine    a replica holds the model

Frames go from decoder to engine through Ray's store, past the door. What fails because of a request comes back as a
value, not as an exception: an exception would be a replica's.
"""

import asyncio
import json
import os
import time
import urllib.request
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import AutoscalingConfig
from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ReplicaState

from videopasta.config import PlanConfig, PoolConfig, ServeConfig
from videopasta.engine import EngineDead, Request, RequestError, Video
from videopasta.engine.vllm import VllmEngine
from videopasta.serve.app import Said, Service, make_app
from videopasta.serve.limits import Room
from videopasta.serve.looking import Looker
from videopasta.serve.metrics import METRICS
from videopasta.serve.pair_jobs import PairJobs
from videopasta.serve.reading import Question, VideoSource
from videopasta.serve.tokens import read_tokens
from videopasta.telemetry import Meter
from videopasta.video import VideoError

NAME = "videopasta"
"""Of the application, and label of its metrics."""
_PROBE_S = 2.0
"""A probe costs the controller a call, and who asks needs no token: between two of them, what the last one found."""
_PREFIXES = ("ray_videopasta_serve_",)


def build(config: ServeConfig) -> serve.Application:
    """The application: the `import_path` of a Serve configuration, whose `args` are `config`."""
    wait = config.limits.in_flight
    door = serve.deployment(
        name="Door",
        max_ongoing_requests=wait + 100,  # refusals and probes are answered beyond it, too
        ray_actor_options={"num_cpus": config.door_cpus},
    )
    decoder = _pooled("Decoder", config.decode_pool, ongoing=config.decode_pool.clips_in_flight, wait=wait)
    engine = _pooled("Engine", config.model.pool, ongoing=2 * config.model.pool.clips_in_flight, wait=wait)
    return door(Door).bind(config, decoder(Decoder).bind(config), engine(Engine).bind(config))


def _pooled(name: str, pool: PoolConfig, *, ongoing: int, wait: int) -> Any:
    """A deployment with the replicas of `pool`, each with `ongoing` requests at most; `wait` more may wait for one."""
    return serve.deployment(
        name=name,
        max_ongoing_requests=ongoing,
        max_queued_requests=wait,
        autoscaling_config=AutoscalingConfig(
            min_replicas=pool.min_size, max_replicas=pool.max_size, target_ongoing_requests=pool.clips_in_flight
        ),
        ray_actor_options={
            "num_cpus": pool.num_cpus,
            "num_gpus": pool.num_gpus,
            "memory": pool.memory_gib * 2**30,
            "resources": pool.resources,
        },
    )


def _listen_as_ray_does() -> None:
    """Let this replica's port for calls between deployments lie on the address that Ray is bound to.

    Ray Serve 2.60 opens it on all of a machine's addresses. It asks for Ray's token, and none of our calls goes there.
    """
    from ray._common.tls_utils import add_port_to_grpc_server
    from ray.serve._private import replica

    def on_our_address(server: Any, address: str) -> int:
        ours = address.replace("[::]", ray.util.get_node_ip_address())
        port: int = add_port_to_grpc_server(server, ours)
        return port

    replica.add_port_to_grpc_server = on_our_address


class Decoder:
    """Videos as the model sees them."""

    def __init__(self, config: ServeConfig) -> None:
        _listen_as_ray_does()
        self._looker = Looker(config.decode)

    async def look(self, source: VideoSource, plan: PlanConfig) -> Video | VideoError:
        """The frames, or why there are none."""
        try:
            return await asyncio.to_thread(self._looker.look, source, plan)
        except VideoError as error:
            return error


class Engine:
    """A replica of the model."""

    def __init__(self, config: ServeConfig) -> None:
        _listen_as_ray_does()
        self._engine = VllmEngine(config.model, video=True)
        self._death: EngineDead | None = None

    async def answer(self, request: Request, video: Video | VideoError | None) -> AsyncGenerator[Said]:
        """See `Backend.answer`."""
        if isinstance(video, VideoError):
            yield video
            return
        if token := self._control_token_in(request):
            yield RequestError("control_token", f"{token!r} is one of the model's own marks; leave it out of the text")
            return
        try:
            seen = replace(request, video=video)
            async with aclosing(self._engine.stream(seen)) as parts:
                async for part in parts:
                    yield part
        except RequestError as error:
            yield error
        except EngineDead as error:
            self._death = error
            yield error

    def _control_token_in(self, request: Request) -> str | None:
        """With these, words could pass for another's turn, or for a video that is not there."""
        texts = [turn.text for turn, _ in request.turns()]
        return next((token for token in self._engine.control_tokens for text in texts if token in text), None)

    def check_health(self) -> None:
        """Serve replaces a replica that raises here."""
        if self._death is not None:
            raise self._death

    def __del__(self) -> None:
        """Serve calls it when it ends the replica: vLLM's own processes would outlive it, and hold the GPU."""
        if hasattr(self, "_engine"):  # it was loaded
            self._engine.close()


@serve.ingress()
class Door:
    """Takes the requests."""

    def __init__(self, config: ServeConfig, decoder: DeploymentHandle, engine: DeploymentHandle) -> None:
        _listen_as_ray_does()
        self._config, self._decoder = config, decoder
        self._engine = engine.options(stream=True)
        self._probing, self._is_ready, self._probe_at = asyncio.Lock(), False, 0.0

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve asks for it after the constructor."""
        meter, room = Meter(METRICS, {"app": NAME}), Room(self._config.limits.in_flight)
        meter.watch("videopasta_serve_in_flight", lambda: float(room.taken))
        jobs = None if self._config.pairs is None else PairJobs(self._config, _driver_environment())
        if jobs is not None:
            for state in ("running", "queued"):
                meter.watch("videopasta_serve_pair_jobs", partial(_count_of, jobs, state), state=state)
        return make_app(Service(self._config, read_tokens(self._config.auth), self, room, meter.add, jobs))

    async def answer(self, question: Question) -> AsyncGenerator[Said]:
        """See `Backend.answer`."""
        deadline_s = self._config.model.pool.deadline_s
        ends_at = asyncio.get_running_loop().time() + deadline_s
        video: Any = None
        if question.source is not None:
            video = self._decoder.look.remote(question.source, question.plan)
        said: Any = self._engine.answer.remote(question.request, video)
        try:
            while True:
                async with asyncio.timeout_at(ends_at):
                    part = await anext(said, None)
                if part is None:
                    return
                yield part
        except TimeoutError:
            yield RequestError("deadline", f"not answered in {deadline_s:g} s")
        except (RayActorError, DeploymentUnavailableError) as error:  # its process, or its machine, is gone
            yield EngineDead(repr(error))
        finally:
            said.cancel()  # where the client has gone; else it is over

    async def is_ready(self) -> bool:
        """See `Backend.is_ready`."""
        async with self._probing:
            if time.monotonic() >= self._probe_at:
                self._is_ready = await asyncio.to_thread(_has_a_replica, serve.get_replica_context().app_name)
                self._probe_at = time.monotonic() + _PROBE_S
            return self._is_ready

    async def metrics(self) -> str | None:
        """See `Backend.metrics`: from the agent of this node, which the door's metrics go to."""
        return await asyncio.to_thread(_scrape)


def _count_of(jobs: PairJobs, state: str) -> float:
    return float(jobs.counts()[state])


def _driver_environment() -> dict[str, str]:
    """Of a driver on this cluster, with the files that came with this job."""
    context = ray.get_runtime_context()
    files = {"runtime_env": {name: value for name, value in context.runtime_env.items() if name == "working_dir"}}
    return {**os.environ, "RAY_ADDRESS": context.gcs_address, "RAY_JOB_CONFIG_JSON": json.dumps(files)}


def _has_a_replica(name: str) -> bool:
    """Of the model. Its deployment as a whole is not healthy while another one comes, goes or is replaced."""
    application = serve.status().applications.get(name)
    return application is not None and application.deployments["Engine"].replica_states.get(ReplicaState.RUNNING, 0) > 0


def _scrape() -> str | None:
    """What of this node's metrics is the service's."""
    here = ray.get_runtime_context().get_node_id()
    node = next(node for node in ray.nodes() if node["NodeID"] == here)
    try:
        with urllib.request.urlopen(
            f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics", timeout=5
        ) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return None
    words = (line.removeprefix("# HELP ").removeprefix("# TYPE ") for line in lines)
    ours = (line for line, word in zip(lines, words, strict=True) if word.startswith(_PREFIXES))
    return "".join(f"{line}\n" for line in ours)
