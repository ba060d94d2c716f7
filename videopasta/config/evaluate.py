"""The configuration of an evaluation."""

from typing import Literal

from pydantic import Field, field_validator

from videopasta.config.generate import OutputConfig, SamplingConfig
from videopasta.config.models import EnginePoolConfig, ModelConfig, PoolConfig, VllmModel
from videopasta.config.train import VisionCacheConfig, check_template
from videopasta.config.video import OPERATIONAL, DecodeConfig, Frozen, PlanConfig, UniformPlan

ProfileName = Literal["paper", "video"]


class PreferenceConfig(Frozen):
    """How log-probs of held-out pairs are computed: the trainer's packed pass, without training."""

    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of all computation."""
    tokens_per_pack: int = Field(default=16384, ge=128)
    """Tokens in one pass; a pair that does not fit alone is left out and counted."""
    max_answer_tokens: int = Field(default=512, ge=1)
    """Pairs with a longer answer are left out and counted."""
    num_workers: int = Field(default=1, ge=1, json_schema_extra=OPERATIONAL)
    """Processes among which the clips are divided, each with the whole model."""
    num_cpus: float = Field(default=1.0, ge=0, json_schema_extra=OPERATIONAL)
    """CPUs reserved for each."""
    num_gpus: float = Field(default=1.0, ge=0, json_schema_extra=OPERATIONAL)
    """GPUs for each: 1, or 0 for CPU."""
    vision_cache: VisionCacheConfig = Field(default=VisionCacheConfig(), json_schema_extra=OPERATIONAL)
    """The trainer's cache of vision features."""


class BenchmarksConfig(Frozen):
    """How lmms-eval runs: one benchmark a Ray task, in an environment of its own."""

    profile: ProfileName = "video"
    """paper: frames as single images, as upstream's command ran. video: as one video, with its axis of time. The two
    make different scores; each result names its own (videopasta/evaluate/lmms/profiles.py)."""
    model_args: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Of lmms-eval's model, over the profile's; `model` is set by `--model`."""
    python: str = Field(default=".venv-eval/bin/python", json_schema_extra=OPERATIONAL)
    """The interpreter with lmms-eval, on every machine; `make eval-env` makes this one."""
    include_path: str | None = None
    """A folder with further tasks."""
    limit: int | None = Field(default=None, ge=1)
    """Questions of each benchmark; none: all. A limited score is marked as such."""
    num_cpus: float = Field(default=8.0, ge=0, json_schema_extra=OPERATIONAL)
    """CPUs reserved for a benchmark."""
    num_gpus: float = Field(default=1.0, ge=0, json_schema_extra=OPERATIONAL)
    """GPUs for a benchmark: the `tensor_parallel_size` in `model_args`."""
    timeout_s: float = Field(default=24 * 3600.0, gt=0, json_schema_extra=OPERATIONAL)
    """A benchmark that takes longer is ended, and named as failed."""


class EvaluateConfig(Frozen):
    """Everything about one evaluation; keys marked operational may change between a run and its resume."""

    model: ModelConfig = VllmModel(
        model="Qwen/Qwen2.5-VL-7B-Instruct", pool=EnginePoolConfig(num_gpus=1, clips_in_flight=8)
    )
    """The model to evaluate; `--model` names it."""
    grader_model: ModelConfig | None = None
    """A text model that says whether an open answer is right, where no truth is known. None: open answers to questions
    about real videos are kept, not graded; letters need no grader."""
    seed: int = 0
    """Of requests; greedy ones do not depend on it."""
    prompt_template: str = "{prompt}"
    """What the model reads behind the video, with the question in the place of `{prompt}`; as in training."""
    plan: PlanConfig = UniformPlan()
    """Which frames the model sees."""
    decode: DecodeConfig = DecodeConfig()
    """How clips become frames."""
    decode_pool: PoolConfig = Field(
        default=PoolConfig(min_size=1, max_size=8, memory_gib=0.7, clips_in_flight=1), json_schema_extra=OPERATIONAL
    )
    """Actors that decode, each with one decoder process."""
    open_answers: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=96)
    """How answers to questions without options are drawn."""
    letters: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=16)
    """How answers to questions with options are drawn."""
    grading: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=192)
    """How the grader's verdicts are drawn."""
    preference: PreferenceConfig = PreferenceConfig()
    """Log-probs of held-out pairs."""
    benchmarks: BenchmarksConfig = BenchmarksConfig()
    """The public benchmarks, by lmms-eval."""
    output: OutputConfig = Field(default=OutputConfig(), json_schema_extra=OPERATIONAL)
    """How often answers are committed."""

    @field_validator("prompt_template")
    @classmethod
    def _holds_the_question(cls, template: str) -> str:
        return check_template(template)
