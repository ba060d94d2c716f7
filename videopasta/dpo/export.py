"""From a checkpoint to a folder that transformers and vLLM load: weights, processor, model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from videopasta.config import TrainConfig, dump_yaml
from videopasta.dpo import checkpoint, policy


def export_model(config: TrainConfig, folder: Path, out: Path, facts: Mapping[str, Any]) -> None:
    """Write the model of a checkpoint.

    Args:
        config: of the training.
        folder: the checkpoint's.
        out: gets config.json, safetensors, tokenizer, processor and README.md; or the adapter's files.
        facts: for the card: see `card.md.j2`.
    """
    # The attention plays no part in what is written, and this machine may lack the training's.
    load = _load_of_trl if config.trainer == "trl" else _load_of_packed
    trained = load(config.model_copy(update={"attention": "dense"}), folder)
    out.mkdir(parents=True, exist_ok=True)
    if config.export == "adapter":
        trained.adapters.save_pretrained(out)
    else:
        model = trained.adapters.merge_and_unload() if trained.adapters else trained.video.model
        model.to(getattr(torch, config.dtype)).save_pretrained(out)
        trained.video.processor.save_pretrained(out)
    (out / "README.md").write_text(_card(config, trained.revision, facts))


def _load_of_packed(config: TrainConfig, folder: Path) -> policy.Policy:
    trained = policy.load_policy(config)
    checkpoint.load_model(trained.video, folder)
    return trained


def _load_of_trl(config: TrainConfig, folder: Path) -> policy.Policy:
    """TRL's checkpoints are of the Trainer of transformers: whole weights, or peft's adapter."""
    import peft

    if config.lora is None:
        video, _ = policy.load_base(config.model_copy(update={"model": str(folder), "revision": None}))
        return policy.Policy(video, policy.load_base(config)[1], None)
    video, revision = policy.load_base(config)
    return policy.Policy(video, revision, peft.PeftModel.from_pretrained(video.model, folder))


def _card(config: TrainConfig, revision: str, facts: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("videopasta.dpo", "templates"), undefined=StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("card.md.j2")
    return template.render(config=config, revision=revision, settings=dump_yaml(config), **facts)
