"""The configuration of a training. Defaults follow the paper's Fig. 4 where it pins them (docs/method.md).

Marks: [C] stated by the paper; [I] inferred from it; [default] ours.
"""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from videopasta.config.generate import FAILURE_MODES, FailureMode
from videopasta.config.models import CustomResources
from videopasta.config.video import OPERATIONAL, DecodeConfig, Frozen


def check_template(template: str) -> str:
    """`template`, which must hold `{prompt}` once."""
    if template.count("{prompt}") != 1:
        raise ValueError(f"prompt_template={template!r}: must hold {{prompt}} once, where the query goes")
    return template


class ModeWeights(Frozen):
    """The paper's lambdas: what each failure mode's loss counts for. [values not stated by the paper]"""

    spatial: float = Field(default=1.0, ge=0)
    temporal: float = Field(default=1.0, ge=0)
    cross_frame: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _some_weight(self) -> "ModeWeights":
        if self.spatial + self.temporal + self.cross_frame == 0:
            raise ValueError("all three weights are 0, so nothing would be learned; give one of them a weight")
        return self

    def of(self, mode: FailureMode) -> float:
        """The weight of `mode`."""
        weight: float = getattr(self, mode)
        return weight


class LossConfig(Frozen):
    """Direct preference optimisation (Rafailov et al. 2023) with a supervised term on the chosen answers."""

    type: Literal["sigmoid", "hinge", "ipo", "robust"] = "sigmoid"
    """sigmoid: DPO. hinge: SLiC (Zhao et al. 2023). ipo: Azar et al. 2023. robust: Chowdhury et al. 2024, unbiased
    when the share `label_smoothing` of the pairs is the wrong way round."""
    beta: float = Field(default=0.1, gt=0)
    """Strength of the pull towards the reference model; IPO's tau. [default]"""
    rpo_alpha: float = Field(default=1.0, ge=0)
    """Weight of the chosen answers' mean cross-entropy per token, next to the preference loss. 1 fits the joint rise
    of both rewards in the paper's Fig. 4; without it both may sink."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Supposed share of pairs that are the wrong way round; of `sigmoid` (conservative DPO) and `robust`."""
    length_normalised: bool = False
    """Log-ratios per token instead of per answer; IPO's always are."""
    mode_weights: ModeWeights = ModeWeights()

    @model_validator(mode="after")
    def _fitting(self) -> "LossConfig":
        if self.label_smoothing and self.type in ("hinge", "ipo"):
            raise ValueError(f"label_smoothing has no meaning for type={self.type}; use sigmoid or robust, or set 0")
        return self


class LoraConfig(Frozen):
    """Low-rank adapters (Hu et al. 2021) on all linear layers of the language model."""

    r: int = Field(default=8, ge=1)
    """Rank. [I]"""
    alpha: int = Field(default=32, ge=1)
    """The adapter's output is scaled by alpha / r. [I]"""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """On the adapter's input, drawn anew for each step from the seed and the step's number. [I]"""


class OptimizerConfig(Frozen):
    """AdamW with a cosine schedule."""

    lr: float = Field(default=1e-4, gt=0)
    """Highest learning rate. 1e-4 for LoRA, 5e-7 to 1e-6 for full fine-tuning. [I]"""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the rate rises from 0. [I]"""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled; of matrices only. [I]"""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the two moments. [default]"""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients longer than this, over all parameters, are scaled down to it. [default]"""


class ValidationConfig(Frozen):
    """Videos held out; no pair of theirs is trained on."""

    share: float = Field(default=0.05, ge=0, lt=1)
    """Of the videos; at least one where it is not 0. Looked at before each checkpoint."""


class CheckpointsConfig(Frozen):
    """Sharded checkpoints to go on from, written while training continues."""

    every_steps: int = Field(default=50, ge=1, json_schema_extra=OPERATIONAL)
    """One after so many steps, and after the last."""
    keep: int = Field(default=2, ge=1, json_schema_extra=OPERATIONAL)
    """Those with the best reward accuracy on validation; the newest is kept as well."""


class WorkersConfig(Frozen):
    """The Ray Train workers: one process each, over which model, optimizer and batch are split."""

    min_num: int = Field(default=1, ge=1)
    """Fewer than this wait for nodes."""
    max_num: int = Field(default=1, ge=1)
    """With more than `min_num`, the run starts on what is there and changes its size as nodes come and go."""
    num_cpus: float = Field(default=1.0, gt=0)
    """CPUs reserved per worker."""
    num_gpus: float = Field(default=0.0, ge=0)
    """GPUs per worker: 1, or 0 for CPU."""
    resources: CustomResources = Field(default={})
    """Custom resources reserved per worker, to pin them to a node group: `{train: 1}` (cluster.yaml has the names)."""
    max_failures: int = Field(default=3, ge=-1)
    """Worker failures after which the run goes on from its last checkpoint; -1: without end."""

    @model_validator(mode="after")
    def _ordered(self) -> "WorkersConfig":
        if self.max_num < self.min_num:
            raise ValueError(f"max_num={self.max_num} is below min_num={self.min_num}; raise max_num")
        return self


class VisionCacheConfig(Frozen):
    """Features of the frozen vision tower, on the local disk of each machine."""

    folder: str = "~/.cache/videopasta/vision"
    """Shared by all workers and runs of a machine; keys hold everything that the features depend on."""
    max_gib: float = Field(default=100.0, gt=0)
    """What was not read for longest is deleted beyond this. A clip of 4,000 tokens of a 7B takes 29 MB."""


