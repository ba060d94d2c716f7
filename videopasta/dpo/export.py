"""From a checkpoint to a folder that transformers and vLLM load: weights, processor, model card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined

from videopasta.config import TrainConfig, dump_yaml
from videopasta.dpo import checkpoint, policy
from videopasta.errors import UserError

Form = Literal["merged", "adapter"]


def export_model(config: TrainConfig, folder: Path, out: Path, facts: Mapping[str, Any], form: Form = "merged") -> None:
    """Write the model of a checkpoint.

    Args:
        config: of the training.
        folder: the checkpoint's.
        out: gets config.json, safetensors, tokenizer, processor and README.md; or the adapter's files.
        facts: for the card: see `card.md.j2`.
        form: merged: whole weights. adapter: those of LoRA alone, for peft and vLLM's LoRA.

    Raises:
        UserError: an adapter of a training without.
    """
    trained = policy.load_policy(config)
    checkpoint.load_model(trained.video, folder)
    out.mkdir(parents=True, exist_ok=True)
    if form == "adapter":
        if trained.adapters is None:
            raise UserError("an adapter is exported of LoRA only; this training was of all weights (lora: null)")
        trained.adapters.save_pretrained(out)
    else:
        model = trained.adapters.merge_and_unload() if trained.adapters else trained.video.model
        model.to(getattr(torch, config.dtype)).save_pretrained(out)
        trained.video.processor.save_pretrained(out)
    (out / "README.md").write_text(_card(config, trained.revision, facts))


def _card(config: TrainConfig, revision: str, facts: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader("videopasta.dpo", "templates"), undefined=StrictUndefined, keep_trailing_newline=True,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("card.md.j2")
    return template.render(config=config, revision=revision, settings=dump_yaml(config), **facts)
