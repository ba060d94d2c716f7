"""The model that is trained: loaded, given adapters, and split over the workers.

Frozen weights are kept in the type of the computation, trained ones in float32. FSDP2 shards the language model layer
by layer; the vision tower is whole on every worker, as it is frozen and runs once per clip.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from videopasta.config import TrainConfig
from videopasta.config.train import LoraConfig
from videopasta.dpo.attention import IMPLEMENTATIONS, register
from videopasta.dpo.qwen import QwenVideo
from videopasta.dpo.rope import use_engine_positions
from videopasta.dpo.team import Team
from videopasta.engine.models import local_path, revision_of
from videopasta.errors import UserError


@dataclass(frozen=True)
class Policy:
    """A model to align."""

    video: QwenVideo
    revision: str
    """What identifies the weights it starts from."""
    adapters: Any
    """peft's wrapper, which can merge or save them; None in full fine-tuning."""


def load_policy(config: TrainConfig) -> Policy:
    """The model to align as it is before training, with fresh adapters where there are to be some.

    Args:
        config: names it.

    Raises:
        UserError: it is no Qwen2.5-VL, or its processor is another model's.
    """
    register()
    video, revision = load_base(config, attention=IMPLEMENTATIONS[config.attention])
    return Policy(video, revision, _choose_trained(video, config.lora, config.seed))


def load_base(config: TrainConfig, *, attention: str = "sdpa") -> tuple[QwenVideo, str]:
    """The model as it is, and what identifies its weights.

    Args:
        config: names it.
        attention: of the language model, as transformers names it.

    Raises:
        UserError: as `load_policy`.
    """
    from transformers import AutoConfig, AutoProcessor, Qwen2_5_VLForConditionalGeneration

    use_engine_positions()
    path = local_path(config.model)
    hf_config = AutoConfig.from_pretrained(path, revision=config.revision, trust_remote_code=False)
    if hf_config.model_type != "qwen2_5_vl":
        raise UserError(f"model {config.model!r} is a {hf_config.model_type}; the trainer takes a Qwen2.5-VL")
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        path,
        revision=config.revision or "main",
        use_safetensors=True,
        dtype=getattr(torch, config.dtype),
        attn_implementation={"text_config": attention, "vision_config": _vision_attention(config)},
    )
    revision = revision_of(path, config.revision, hf_config)
    if revision is None:
        raise UserError(f"model {config.model!r}: nothing tells which weights these are; set revision to a commit")
    processor = AutoProcessor.from_pretrained(path, revision=config.revision, trust_remote_code=False)
    return QwenVideo(model, processor), revision


def _vision_attention(config: TrainConfig) -> str:
    """flash-attn for the tower's windows, where it is installed and can be used."""
    from transformers.utils import is_flash_attn_2_available

    usable = config.workers.num_gpus > 0 and config.dtype == "bfloat16" and is_flash_attn_2_available()
    return "flash_attention_2" if usable else "sdpa"


def _choose_trained(video: QwenVideo, lora: LoraConfig | None, seed: int) -> Any:
    """Freeze all but the language model, or all but its adapters, which are returned; trained weights get float32."""
    video.model.requires_grad_(False)
    video.language.requires_grad_(lora is None)
    adapters = add_adapters(video.model, lora, seed) if lora else None
    for parameter in trained(video).values():
        parameter.data = parameter.data.float()
    return adapters


def add_adapters(model: Any, lora: LoraConfig, seed: int) -> Any:
    """LoRA on all linear layers of the language model, the same for equal seeds; `model` is changed in place.

    Returns:
        peft's wrapper, which can merge or save them.
    """
    import peft

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return peft.get_peft_model(model, lora_config(lora), autocast_adapter_dtype=False)


def lora_config(lora: LoraConfig) -> Any:
    """Peft's configuration: all linear layers of the language model."""
    import peft

    return peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=r".*language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj",
    )


def shard(video: QwenVideo, team: Team, dtype: torch.dtype) -> None:
    """Move the model to this worker's device, and its language half's layers to the workers' shares."""
    if team.size == 1 and dtype == torch.float32:
        video.model.to(team.device)
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(team.device.type, (team.size,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=torch.float32)
    for layer in video.language.text.layers:
        # The root's policy alone would give float32 activations back after each layer.
        fully_shard(layer, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32))
    fully_shard(video.language, mesh=mesh, mp_policy=policy)
    video.model.model.visual.to(team.device)


def trained(video: QwenVideo) -> dict[str, torch.nn.Parameter]:
    """The parameters that learn, by their names in `video.language`."""
    return {name: p for name, p in video.language.named_parameters() if p.requires_grad}


def folder_of(config: TrainConfig) -> Path:
    """Where the cache of vision features lies on this machine."""
    return Path(config.vision_cache.folder).expanduser()
