"""The configuration of a generation run. Defaults are the paper's where it gives them (docs/method.md)."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from videopasta.config.models import EnginePoolConfig, ModelConfig, PoolConfig, VllmModel
from videopasta.config.video import OPERATIONAL, DecodeConfig, FpsPlan, Frozen, PlanConfig, UniformPlan

FailureMode = Literal["spatial", "temporal", "cross_frame"]
FAILURE_MODES: tuple[FailureMode, ...] = ("spatial", "temporal", "cross_frame")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class PreferredPlans(Frozen):
    """How the clip is seen for the preferred response, by failure mode. Equal plans are decoded once."""

    spatial: PlanConfig = UniformPlan()
    """The paper's "dense sampling"; 32 uniform frames are its headline."""
    temporal: PlanConfig = UniformPlan()
    """The paper's "native frame rate"; `{kind: native, max_frames: 64}` is the literal reading."""
    cross_frame: PlanConfig = UniformPlan()
    """The paper's "uniform over the whole video"."""


class PlansConfig(Frozen):
    """Frame plans of the three views of a clip."""

    query: PlanConfig = UniformPlan()
    """What the query writer sees."""
    preferred: PreferredPlans = PreferredPlans()
    """What the preferred response is grounded in."""
    adversarial: PlanConfig = FpsPlan(max_frames=16)
    """What the adversarial response is grounded in: 1 fps in the paper. The cap is ours: half of the dense plan's
    frames, or a clip of over 32 seconds would be seen as well as by the preferred response."""


class SamplingConfig(Frozen):
    """How an answer is drawn from a model."""

    temperature: float = Field(default=0.7, ge=0)
    """0 is greedy. [default, not stated by the paper]"""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus. [default]"""
    max_tokens: int = Field(default=96, ge=1)
    """Longest answer in tokens."""


class QueriesConfig(Frozen):
    """Queries per clip."""

    per_mode: int = Field(default=10, ge=1)
    """Queries per failure mode and clip. [default: 10 fits the paper's total]"""
    max_rounds: int = Field(default=2, ge=1)
    """The writer is asked again, with another seed, while de-duplication leaves fewer than `per_mode`."""
    max_chars: int = Field(default=160, ge=10)
    """Longest query in characters, enforced by the output schema."""
    sampling: SamplingConfig = SamplingConfig(max_tokens=1024)
    """How queries are drawn."""


class ResponsesConfig(Frozen):
    """Preferred and adversarial responses."""

    num_adversaries: int = Field(default=3, ge=1)
    """Adversarial responses per preferred one: 3 in the paper. More than a mode has are an error."""
    min_words: int = Field(default=10, ge=1)
    """Shortest answer asked for. The paper's preferred answers have 10 to 19 words."""
    max_words: int = Field(default=20, ge=1)
    """Longest answer asked for. The paper's adversarial answers have 11 to 20 words."""
    preferred: SamplingConfig = SamplingConfig(temperature=0.0)
    """How preferred responses are drawn: greedy, the model's best. [default]"""
    rewrite: SamplingConfig = SamplingConfig(max_tokens=128)
    """How adversarial queries are drawn. [default]"""
    max_rewrite_chars: int = Field(default=200, ge=10)
    """Longest adversarial query in characters, enforced by the output schema."""
    adversarial: SamplingConfig = SamplingConfig()
    """How adversarial responses are drawn. [default]"""

    @model_validator(mode="after")
    def _ordered(self) -> "ResponsesConfig":
        if self.max_words < self.min_words:
            raise ValueError(f"max_words={self.max_words} is below min_words={self.min_words}; raise max_words")
        return self


class GuardsConfig(Frozen):
    """Cheap checks before the judge. A candidate that fails one is kept as dropped, with its reason."""

    max_length_ratio: float = Field(default=1.5, ge=1)
    """Longest answer over shortest, in words: DPO learns length instead of truth beyond it (TEMPLE)."""
    min_words: int = Field(default=2, ge=1)
    """Answers with fewer words are empty in all but name."""
    drop_containment: bool = True
    """Drop when one answer contains the other (TEMPLE)."""
    drop_refusals: bool = True
    """Drop when either answer declines to answer."""
    drop_cut: bool = True
    """Drop when either answer was cut at its `max_tokens`: half a sentence teaches stopping in the middle."""


class JudgeConfig(Frozen):
    """How verdicts are formed from votes."""

    num_samples: int = Field(default=1, ge=1)
    """Votes per judge model and candidate; each has its own seed."""
    sampling: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=256)
    """How votes are drawn. More than one sample needs a temperature above 0."""
    min_confidence: float = Field(default=0.5, ge=0, le=1)
    """Mean confidence below it drops the candidate. [default]"""
    min_agreement: float = Field(default=0.5, ge=0, le=1)
    """Share of votes that agree with the majority; below it drops the candidate. [default]"""
    describe_clip: bool = False
    """Give the judge a description of the clip written by the response model (i-SRT: helps)."""
    max_reason_chars: int = Field(default=160, ge=10)
    """Longest reason in a vote, enforced by the output schema."""

    @model_validator(mode="after")
    def _samples_differ(self) -> "JudgeConfig":
        if self.num_samples > 1 and self.sampling.temperature == 0:
            raise ValueError(
                f"num_samples={self.num_samples} with temperature=0 gives equal votes; "
                "set judge.sampling.temperature above 0 or num_samples to 1"
            )
        return self


