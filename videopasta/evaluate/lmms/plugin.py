"""What lmms-eval asks a plugin for, by the entry point that pyproject.toml names. Imported by lmms-eval alone."""

from typing import Any

from videopasta.evaluate.lmms.profiles import VIDEO_MODEL


def manifest() -> Any:
    """Our model by its name; loaded when it is asked for."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=VIDEO_MODEL, chat_class_path="videopasta.evaluate.lmms.model.VideopastaVLLM")
