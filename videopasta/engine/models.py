"""From a model's name in the configuration to a local folder and a revision that identifies its weights."""

import hashlib
from pathlib import Path
from typing import Any

import httpx2

from videopasta.errors import UserError
from videopasta.tiny.names import PREFIX, check_name, folder_of


def check_model(model: str, revision: str | None) -> None:
    """Whether `model` can be had, before anything is loaded. Asks the hub for its description, downloads nothing.

    Raises:
        UserError: no such model, folder or revision, no access, or neither hub nor cache have it.
    """
    if model.startswith(PREFIX):
        check_name(model.removeprefix(PREFIX))
    elif _is_folder(model):
        local_path(model)
    else:
        _check_on_hub(model, revision)


def _is_folder(model: str) -> bool:
    """By its look, or because a checkpoint stands there, as transformers and vLLM take it."""
    return model.startswith(("/", "./", "../", "~")) or (Path(model) / "config.json").is_file()


def _check_on_hub(model: str, revision: str | None) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    where = f"model {model!r}" + (f", revision {revision!r}" if revision else "")
    try:
        huggingface_hub.HfApi().model_info(model, revision=revision, timeout=30)
    except errors.GatedRepoError as error:
        raise UserError(
            f"{where}: its authors ask for agreement first; agree on its page, then `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise UserError(f"{where}: the hub has none; check the spelling, or write ./{model} for a folder") from error
    except (OSError, errors.OfflineModeIsEnabled, httpx2.HTTPError) as error:
        cached = huggingface_hub.try_to_load_from_cache(model, "config.json", revision=revision)
        if not isinstance(cached, str):
            raise UserError(
                f"{where}: not in the cache, and the hub cannot be reached ({type(error).__name__}). Go online once, "
                "give a local folder, or try configs/ci_random.yaml, which needs no download"
            ) from error


def local_path(model: str) -> str:
    """The folder or hub id to load `model` from; `tiny:NAME` comes with the package or is made on first use.

    Raises:
        UserError: no such tiny model, or a path that does not exist.
    """
    if model.startswith(PREFIX):
        return str(folder_of(model.removeprefix(PREFIX)))
    if _is_folder(model):
        path = Path(model).expanduser()
        if not (path / "config.json").is_file():
            raise UserError(f"model {model!r}: no config.json in {path}; give a checkpoint folder or a hub id")
        return str(path)
    return model


def absolute(model: str) -> str:
    """`model`, the same from every working directory."""
    return str(Path(model).expanduser().absolute()) if _is_folder(model) else model


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
