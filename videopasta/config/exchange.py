"""The configurations of `videopasta export`, `import`, `refilter`, and of what shows pairs to people."""

from typing import Literal

from pydantic import Field

from videopasta.config.generate import FailureMode, GuardsConfig
from videopasta.config.train import ValidationConfig
from videopasta.config.video import DecodeConfig, Frozen, PlanConfig, UniformPlan


class ExportConfig(Frozen):
    """One run of `videopasta export`: pairs as the files of another trainer."""

    videos: Literal["link", "copy", "embed"] = "link"
    """link: the uri as it stands in the pairs, nothing is opened. copy: into OUT/videos, each content once. embed: the
    bytes in Parquet, once a row group; `hf` alone. What is copied or embedded must have the hash of its pairs."""
    frames: Literal["png", "jpeg"] | None = None
    """Lists of images instead of videos: the frames of each pair's plan, in OUT/frames. png is exact; jpeg is smaller,
    and a little off."""
    jpeg_quality: int = Field(default=95, ge=1, le=100)
    """Of `frames: jpeg`; 100 is largest. Colours keep their full resolution."""
    validation: ValidationConfig = ValidationConfig()
    """Videos held out, in a file of their own: those that a training with equal `seed` and share would hold out."""
    seed: int = 0
    """Of the split."""
    decode: DecodeConfig = DecodeConfig()
    """Deadlines, limits and sources of the videos that are opened; frames and sizes stand in the rows."""


class ImportConfig(Frozen):
    """One run of `videopasta import`: pairs from the files of others."""

    failure_mode: FailureMode | None = None
    """Of rows that name none; none: such rows are rejected."""
    plan: PlanConfig = UniformPlan()
    """Frame plan of rows that bring none, with which the pair is trained."""
    guards: GuardsConfig = GuardsConfig()
    """Rows that fail one become candidates with a drop reason, which `videopasta refilter` can judge anew."""
    decode: DecodeConfig = DecodeConfig()
    """How the videos of rows without a plan or a hash are looked at."""


class RefilterConfig(Frozen):
    """One run of `videopasta refilter`: another choice among candidates that are there."""

    min_confidence: float | None = Field(None, ge=0, le=1)
    """As `judge.min_confidence` of a generation; none: as the candidates were made with."""
    min_agreement: float | None = Field(None, ge=0, le=1)
    """As `judge.min_agreement`; none: as the candidates were made with."""
    guards: GuardsConfig | None = None
    """As `guards` of a generation; none: as the candidates were made with. A candidate that a guard dropped before any
    judge saw it stays dropped."""
    max_similarity: float | None = Field(0.95, ge=0.5, le=1)
    """Two pairs of a clip whose queries, preferred and rejected answers are each as alike as this, by words (Indel
    similarity: 0 to 1), are near-duplicates: the more confident one is kept. Of 12 words one other makes 0.92. None:
    all are kept."""
    max_per_clip: int | None = Field(None, ge=1)
    """Pairs of a clip, over its failure modes and queries in turn, the most confident first. None: all."""
    balance: bool = False
    """As many pairs of each failure mode as of the rarest that has any, over the clips in turn."""


class ShowConfig(Frozen):
    """What `videopasta review`, `report` and `compare` may open to show frames."""

    decode: DecodeConfig = DecodeConfig()
    """Deadlines, limits and sources of the videos; frames, sizes and decoders stand in the rows."""
