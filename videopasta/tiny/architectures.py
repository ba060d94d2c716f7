"""The two architectures in any size, their tokenizer and how they are saved; the random models share its constants.

Qwen2.5-VL sees and writes, Qwen2 reads and writes. Heads have 32 numbers, as vLLM's attention on a CPU wants.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
"""Qwen2.5-VL's, less tools."""
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2.5-VL's, less tools."""
HEAD = 32
PATCH, MERGE, FRAMES_PER_PATCH = 14, 2, 2
"""Pixels a side of a patch, patches a side of a token, frames of a token: those of all Qwen2.5-VL."""
_WORDS = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"""
"""How Qwen's tokenizer parts words."""


@dataclass(frozen=True)
class TextSize:
    """Of a language model."""

    vocabulary: int
    hidden: int
    layers: int
    intermediate: int
    key_heads: int
    max_positions: int
    theta: float
    """Base of the rotary frequencies."""


@dataclass(frozen=True)
class VisionSize:
    """Of a vision tower; its windows are 8x8 patches, its last block attends to all."""

    hidden: int
    depth: int
    intermediate: int


def make_tokenizer(corpus: Iterable[str], vocabulary: int, max_length: int) -> Any:
    """Byte-level BPE like Qwen's, learned from `corpus`, with all special tokens and the chat template."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_WORDS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS[1:],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def qwen2_5_vl(tokenizer: Any, text: TextSize, vision: VisionSize, *, tied: bool) -> Any:
    """A Qwen2.5-VL with transformers' own initial weights; `tied`: one matrix for embeddings and logits."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2_5_VLConfig(
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        text_config={
            "model_type": "qwen2_5_vl_text",
            **_text_config(tokenizer, text, tied),
            "rope_parameters": {"rope_type": "default", "rope_theta": text.theta, "mrope_section": [4, 6, 6]},
        },
        vision_config={
            "depth": vision.depth,
            "hidden_size": vision.hidden,
            "intermediate_size": vision.intermediate,
            "num_heads": vision.hidden // HEAD,
            "out_hidden_size": text.hidden,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": FRAMES_PER_PATCH,
            "window_size": 8 * PATCH,
            "fullatt_block_indexes": [vision.depth - 1],
            "tokens_per_second": 2,
            "in_channels": 3,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=tied,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen2(tokenizer: Any, text: TextSize, *, tied: bool) -> Any:
    """A Qwen2 with transformers' own initial weights; `tied`: one matrix for embeddings and logits."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return Qwen2ForCausalLM(
        Qwen2Config(
            architectures=["Qwen2ForCausalLM"],
            **_text_config(tokenizer, text, tied),
            rope_parameters={"rope_type": "default", "rope_theta": text.theta},
        )
    )


def _text_config(tokenizer: Any, size: TextSize, tied: bool) -> dict[str, Any]:
    return {
        "vocab_size": size.vocabulary,
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.hidden // HEAD,
        "num_key_value_heads": size.key_heads,
        "max_position_embeddings": size.max_positions,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": tied,
        "bos_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """As safetensors, with all that transformers and vLLM want to see beside the weights."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if hasattr(model.model, "visual"):
        sizes = {"patch_size": PATCH, "merge_size": MERGE, "temporal_patch_size": FRAMES_PER_PATCH}
        Qwen2_5_VLProcessor(
            image_processor=Qwen2VLImageProcessor(**sizes),
            tokenizer=tokenizer,
            video_processor=Qwen2VLVideoProcessor(**sizes),
            chat_template=CHAT_TEMPLATE,
        ).save_pretrained(folder)
