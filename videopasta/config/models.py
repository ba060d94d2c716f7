"""Which models play the three roles, and on which actors they run."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, field_validator, model_validator
from pydantic_core import PydanticCustomError

from videopasta.config.video import OPERATIONAL, Frozen
from videopasta.credentials import credential_in

HIDDEN = "hidden"
"""Type of a mistake whose value is not shown: it may be a secret."""

_RAYS_OWN = frozenset(("cpu", "gpu", "memory", "object_store_memory"))


def _custom(resources: dict[str, float]) -> dict[str, float]:
    for name, amount in resources.items():
        if name.lower() in _RAYS_OWN or not name:
            raise ValueError(f"{name!r} is no custom resource: CPUs, GPUs and memory have keys of their own")
        if amount <= 0 or (amount > 1 and not amount.is_integer()):
            raise ValueError(f"{name}={amount:g}: give a share of 1, or a whole number above 0; Ray counts no other")
    return resources


CustomResources = Annotated[dict[str, float], AfterValidator(_custom)]
"""Amounts of Ray's custom resources, by the names that the cluster's node groups give them."""


class PoolConfig(Frozen):
    """An autoscaling pool of Ray actors."""

    min_size: int = Field(default=1, ge=1)
    """Actors kept alive. Scaling to zero is the work of the cluster's nodes, not of the pool."""
    max_size: int = Field(default=1, ge=1)
    """Actors at most."""
    num_cpus: float = Field(default=1.0, ge=0)
    """CPUs reserved per actor. On a small machine keep the sum of all pools below its cores."""
    num_gpus: float = Field(default=0.0, ge=0)
    """GPUs reserved per actor: the tensor parallel size of its engine."""
    memory_gib: float = Field(default=0.0, ge=0)
    """Memory reserved per actor, in GiB, so that no node gets more actors than it can hold; 0: none."""
    resources: CustomResources = Field(default={})
    """Custom resources reserved per actor, to pin the pool to a node group: `{judge: 1}` (cluster.yaml has the
    names)."""
    clips_in_flight: int = Field(default=4, ge=1)
    """Clips worked on at once by one actor; all requests of each are in flight together."""

    @model_validator(mode="after")
    def _ordered(self) -> "PoolConfig":
        if self.max_size < self.min_size:
            raise ValueError(f"max_size={self.max_size} is below min_size={self.min_size}; raise max_size")
        return self


class EnginePoolConfig(PoolConfig):
    """Actors that each host an engine, and how long they bear with it."""

    deadline_s: float = Field(default=3600.0, gt=0)
    """For all requests about a clip, waiting for an endpoint's rate included. An engine that is late starts anew."""
    attempts: int = Field(default=3, ge=2, le=4)
    """A clip under which the engine died or was late so often is given up; after the first time it is done alone."""
    recycle_above_gib: float | None = Field(default=None, gt=0)
    """An engine whose processes hold more memory of their own is started anew between two clips; none: never."""


class VllmModel(Frozen):
    """A model hosted by vLLM inside the pool's actors, on CPU or GPU."""

    engine: Literal["vllm"] = "vllm"
    model: str
    """Hugging Face id, local folder, or `tiny:NAME` for a model that comes with the package."""
    revision: str | None = None
    """Branch, tag or commit on the hub. Pin a commit for runs that you publish."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Weights and activations. float32 on CPU makes answers repeatable."""
    batch_invariant: bool = False
    """vLLM's CUDA kernels whose answers do not depend on what else is in the batch: the same texts in every run, and
    slower. For GPUs only (docs/reliability.md)."""
    max_model_len: int = Field(default=24576, ge=128)
    """Longest prompt plus answer, in tokens. A clip that does not fit is quarantined, never cut."""
    trust_remote_code: bool = False
    """Run the model repository's own Python (InternVL2.5 needs it)."""
    tensor_parallel_size: int = Field(default=1, ge=1, json_schema_extra=OPERATIONAL)
    """GPUs that share one engine."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1, json_schema_extra=OPERATIONAL)
    """Share of a GPU's memory for this engine."""
    kv_cache_gib: float = Field(default=1, gt=0, json_schema_extra=OPERATIONAL)
    """KV cache on CPU, in GiB; GPUs take it from `gpu_memory_utilization`."""
    max_num_seqs: int = Field(default=64, ge=1, json_schema_extra=OPERATIONAL)
    """Requests decoded in one batch."""
    enforce_eager: bool = Field(default=False, json_schema_extra=OPERATIONAL)
    """Skip compilation and CUDA graphs: starts in seconds, answers slower."""
    pool: EnginePoolConfig = Field(default=EnginePoolConfig(), json_schema_extra=OPERATIONAL)
    """Where its engines run."""


class OpenAIModel(Frozen):
    """A model behind an OpenAI-compatible endpoint."""

    engine: Literal["openai"] = "openai"
    model: str
    """The model's name at the endpoint."""
    base_url: str = "https://api.openai.com/v1"
    """The endpoint, up to and including `/v1`."""
    revision: str | None = None
    """Recorded in each row; the endpoint decides what it serves."""
    video_as: Literal["image_frames", "video_url"] = "image_frames"
    """`image_frames`: each frame as a JPEG image. `video_url`: the frames as one inline video; servers that
    take it (vLLM, SGLang) keep time, but sample it by their own rules."""
    api_key_env: str = Field(default="OPENAI_API_KEY", json_schema_extra=OPERATIONAL)
    """Name of the environment variable that holds the key; the key itself never stands in a configuration."""
    api_key_file: str | None = Field(default=None, json_schema_extra=OPERATIONAL)
    """File that holds the key, instead of `api_key_env`; here and on the machines of the pool. Read at use."""
    requests_per_minute: float = Field(default=600.0, gt=0, json_schema_extra=OPERATIONAL)
    """Rate limit per actor."""
    max_concurrency: int = Field(default=32, ge=1, json_schema_extra=OPERATIONAL)
    """Requests in flight per actor."""
    max_retries: int = Field(default=6, ge=0, json_schema_extra=OPERATIONAL)
    """Retries with exponential back-off on connection errors, 408, 409, 429 and 5xx."""
    timeout_s: float = Field(default=300.0, gt=0, json_schema_extra=OPERATIONAL)
    """Longest wait for one answer."""
    pool: EnginePoolConfig = Field(default=EnginePoolConfig(num_cpus=0.1), json_schema_extra=OPERATIONAL)
    """The actors that talk to it."""

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        if found := credential_in(url):
            raise PydanticCustomError(
                HIDDEN,
                "holds a secret ({found}), and settings are written to run.json and logs; write the plain address, and "
                "give the key by api_key_env or api_key_file",
                {"found": found},
            )
        return url

    @field_validator("api_key_env")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise PydanticCustomError(
                HIDDEN, "is no name of an environment variable; export the key under a name, and give the name"
            )
        return name


def _engine(value: Any) -> str:
    return value.get("engine", "vllm") if isinstance(value, dict) else getattr(value, "engine", "vllm")


ModelConfig = Annotated[
    Annotated[VllmModel, Tag("vllm")] | Annotated[OpenAIModel, Tag("openai")], Discriminator(_engine)
]
