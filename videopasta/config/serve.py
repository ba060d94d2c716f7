"""The configuration of a service: a model behind OpenAI's protocol, and pairs to order."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from videopasta.config.generate import SamplingConfig
from videopasta.config.models import EnginePoolConfig, PoolConfig, VllmModel
from videopasta.config.video import DecodeConfig, Frozen, PlanConfig, SourcesConfig, UniformPlan


class HttpConfig(Frozen):
    """Where the service listens."""

    host: str = "127.0.0.1"
    """Loopback alone by default: nothing is encrypted here. To be reached from elsewhere, put a proxy with TLS before
    it, or a tunnel (docs/serving.md)."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Port."""


class AuthConfig(Frozen):
    """Who is let in: every route but /health asks for `Authorization: Bearer TOKEN`."""

    token_file: str | None = None
    """File with a token a line (`#` begins a comment), on the machine where the service runs. Each token has limits of
    its own: give one to each client. Read when the service starts."""
    token_env: str = Field(default="VIDEOPASTA_SERVE_TOKEN", pattern=r"^[A-Za-z_]\w*$")
    """Name of the environment variable that holds the token, where there is no `token_file`."""


class LimitsConfig(Frozen):
    """What one client, or all of them, may ask for. More is refused with 400, 408, 413 or 429."""

    body_mib: float = Field(default=64.0, gt=0)
    """Largest request. A video in base64 takes a third more than its file."""
    body_s: float = Field(default=60.0, gt=0)
    """Longest time to send one: a connection that broke off in the middle would be in flight for ever."""
    num_frames: int = Field(default=64, ge=2)
    """Frames of one request at most."""
    max_tokens: int = Field(default=1024, ge=1)
    """Longest answer that may be asked for."""
    requests_per_minute: float = Field(default=120.0, gt=0)
    """Per token, on average; as many may come at once after a quiet minute."""
    in_flight: int = Field(default=64, ge=1)
    """Requests that are answered at the same time, of all tokens."""


class PairsServiceConfig(Frozen):
    """Pairs to order: `POST /v1/pairs`."""

    root: str
    """Folder that gets a folder per job; local or remote. It is the only record: keep it, and the jobs are kept."""
    recipe: str
    """A configuration of `videopasta generate`, on the machine where the service runs. Clients may set what
    `PairOptions` (serve/pair_jobs.py) names; where videos may lie is `decode.sources` of the service."""
    max_running: int = Field(default=1, ge=1)
    """Jobs at a time; others wait. Each has pools of its own, beside the model that is served."""
    max_waiting: int = Field(default=100, ge=1)
    """Jobs that may wait; more are refused with 429."""
    max_videos: int = Field(default=10_000, ge=1)
    """Videos of one job."""

    @field_validator("root")
    @classmethod
    def _is_absolute(cls, root: str) -> str:
        if not root.startswith("/") and "://" not in root:
            raise ValueError(f"{root!r} is relative, and workers have other working directories; write it absolute")
        return root.rstrip("/")


class ServeConfig(Frozen):
    """A service on a Ray: replicas of one model, decoders before them, and one door that asks for a token."""

    model: VllmModel = VllmModel(
        model="Qwen/Qwen2.5-VL-7B-Instruct", pool=EnginePoolConfig(num_gpus=1, clips_in_flight=16, deadline_s=300)
    )
    """Base or aligned. Its pool says the replicas: `min_size` to `max_size` of them, of these CPUs and GPUs; Ray starts
    another one when they have more than `clips_in_flight` requests each. A request that takes longer than `deadline_s`,
    what it waits for a replica and a decoder included, ends with 504. `attempts` and `recycle_above_gib` are of
    generation, and not heeded here."""
    name: str | None = None
    """What clients call the model; none: as `model.model`."""
    decode_pool: PoolConfig = PoolConfig(max_size=8, memory_gib=0.7, clips_in_flight=1)
    """Replicas that decode, each one video at a time."""
    decode: DecodeConfig = DecodeConfig(
        max_duration_s=3600.0, max_bytes=2 * 2**30, deadline_s=60.0, sources=SourcesConfig(schemes=())
    )
    """How videos become frames, and what is refused. `sources` is closed: until it names schemes, with the roots or
    hosts they are bound to, a client can only send videos along."""
    plan: PlanConfig = UniformPlan()
    """Which frames of a video are seen, where a request does not say."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=256)
    """How answers are drawn, where a request does not say."""
    http: HttpConfig = HttpConfig()
    """Where the service listens; under `serve run` and KubeRay, their own settings count."""
    auth: AuthConfig = AuthConfig()
    """Who is let in."""
    limits: LimitsConfig = LimitsConfig()
    """How much."""
    door_cpus: float = Field(default=0.5, ge=0)
    """CPUs reserved for the process that takes the requests."""
    pairs: PairsServiceConfig | None = None
    """Pairs to order; none: only the model is served."""

    @property
    def served_name(self) -> str:
        """What clients call the model."""
        return self.name or self.model.model

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        sources = self.decode.sources
        open_schemes = sorted(set(sources.schemes) - {"http", "https"})
        if open_schemes and not sources.roots:
            raise ValueError(
                f"decode.sources.schemes={open_schemes} without roots: whoever has a token could have anything there "
                "looked at that this machine can read; set decode.sources.roots, or leave the schemes out"
            )
        if sources.roots and not sources.schemes:
            raise ValueError("decode.sources.roots without schemes opens nothing; add decode.sources.schemes: [file]")
        if self.sampling.max_tokens > self.limits.max_tokens:
            raise ValueError(
                f"sampling.max_tokens={self.sampling.max_tokens} is over limits.max_tokens={self.limits.max_tokens}; "
                "raise the limit, or lower the default"
            )
        return self
