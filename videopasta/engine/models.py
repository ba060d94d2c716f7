"""From a model's name in the configuration to a local folder and a revision that identifies its weights."""

import hashlib
from pathlib import Path
from typing import Any

from videopasta.errors import UserError

TINY_PREFIX = "tiny:"


def local_path(model: str) -> str:
    """The folder or hub id to load `model` from; `tiny:NAME` is made on first use.

    Raises:
        UserError: no such tiny model, or a path that does not exist.
    """
    if model.startswith(TINY_PREFIX):
        from videopasta.tiny.random_models import ensure_model

        return str(ensure_model(model.removeprefix(TINY_PREFIX)))
    if model.startswith(("/", "./", "../", "~")):
        path = Path(model).expanduser()
        if not (path / "config.json").is_file():
            raise UserError(
                f"model {model!r}: no config.json in {path}; give a checkpoint folder or a hub id"
            )
        return str(path)
    return model


def revision_of(path: str, revision: str | None, hf_config: Any) -> str | None:
    """What identifies the weights: a hub commit, or a hash over a local folder's configuration and weights.

    Reading the weights once more costs little beside loading them: they are in the page cache.
    """
    folder = Path(path)
    if not folder.is_dir():
        return getattr(hf_config, "_commit_hash", None) or revision
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in {".json", ".safetensors", ".jinja", ".bin"}:
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"sha256:{digest.hexdigest()[:16]}"
