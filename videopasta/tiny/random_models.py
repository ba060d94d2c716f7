"""Random checkpoints of the real architectures, made offline on first use.

They say nothing sensible. They load in transformers and vLLM exactly as the real ones do, follow a JSON schema,
and answer differently for different videos, which is what tests of the plumbing need:

    tiny:random-vl     Qwen2_5_VLForConditionalGeneration, 0.7 M parameters: writes queries, answers
    tiny:random-judge  Qwen2ForCausalLM, 0.3 M parameters: gives verdicts
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from videopasta.tiny.architectures import CHAT_TEMPLATE, SPECIAL_TOKENS

CACHE = Path("~/.cache/videopasta/models").expanduser()
# Part of the folder's name: raise it when what is made changes.
VERSION = 1
SEED = 0
VOCABULARY = 600


def ensure_model(name: str) -> Path:
    """The folder of a model of `MAKERS`, made if it is not there yet. Several processes may ask at once."""
    folder = CACHE / f"{name}-v{VERSION}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
            made = Path(temporary) / "model"
            MAKERS[name](made)
            try:
                made.rename(folder)
            except OSError:
                # Another process was first; both made the same from the same seed.
                shutil.rmtree(made)
    return folder


def _corpus() -> Iterator[str]:
    """Words enough that random answers are made of words."""
    yield from 50 * [
        "What happens in the video? Which object is in front of the other one, and what happens before that?",
        "Where does the small red ball stand when the person walks behind the table, left or right?",
        "The person picks up a cup and drinks water while the scene behind the table changes.",
        "First the woman opens the door, then the dog runs across the street and the light turns green.",
        "The same man appears again after the cut, now wearing a blue jacket in the kitchen.",
        "A large car moves slowly to the left and stops near the tree because another one is coming.",
        '{"queries":["What moves?"],"genuine":true,"targeted":false,"distinct":true,"preferred_ok":true,',
        '"confidence":70,"reason":"the ball rolls left","query":"Why?","question"}',
        "user assistant system You are a helpful assistant.",
    ]


def _make_tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS[1:],
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _randomise(model: Any) -> None:
    """Weights wide enough that answers depend on the input and greedy choices are no near-ties."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25 if "lm_head" in name else 0.08, generator=generator)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.02, generator=generator)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.pad_token_id]
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.eval().save_pretrained(folder)


def _padded_vocabulary(tokenizer: Any) -> int:
    return -(-len(tokenizer) // 64) * 64


def make_vl(folder: Path, hidden_size: int = 128, num_layers: int = 2) -> None:
    """Write a random Qwen2.5-VL; `hidden_size` is a multiple of 64 (two heads a key head, 32 numbers a head)."""
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = _make_tokenizer()
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    heads = hidden_size // 32
    config = Qwen2_5_VLConfig(
        architectures=["Qwen2_5_VLForConditionalGeneration"],
        text_config={
            "model_type": "qwen2_5_vl_text",
            "vocab_size": _padded_vocabulary(tokenizer),
            "hidden_size": hidden_size,
            "intermediate_size": 2 * hidden_size,
            "num_hidden_layers": num_layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads // 2,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
            "tie_word_embeddings": False,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": hidden_size,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [1],
            "tokens_per_second": 2,
            "in_channels": 3,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=False,
    )
    model = Qwen2_5_VLForConditionalGeneration(config)
    _randomise(model)
    _save(model, tokenizer, folder)
    patches = {"patch_size": 14, "merge_size": 2, "temporal_patch_size": 2}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**patches),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**patches),
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)


def _make_judge(folder: Path) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _make_tokenizer()
    model = Qwen2ForCausalLM(
        Qwen2Config(
            architectures=["Qwen2ForCausalLM"],
            vocab_size=_padded_vocabulary(tokenizer),
            hidden_size=96,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=3,
            max_position_embeddings=32768,
            tie_word_embeddings=False,
            bos_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    _randomise(model)
    _save(model, tokenizer, folder)
    tokenizer.save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {"random-vl": make_vl, "random-judge": _make_judge}