class TrackingConfig(Frozen):
    """Where metrics go beside metrics.csv, Ray Train and Ray's Prometheus endpoint."""

    tensorboard: bool = False
    """Event files in OUT/tensorboard, which must be local."""
    wandb_project: str | None = None
    """A Weights & Biases project; needs the package wandb and its key in WANDB_API_KEY."""


class TrainConfig(Frozen):
    """Everything about one training; keys marked operational may change between a run and its resume."""

    trainer: Literal["packed", "trl"] = "packed"
    """packed: one pass over a clip's video serves all its pairs. trl: TRL's DPOTrainer, a sequence per answer; the
    reference, for people who live in TRL."""
    model: str = "Qwen/Qwen2.5-VL-7B-Instruct"
    """The model to align: the `response_model` of the pairs. Hub id, local folder, or `tiny:NAME`. [C]"""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of all computation. Weights that are trained and the optimizer's moments are always float32."""
    prompts: Literal["aligned", "adversarial", "both"] = "aligned"
    """Which query the answers of a pair follow: the aligned one (the paper's), the misleading one that the rejected
    answer was given to, or each once."""
    prompt_template: str = "{prompt}"
    """What the model reads behind the video, with the query in the place of `{prompt}`: as it will be asked in use. A
    model that was always asked with other words around a query is aligned with those words around it, too."""
    failure_modes: tuple[FailureMode, ...] = FAILURE_MODES
    """Which pairs take part; the others are left out and counted."""
    loss: LossConfig = LossConfig()
    """The loss."""
    lora: LoraConfig | None = LoraConfig()
    """Adapters; null: full fine-tuning of the language model. The vision tower and its merger stay frozen."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimizer."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the pairs. 7,020 make 658 steps, less what is held out; the paper's Fig. 4 shows 655 to 659. [I]"""
    pairs_per_step: int = Field(default=32, ge=1)
    """Pairs in a batch, over all workers. [I]"""
    seed: int = 0
    """Of the order, the split and the dropout."""
    max_answer_tokens: int = Field(default=512, ge=1)
    """Pairs with a longer answer are left out and counted."""
    tokens_per_pack: int = Field(default=16384, ge=128)
    """Tokens in one pass of one worker: what fits its memory. A clip with more is split by queries, each part with its
    whole video; a pair that does not fit alone is left out and counted."""
    attention: Literal["tree", "dense", "flex"] = Field(default="tree", json_schema_extra=OPERATIONAL)
    """How the packed pass computes attention (videopasta/dpo/attention.py): flex is FlexAttention, for GPUs."""
    trl_pairs_per_pass: int = Field(default=1, ge=1)
    """Pairs in one pass of `trainer: trl`, two sequences each; gradients are accumulated to `pairs_per_step`. TRL takes
    the supervised term's mean over a pass, the packed trainer over the step: equal where a step is one pass."""
    export: Literal["merged", "adapter"] = Field(default="merged", json_schema_extra=OPERATIONAL)
    """What OUT/model holds: whole weights, or of a LoRA training the adapter alone, for peft and vLLM's LoRA."""
    activation_checkpointing: bool = Field(default=True, json_schema_extra=OPERATIONAL)
    """Compute each layer again on the way back, instead of keeping what it computed."""
    validation: ValidationConfig = ValidationConfig()
    """Videos held out."""
    checkpoints: CheckpointsConfig = Field(default=CheckpointsConfig(), json_schema_extra=OPERATIONAL)
    """Checkpoints."""
    workers: WorkersConfig = Field(default=WorkersConfig(), json_schema_extra=OPERATIONAL)
    """Workers."""
    decode: DecodeConfig = Field(default=DecodeConfig(), json_schema_extra=OPERATIONAL)
    """Deadlines and limits of decoding; frames and sizes stand in the rows."""
    vision_cache: VisionCacheConfig = Field(default=VisionCacheConfig(), json_schema_extra=OPERATIONAL)
    """The cache of features."""
    tracking: TrackingConfig = Field(default=TrackingConfig(), json_schema_extra=OPERATIONAL)
    """Where metrics go."""

    @field_validator("prompt_template")
    @classmethod
    def _holds_the_query(cls, template: str) -> str:
        return check_template(template)

    @model_validator(mode="after")
    def _possible(self) -> "TrainConfig":
        if self.attention == "flex" and not self.workers.num_gpus:
            raise ValueError("attention=flex has no backward pass on a CPU; use tree, or give workers.num_gpus")
        if self.export == "adapter" and self.lora is None:
            raise ValueError("export=adapter with lora=null: all weights are trained, there is no adapter; use merged")
        if self.trainer == "trl":
            self._check_trl()
        return self

    def _check_trl(self) -> None:
        """What TRL's loss lacks is refused, never left out in silence."""
        loss = self.loss
        weights = loss.mode_weights
        if len({weights.spatial, weights.temporal, weights.cross_frame}) > 1:
            raise ValueError("trainer=trl weighs no pairs: loss.mode_weights must be equal; or use trainer=packed")
        if loss.label_smoothing and loss.type == "sigmoid":
            raise ValueError("trainer=trl has no loss.label_smoothing with type=sigmoid; use robust, or trainer=packed")
        if loss.length_normalised and loss.type != "sigmoid":
            raise ValueError(f"trainer=trl has no loss.length_normalised with type={loss.type}; use trainer=packed")
