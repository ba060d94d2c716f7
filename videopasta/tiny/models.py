"""The two small models: real architectures, small numbers, a tokenizer of the world's own words.

`vl`: Qwen2_5_VLForConditionalGeneration, sees clips of 84x84 pixels as 3x3 tokens per pair of frames.
`judge`: Qwen2ForCausalLM, reads.
"""

import random
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videopasta.errors import UserError
from videopasta.tiny import lessons
from videopasta.tiny.packing import Batch
from videopasta.tiny.random_models import CHAT_TEMPLATE, SPECIAL_TOKENS
from videopasta.tiny.world import scenes

VOCABULARY = 768
GRID = 3
"""Merged patches a side."""
PATCH, MERGE = 14, 2
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Of Qwen2.5-VL's video processor, for pixels from 0 to 1."""


def corpus(num_scenes: int = 1000) -> Iterator[str]:
    """The texts that the tokenizer learns its words from."""
    rng = random.Random(0)
    for scene in islice(scenes("train", seed=0), num_scenes):
        taught = *lessons.short_lessons(scene, rng), *lessons.long_lessons(scene, rng)
        for lesson in (lessons.described(scene), *taught, *lessons.rewriting_lessons(scene, rng)):
            yield lesson.prompt
            yield lesson.answer
        yield f"{lessons.preamble()}system\nYou are a helpful assistant.\nuser\nassistant\n"
        yield from verdict_words()


def verdict_words() -> Iterable[str]:
    """What the judge reads and writes beside the world's own sentences."""
    from videopasta.prompts import PromptSet

    prompts: PromptSet = lessons.prompts()
    for mode in prompts.modes:
        yield prompts.judge(mode, query="What?", preferred="It is.", adversarial="It is not.", description="A scene.")
    for value in ("true", "false"):
        yield (
            f'{{"genuine": {value}, "targeted": {value}, "distinct": {value}, "preferred_ok": {value}, '
            '"confidence": 90, "reason": "A and B agree; the description says otherwise."}'
        )


def make_tokenizer() -> Any:
    """Byte-level BPE like Qwen's, with every word of the world as one token."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    words = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"""
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(words), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS[1:],
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_vl(
    tokenizer: Any, *, hidden: int = 128, layers: int = 5, vision_hidden: int = 96, vision_depth: int = 3, seed: int = 0
) -> Any:
    """A fresh Qwen2.5-VL; heads have 32 numbers."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        text_config={
            "model_type": "qwen2_5_vl_text",
            "vocab_size": VOCABULARY,
            "hidden_size": hidden,
            "intermediate_size": 3 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": hidden // 32,
            "num_key_value_heads": hidden // 32,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": [4, 6, 6]},
            "tie_word_embeddings": True,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_hidden,
            "intermediate_size": 256,
            "num_heads": vision_hidden // 32,
            "out_hidden_size": hidden,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [vision_depth - 1],
            "tokens_per_second": 2,
            "in_channels": 3,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    _initialise(model, {"visual": vision_depth, "language_model": layers}, seed)
    return model


def make_judge(tokenizer: Any, *, hidden: int = 128, layers: int = 6, seed: int = 0) -> Any:
    """A fresh Qwen2; heads have 32 numbers."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        architectures=["Qwen2ForCausalLM"],
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=4096,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    _initialise(model, {"": layers}, seed)
    return model


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


def patches(pairs: torch.Tensor) -> torch.Tensor:
    """Pixels as Qwen's video processor lays them out.

    Args:
        pairs: float (N, 2, H, W, 3), RGB from 0 to 255.

    Returns:
        (N, patches of a pair, 2 * 3 * 14 * 14), merged patches adjacent.
    """
    num, _, height, width, _ = pairs.shape
    mean, std = (torch.tensor(x) * 255 for x in (MEAN, STD))
    x = ((pairs - mean) / std).permute(0, 1, 4, 2, 3)
    rows, columns = height // PATCH // MERGE, width // PATCH // MERGE
    x = x.view(num, 2, 3, rows, MERGE, PATCH, columns, MERGE, PATCH)
    return x.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(num, rows * columns * MERGE**2, -1)


