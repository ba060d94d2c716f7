"""How a video is sampled, sized and decoded: the part that decides which pixels a model sees."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator
from pydantic.config import JsonDict

# Marks a setting that cannot change what is written, so it may differ between a run and its resume.
OPERATIONAL: JsonDict = {"operational": True}

Backend = Literal["pyav", "decord", "torchcodec"]


class Frozen(BaseModel):
    """Base of every configuration model: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _even(n: int, name: str) -> int:
    if n % 2:
        raise ValueError(f"{name}={n}: Qwen2.5-VL merges frames in pairs; use {n + 1}")
    return n


class UniformPlan(Frozen):
    """`num_frames` frames spread evenly over the clip's time, first and last frame included."""

    kind: Literal["uniform"] = "uniform"
    num_frames: int = Field(default=32, ge=2)
    """Frames per clip (the paper's headline is 32). Shorter clips give all their frames, an even number."""

    @field_validator("num_frames")
    @classmethod
    def _is_even(cls, n: int) -> int:
        return _even(n, "num_frames")


class FpsPlan(Frozen):
    """One frame every `1 / fps` seconds from the clip's start: the sparse view of the adversary at 1 fps."""

    kind: Literal["fps"] = "fps"
    fps: float = Field(default=1.0, gt=0)
    """Frames per second of video. The paper's adversarial responses see 1."""
    max_frames: int = Field(default=32, ge=2)
    """When the clip is longer than `max_frames / fps` seconds: that many, spread evenly."""

    @field_validator("max_frames")
    @classmethod
    def _is_even(cls, n: int) -> int:
        return _even(n, "max_frames")


class NativePlan(Frozen):
    """Every frame of the clip, or `max_frames` spread evenly when there are more."""

    kind: Literal["native"] = "native"
    max_frames: int = Field(default=64, ge=2)
    """Cap on the frames, hence on the tokens."""

    @field_validator("max_frames")
    @classmethod
    def _is_even(cls, n: int) -> int:
        return _even(n, "max_frames")


class WindowPlan(Frozen):
    """`num_frames` frames spread evenly over one window of the clip: dense sampling of a long video."""

    kind: Literal["window"] = "window"
    num_frames: int = Field(default=32, ge=2)
    """Frames in the window."""
    window_s: float = Field(default=8.0, gt=0)
    """Length of the window in seconds; the whole clip when it is shorter."""
    position: float = Field(default=0.5, ge=0, le=1)
    """Where the window lies: 0 at the clip's start, 1 at its end."""

    @field_validator("num_frames")
    @classmethod
    def _is_even(cls, n: int) -> int:
        return _even(n, "num_frames")


def _kind(value: Any) -> str:
    return value.get("kind", "uniform") if isinstance(value, dict) else getattr(value, "kind", "uniform")


PlanConfig = Annotated[
    Annotated[UniformPlan, Tag("uniform")]
    | Annotated[FpsPlan, Tag("fps")]
    | Annotated[NativePlan, Tag("native")]
    | Annotated[WindowPlan, Tag("window")],
    Discriminator(_kind),
]


class PixelBudget(Frozen):
    """Size of a frame, as Qwen2.5-VL's processor chooses it: aspect kept, sides multiples of `factor`."""

    factor: int = Field(default=28, ge=1)
    """Patch size 14 x spatial merge 2 (Qwen2.5-VL). Each 28x28 pixels of a frame pair become one token."""
    min_pixels: int = Field(default=128 * 28 * 28, ge=1)
    """Smallest frame in pixels (qwen-vl-utils' VIDEO_MIN_PIXELS)."""
    max_pixels: int = Field(default=768 * 28 * 28, ge=1)
    """Largest frame in pixels (qwen-vl-utils' VIDEO_MAX_PIXELS)."""
    total_pixels: int = Field(default=16384 * 28 * 28, ge=1)
    """Largest clip in pixels, all frames together; long plans get smaller frames, not below `min_pixels`."""

    @model_validator(mode="after")
    def _ordered(self) -> "PixelBudget":
        if self.min_pixels > self.max_pixels:
            raise ValueError(f"min_pixels={self.min_pixels} is more than max_pixels={self.max_pixels}; swap them")
        return self


class SourcesConfig(Frozen):
    """Where videos may be read from. Lists of videos and rows of pairs come from elsewhere, and may name anything."""

    roots: tuple[str, ...] = ()
    """Folders, absolute or as a URI: only what lies below one of them is read, wherever symlinks and `..` lead. None:
    any place."""
    schemes: tuple[str, ...] = ("file", "s3", "gs", "gcs", "hf")
    """Kinds of places. `file` is local. Others of fsspec, `http` and `https` are read when named here."""
    hosts: tuple[str, ...] = ()
    """Hosts (`name` or `name:port`, as written in the uri) that `http://` and `https://`, and S3's and Google's
    `endpoint_override=`, may name. A name behind `http(s)://` must lead to public addresses; a private one is allowed
    by writing the address itself. Redirects are not followed there."""

    @field_validator("roots")
    @classmethod
    def _are_absolute(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            if not root.startswith("/") and "://" not in root:
                raise ValueError(f"{root!r} is relative, and workers have other working directories; write it absolute")
        return roots

    @field_validator("hosts")
    @classmethod
    def _are_lower_case(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.lower() for host in hosts)


class DecodeConfig(Frozen):
    """How clips become frames, and what is refused."""

    backend: Backend = "pyav"
    """Decoder. `pyav` is exact on every codec; the others are recorded in the row when chosen."""
    pixels: PixelBudget = PixelBudget()
    """Frame size."""
    min_frames: int = Field(default=16, ge=2, json_schema_extra=OPERATIONAL)
    """Clips with fewer frames are quarantined as too short: half a second at 30 fps shows no event."""
    max_duration_s: float = Field(default=7200.0, gt=0, json_schema_extra=OPERATIONAL)
    """Clips (spans, where one is given) longer than this are quarantined: 32 frames of hours show nothing."""
    max_frame_pixels: int = Field(default=8192 * 4320, ge=1, json_schema_extra=OPERATIONAL)
    """Source frames larger than this are quarantined instead of filling the memory."""
    max_bytes: int = Field(default=32 * 2**30, ge=1, json_schema_extra=OPERATIONAL)
    """Files larger than this are quarantined before they are read; a remote one is fetched no further."""
    memory_gib: float = Field(default=4.0, gt=0, json_schema_extra=OPERATIONAL)
    """What a decoder process may take, on Linux; a clip that makes it take more is quarantined."""
    deadline_s: float = Field(default=120.0, gt=0, json_schema_extra=OPERATIONAL)
    """A clip not fetched and decoded by then is quarantined and its decoder process killed."""
    sources: SourcesConfig = Field(default=SourcesConfig(), json_schema_extra=OPERATIONAL)
    """Where videos may be read from; others are quarantined."""
    attempts: int = Field(default=2, ge=1, json_schema_extra=OPERATIONAL)
    """A clip whose decoder died, or whose file could not be fetched, is tried so often: memory may be short, and
    networks fail, for a moment."""
    recycle_after: int = Field(default=200, ge=1, json_schema_extra=OPERATIONAL)
    """A decoder process is replaced after this many clips: decoders leak (decord #154)."""
