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

from videopasta.tiny.architectures import HEAD, TextSize, VisionSize, make_tokenizer, qwen2, qwen2_5_vl, save

CACHE = Path("~/.cache/videopasta/models").expanduser()
# Part of the folder's name: raise it when what is made changes.
VERSION = 2
SEED = 0
VOCABULARY, MAX_LENGTH = 640, 32768


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


def make_vl(folder: Path, hidden_size: int = 128, num_layers: int = 2) -> None:
    """Write a random Qwen2.5-VL; `hidden_size` is a multiple of 64 (two heads a key head)."""
    tokenizer = make_tokenizer(_corpus(), VOCABULARY, MAX_LENGTH)
    text = TextSize(
        VOCABULARY, hidden_size, num_layers, 2 * hidden_size, hidden_size // HEAD // 2, MAX_LENGTH, theta=1e6
    )
    model = qwen2_5_vl(tokenizer, text, VisionSize(hidden=64, depth=2, intermediate=128), tied=False)
    _randomise(model)
    save(model, tokenizer, folder)


def _make_judge(folder: Path) -> None:
    tokenizer = make_tokenizer(_corpus(), VOCABULARY, MAX_LENGTH)
    text = TextSize(VOCABULARY, 96, 2, 192, key_heads=3, max_positions=MAX_LENGTH, theta=1e4)
    model = qwen2(tokenizer, text, tied=False)
    _randomise(model)
    save(model, tokenizer, folder)


MAKERS: dict[str, Callable[[Path], None]] = {"random-vl": make_vl, "random-judge": _make_judge}
