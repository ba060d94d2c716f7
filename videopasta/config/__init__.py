"""Configuration: pydantic models and their loading. Imports neither torch, ray nor vllm.

Every key, its default, its reason and its source stand beside it in `video.py`, `models.py`, `generate.py`, `train.py`,
`evaluate.py`, `exchange.py`, `serve.py`.
"""

from videopasta.config.evaluate import BenchmarksConfig, EvaluateConfig, PreferenceConfig
from videopasta.config.exchange import ExportConfig, ImportConfig, RefilterConfig, ShowConfig
from videopasta.config.generate import FAILURE_MODES, FailureMode, GenerateConfig, SamplingConfig
from videopasta.config.load import differences, dump_yaml, fingerprint, load_config
from videopasta.config.models import EnginePoolConfig, ModelConfig, OpenAIModel, PoolConfig, VllmModel
from videopasta.config.serve import ServeConfig
from videopasta.config.train import LossConfig, ModeWeights, TrainConfig
from videopasta.config.video import (
    DecodeConfig,
    FpsPlan,
    NativePlan,
    PixelBudget,
    PlanConfig,
    SourcesConfig,
    UniformPlan,
    WindowPlan,
)

__all__ = [
    "FAILURE_MODES",
    "BenchmarksConfig",
    "DecodeConfig",
    "EnginePoolConfig",
    "EvaluateConfig",
    "ExportConfig",
    "FailureMode",
    "FpsPlan",
    "GenerateConfig",
    "ImportConfig",
    "LossConfig",
    "ModeWeights",
    "ModelConfig",
    "NativePlan",
    "OpenAIModel",
    "PixelBudget",
    "PlanConfig",
    "PoolConfig",
    "PreferenceConfig",
    "RefilterConfig",
    "SamplingConfig",
    "ServeConfig",
    "ShowConfig",
    "SourcesConfig",
    "TrainConfig",
    "UniformPlan",
    "VllmModel",
    "WindowPlan",
    "differences",
    "dump_yaml",
    "fingerprint",
    "load_config",
]