def see(visual: Any, pixels: torch.Tensor) -> torch.Tensor:
    """The vision tower over many pairs of frames at once: transformers' own loops over each.

    Args:
        visual: a `Qwen2_5_VisionTransformerPretrainedModel`, its window as large as a frame.
        pixels: (N, P, C) of `patches`.

    Returns:
        (N, P / 4, D) features.
    """
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb_vision

    num, num_patches, _ = pixels.shape
    side = round((num_patches / MERGE**2) ** 0.5)
    grid = torch.tensor([[1, side * MERGE, side * MERGE]])
    x = visual.patch_embed(pixels.reshape(num * num_patches, -1)).view(num, num_patches, -1)
    angles = _rotary(visual, grid)
    cos, sin = angles.cos(), angles.sin()
    for block in visual.blocks:
        attention = block.attn
        q, k, v = attention.qkv(block.norm1(x)).view(num, num_patches, 3, attention.num_heads, -1).unbind(2)
        q, k = apply_rotary_pos_emb_vision(q.flatten(0, 1), k.flatten(0, 1), cos.repeat(num, 1), sin.repeat(num, 1))
        q, k = (z.view_as(v) for z in (q, k))
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + attention.proj(mixed.transpose(1, 2).reshape(num, num_patches, -1))
        x = x + block.mlp(block.norm2(x))
    features: torch.Tensor = visual.merger(x.reshape(num * num_patches, -1))
    return features.view(num, num_patches // MERGE**2, -1)


def _rotary(visual: Any, grid: torch.Tensor) -> torch.Tensor:
    """(P, head size) angles of one frame's patches."""
    _, height, width = grid[0].tolist()
    rows, columns = np.mgrid[0:height, 0:width]
    merged = [
        a.reshape(height // MERGE, MERGE, width // MERGE, MERGE).transpose(0, 2, 1, 3).reshape(-1)
        for a in (rows, columns)
    ]
    frequencies = visual.rotary_pos_emb.inv_freq
    angles = torch.cat([torch.from_numpy(a.copy())[:, None] * frequencies for a in merged], dim=-1)
    return torch.cat([angles, angles], dim=-1).float()


def read(model: Any, batch: Batch, features: torch.Tensor | None = None) -> tuple[torch.Tensor, Any]:
    """The last hidden states of the lessons, (B, N, T, D), and the cache of all keys and values, for decoding.

    Args:
        model: the Qwen2.5-VL or the Qwen2 of this module.
        batch: B clips with N lessons each.
        features: (B, video tokens, D) of `see`; None without a video.
    """
    from transformers import DynamicCache

    is_vl = hasattr(model.model, "language_model")
    text = model.model.language_model if is_vl else model.model
    num_clips, num_lessons, length = batch.ids.shape
    prefix = text.embed_tokens(batch.prefix_ids).expand(num_clips, -1, -1)
    if features is not None:
        prefix = prefix.masked_scatter(batch.is_video[None, :, None], features)
    at = batch.prefix_positions[:, None].expand(-1, num_clips, -1)
    cache = text(
        inputs_embeds=prefix,
        attention_mask={"full_attention": _causal(prefix.shape[1])},
        position_ids=at if is_vl else at[0],
        past_key_values=DynamicCache(),
        use_cache=True,
    ).past_key_values
    cache.batch_repeat_interleave(num_lessons)
    at = batch.positions.expand(3, num_clips * num_lessons, -1)
    hidden = text(
        inputs_embeds=text.embed_tokens(batch.ids.flatten(0, 1)),
        attention_mask={"full_attention": _causal(length, before=prefix.shape[1])},
        position_ids=at if is_vl else at[0],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden.view(num_clips, num_lessons, length, -1), cache


@torch.no_grad()
def decode(model: Any, batch: Batch, features: torch.Tensor | None, *, max_tokens: int, end_id: int) -> torch.Tensor:
    """Greedy answers to a batch's prompts.

    Args:
        model: the Qwen2.5-VL or the Qwen2 of this module.
        batch: B clips with N lessons each; their answers are not looked at.
        features: as for `read`.
        max_tokens: longest answer.
        end_id: the token that ends an answer.

    Returns:
        (B, N, A) token ids, A at most `max_tokens`; what follows an end token means nothing.
    """
    text = model.model.language_model if hasattr(model.model, "language_model") else model.model
    is_vl = text is not model.model
    num_clips, num_lessons, length = batch.ids.shape
    hidden, cache = read(model, batch, features)
    lengths = batch.prompt_lengths.flatten()
    rows = torch.arange(len(lengths))
    last = hidden.flatten(0, 1)[rows, lengths - 1]
    # What stands behind a prompt in `batch.ids`, its answer and padding, is in the cache: hidden from all that follows.
    seen = torch.ones(len(lengths), batch.prefix_ids.shape[0] + length, dtype=torch.bool)
    seen[:, -length:] = torch.arange(length) < lengths[:, None]
    written, ended = [], torch.zeros(len(lengths), dtype=torch.bool)
    for step in range(max_tokens):
        token = model.lm_head(last).argmax(-1)
        written.append(token)
        ended |= token == end_id
        if ended.all():
            break
        seen = torch.cat([seen, torch.ones(len(lengths), 1, dtype=torch.bool)], dim=1)
        at = (batch.positions[0] + lengths + step)[None, :, None].expand(3, -1, -1)
        last = text(
            inputs_embeds=text.embed_tokens(token[:, None]),
            attention_mask={"full_attention": seen[:, None, None]},
            position_ids=at if is_vl else at[0],
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[:, 0]
    return torch.stack(written, dim=1).view(num_clips, num_lessons, -1)


def _causal(length: int, before: int = 0) -> torch.Tensor:
    """(1, 1, length, before + length) bool."""
    return torch.ones(length, before + length, dtype=torch.bool).tril(before)[None, None]


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """As bfloat16 safetensors with all that transformers and vLLM want to see."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if hasattr(model.model, "visual"):
        sizes = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": 2}
        Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(**sizes),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(**sizes),
            chat_template=CHAT_TEMPLATE,
        ).save_pretrained(folder)


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
    return kind.from_pretrained(folder, dtype=torch.float32), AutoTokenizer.from_pretrained(folder)
