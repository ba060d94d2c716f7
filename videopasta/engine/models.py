"""From a model's name in the configuration to a local folder and a revision that identifies its weights."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import filelock
import httpx2

from videopasta import storage
from videopasta.config import ModelConfig, VllmModel
from videopasta.errors import UserError
from videopasta.tiny.names import PREFIX, check_name, folder_of

MODELS = Path("~/.cache/videopasta/models")
"""Copies of remote checkpoints."""
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


def check_model(model: str, revision: str | None) -> None:
    """Whether `model` can be had, before anything is loaded. Asks the hub for its description, downloads nothing.

    Raises:
        UserError: no such model, folder or revision, no access, neither hub nor cache have it, or its weights are
        pickles.
    """
    if model.startswith(PREFIX):
        check_name(model.removeprefix(PREFIX))
    elif _is_remote(model):
        _listed(model)
    elif _is_folder(model):
        local_path(model)
    else:
        _check_on_hub(model, revision)


def _is_remote(model: str) -> bool:
    return "://" in model


def _is_folder(model: str) -> bool:
    """By its look, or because a checkpoint stands there, as transformers and vLLM take it."""
    return model.startswith(("/", "./", "../", "~")) or (Path(model) / "config.json").is_file()


def _check_on_hub(model: str, revision: str | None) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    where = f"model {model!r}" + (f", revision {revision!r}" if revision else "")
    try:
        info = huggingface_hub.HfApi().model_info(model, revision=revision, timeout=30)
        _check_weights(model, [file.rfilename for file in info.siblings or ()])
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


def _check_weights(model: str, names: Iterable[str]) -> None:
    """Weights are data, in safetensors: a pickle is a program that runs when it is loaded."""
    names = list(names)
    pickles = [name for name in names if name.endswith(_PICKLES)]
    if pickles and not any(name.endswith(".safetensors") for name in names):
        raise UserError(
            f"model {model!r}: its weights are a pickle ({pickles[0]}), which can run anything when it is loaded; give "
            "one with safetensors, or convert it where you trust it (transformers' save_pretrained writes them)"
        )


def remote_code_warnings(models: Iterable[ModelConfig]) -> Iterator[str]:
    """A line for each model that brings Python of its own."""
    trusted = [one for one in models if isinstance(one, VllmModel) and one.trust_remote_code]
    for name, revision in dict.fromkeys((one.model, one.revision) for one in trusted):
        loose = "" if revision or _is_folder(name) else "; no revision is pinned, so it can change overnight"
        yield f"Warning: {name} runs its repository's own Python with your rights (trust_remote_code){loose}."


def local_path(model: str) -> str:
    """The folder or hub id to load `model` from.

    `tiny:NAME` comes with the package or is made on first use; a remote folder (s3://, gs://, ...) is copied to this
    machine, once for as long as its files stay what they are.

    Raises:
        UserError: no such tiny model, a path that does not exist, or weights that are pickles.
    """
    if model.startswith(PREFIX):
        return str(folder_of(model.removeprefix(PREFIX)))
    if _is_remote(model):
        return str(_fetched(model))
    if _is_folder(model):
        path = Path(model).expanduser()
        if not (path / "config.json").is_file():
            raise UserError(f"model {model!r}: no config.json in {path}; give a checkpoint folder or a hub id")
        _check_weights(model, (file.name for file in path.iterdir()))
        return str(path)
    return model


def _listed(uri: str) -> list[storage.StoredFile]:
    """The files of a remote checkpoint."""
    files = storage.list_files(uri) if storage.kind(uri) == "folder" else []
    if storage.join(uri, "config.json") not in {file.uri for file in files}:
        raise UserError(f"model {uri!r}: no config.json there; give the folder of a checkpoint")
    _check_weights(uri, (file.uri for file in files))
    return files


def _state_of(uri: str) -> tuple[list[Any], str]:
    """The files of a remote checkpoint, and 16 hex digits of their names, sizes and times."""
    filesystem, _ = storage.resolve(uri)
    infos = filesystem.get_file_info([storage.resolve(file.uri)[1] for file in _listed(uri)])
    listing = [(info.path, info.size, str(info.mtime)) for info in infos]
    return infos, hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def weights_of(model: str, revision: str | None) -> str | None:
    """What tells a model from another one of the same name, without loading or copying it.

    A local folder's content, a remote one's listing, else the revision.
    """
    if _is_remote(model):
        return f"listing:{_state_of(model)[1]}"
    return revision_of(local_path(model), revision, None)


def _fetched(uri: str) -> Path:
    """A copy of a remote checkpoint; several processes of a machine share it."""
    infos, state = _state_of(uri)
    filesystem, base = storage.resolve(uri)
    folder = MODELS.expanduser() / state
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            made = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                for info in infos:
                    target = made / Path(info.path).relative_to(base)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with filesystem.open_input_stream(info.path) as source, target.open("wb") as copy:
                        shutil.copyfileobj(source, copy, 1 << 24)
                made.rename(folder)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return folder


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
