"""The configuration of the training loss. Defaults follow the paper's Fig. 4 where it pins them (docs/method.md)."""

from typing import Literal

from pydantic import Field, model_validator

from videopasta.config.generate import FailureMode
from videopasta.config.video import Frozen


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
