"""One protocol, two engines: vLLM in this process, or any OpenAI-compatible endpoint."""

from videopasta.config import ModelConfig, OpenAIModel
from videopasta.engine.protocol import (
    Answer,
    Engine,
    EngineDead,
    ModelId,
    Request,
    RequestError,
    Token,
    Turn,
    Usage,
    Video,
)

__all__ = [
    "Answer", "Engine", "EngineDead", "ModelId", "Request", "RequestError", "Token", "Turn", "Usage", "Video",
    "start_engine",
]  # fmt: skip


def start_engine(config: ModelConfig, *, video: bool) -> Engine:
    """Load or connect to the model of `config`; `video` says whether requests will carry video."""
    if isinstance(config, OpenAIModel):
        from videopasta.engine.openai import OpenAIEngine

        return OpenAIEngine(config)
    from videopasta.engine.vllm import VllmEngine

    return VllmEngine(config, video=video)
