"""The two small models of the embedded world, and the tokenizer of its own words.

`vl`: Qwen2_5_VLForConditionalGeneration, sees clips of 84x84 pixels as 3x3 tokens per pair of frames.
`judge`: Qwen2ForCausalLM, reads.
"""

import copy
import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from videopasta.errors import UserError
from videopasta.tiny import architectures
from videopasta.tiny.architectures import HEAD, TextSize, VisionSize
from videopasta.tiny.learning import lessons
from videopasta.tiny.world import scenes

VOCABULARY, MAX_LENGTH = 768, 4096


def corpus(num_scenes: int = 1000) -> Iterator[str]:
    """The texts that the tokenizer learns its words from."""
    rng = random.Random(0)
    for scene in islice(scenes("train", seed=0), num_scenes):
        of_clips = *lessons.short_lessons(scene, rng), *lessons.long_lessons(scene, rng)
        taught = lessons.described(scene), *lessons.fates(scene), *of_clips, *lessons.rewriting_lessons(scene, rng)
        for lesson in taught:
            yield lesson.prompt
            yield lesson.answer
        yield f"{lessons.preamble()}system\nYou are a helpful assistant.\nuser\nassistant\n"
        yield from verdict_words()


def verdict_words() -> Iterable[str]:
    """What the judge reads and writes beside the world's own sentences: the words, in whatever order."""
    from videopasta.prompts import PromptSet

    prompts: PromptSet = lessons.prompts()
    for mode in prompts.modes:
        yield prompts.judge(mode, query="What?", preferred="It is.", adversarial="It is not.", description="A scene.")
    for value in ("true", "false"):
        yield (
            f'{{"genuine":{value},"targeted":{value},"distinct":{value},"preferred_ok":{value},'
            '"confidence":90,"reason":"A is right, B is not."}'
        )


def make_tokenizer() -> Any:
    """The tokenizer of both models: every word of the world is one token."""
    return architectures.make_tokenizer(corpus(), VOCABULARY, MAX_LENGTH)


def make_vl(
    tokenizer: Any, *, hidden: int = 128, layers: int = 6, vision_hidden: int = 96, vision_depth: int = 3, seed: int = 0
) -> Any:
    """A fresh response model."""
    text = _text_size(hidden, layers)
    model = architectures.qwen2_5_vl(tokenizer, text, VisionSize(vision_hidden, vision_depth, 256), tied=True)
    _initialise(model, {"visual": vision_depth, "language_model": layers}, seed)
    return model


def make_judge(tokenizer: Any, vl: Any) -> Any:
    """A judge to be taught: the language half of a response model, which has the same tokenizer.

    To text the two are one: M-RoPE with three equal axes is RoPE.
    """
    config = vl.config.text_config
    size = _text_size(config.hidden_size, config.num_hidden_layers)
    model = architectures.qwen2(tokenizer, size, tied=True)
    model.model.load_state_dict(vl.model.language_model.state_dict())
    return model


def _text_size(hidden: int, layers: int) -> TextSize:
    return TextSize(VOCABULARY, hidden, layers, 3 * hidden, hidden // HEAD, MAX_LENGTH, theta=1e3)


def _initialise(model: torch.nn.Module, depths: dict[str, int], seed: int) -> None:
    """Weights of variance 1/fan-in, what adds to the residual stream scaled down by the depth."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                std = parameter[0].numel() ** -0.5
                if "embed_tokens" in name:
                    std = 0.08
                if name.endswith(("o_proj.weight", "down_proj.weight", "attn.proj.weight")):
                    depth = next(depth for part, depth in depths.items() if part in name)
                    std *= (2 * depth) ** -0.5
                parameter.normal_(0, std, generator=generator)
            elif name.endswith("bias"):
                parameter.zero_()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A checkpoint in bfloat16; `model` stays as it is."""
    architectures.save(copy.deepcopy(model).to(torch.bfloat16), tokenizer, folder)


def load(folder: Path) -> tuple[Any, Any]:
    """A checkpoint of `save` in float32, and its tokenizer.

    Raises:
        UserError: there is none in `folder`.
    """
    from transformers import AutoConfig, AutoTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2ForCausalLM

    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: no config.json; give the folder of a checkpoint")
    is_vl = AutoConfig.from_pretrained(folder).model_type == "qwen2_5_vl"
    kind = Qwen2_5_VLForConditionalGeneration if is_vl else Qwen2ForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True), AutoTokenizer.from_pretrained(
        folder
    )