class OutputConfig(Frozen):
    """How often results are committed."""

    clips_per_shard: int = Field(default=64, ge=1)
    """A shard is committed after this many clips ..."""
    flush_s: float = Field(default=60.0, gt=0)
    """... or with the first clip that comes out this many seconds after the last shard. A killed driver loses what
    was not committed, and the next run makes it again."""


class BreakerConfig(Frozen):
    """When a run is stopped because its clips fail: a wrong mount must not quarantine a million videos."""

    window: int = Field(default=200, ge=1)
    """Of the last so many clips ..."""
    max_failed_share: float = Field(default=0.5, ge=0, le=1)
    """... a larger share failed for one reason: the run stops and says which. 1: never."""


class GenerateConfig(Frozen):
    """One run of `videopasta generate`: from videos to candidates, pairs and quarantine."""

    seed: int = 0
    """Every request's seed derives from it and from the row, never from worker or time."""
    failure_modes: tuple[FailureMode, ...] = FAILURE_MODES
    """Which pairs are made."""
    query_model: ModelConfig = VllmModel(
        model="OpenGVLab/InternVL2_5-38B",
        trust_remote_code=True,
        tensor_parallel_size=2,
        pool=EnginePoolConfig(num_gpus=2, clips_in_flight=8),
    )
    """Writes the queries."""
    response_model: ModelConfig = VllmModel(
        model="Qwen/Qwen2.5-VL-7B-Instruct", pool=EnginePoolConfig(num_gpus=1, clips_in_flight=8)
    )
    """Answers well (dense frames) and badly (sparse frames, misleading query): the model to align."""
    judge_model: Annotated[tuple[ModelConfig, ...], BeforeValidator(_as_list), Field(min_length=1)] = (
        VllmModel(
            model="Qwen/Qwen2.5-32B-Instruct",
            tensor_parallel_size=2,
            pool=EnginePoolConfig(num_gpus=2, clips_in_flight=16),
        ),
    )
    """Gives the verdicts, from text alone: one model, or a list of them that votes."""
    decode: DecodeConfig = DecodeConfig()
    """How clips become frames."""
    decode_pool: PoolConfig = Field(
        default=PoolConfig(min_size=1, max_size=8, memory_gib=0.7, clips_in_flight=1),
        json_schema_extra=OPERATIONAL,
    )
    """Actors that decode, each with one decoder process. A clip of 32 frames at 448x448 has 19 MB."""
    object_store_gib: float | None = Field(None, gt=0, json_schema_extra=OPERATIONAL)
    """Cap on the decoded frames that wait for an engine, over the cluster; none: Ray's own, half of its store."""
    plans: PlansConfig = PlansConfig()
    """Which frames each role sees."""
    prompts: str | None = Field(default=None, json_schema_extra=OPERATIONAL)
    """Folder whose files replace the shipped templates of the same name (videopasta/prompts/templates);
    `tiny:prompts` for the embedded world's models."""
    queries: QueriesConfig = QueriesConfig()
    """Query generation."""
    responses: ResponsesConfig = ResponsesConfig()
    """Response generation."""
    guards: GuardsConfig = GuardsConfig()
    """Checks before the judge."""
    judge: JudgeConfig = JudgeConfig()
    """Verdicts."""
    output: OutputConfig = Field(default=OutputConfig(), json_schema_extra=OPERATIONAL)
    """Committing."""
    breaker: BreakerConfig = Field(default=BreakerConfig(), json_schema_extra=OPERATIONAL)
    """When to stop."""

    @model_validator(mode="after")
    def _modes_differ(self) -> "GenerateConfig":
        if not self.failure_modes or len(set(self.failure_modes)) != len(self.failure_modes):
            raise ValueError(f"failure_modes={list(self.failure_modes)}: name each at most once, at least one")
        return self
