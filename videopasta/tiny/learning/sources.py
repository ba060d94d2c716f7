"""What identifies the world and its lessons: a training, or what a model said, holds for one state of this code."""

import hashlib
from functools import cache
from pathlib import Path

_TINY = Path(__file__).parents[1]


@cache
def source_hash() -> str:
    """Of all Python files and prompts of the embedded world."""
    digest = hashlib.sha256()
    for file in sorted([*_TINY.rglob("*.py"), *(_TINY / "prompts").iterdir()]):
        digest.update(str(file.relative_to(_TINY)).encode() + b"\0" + file.read_bytes())
    return f"code {digest.hexdigest()[:12]}"
