"""A set of pairs on the Hugging Face hub: prepared in a folder that can be looked at, then uploaded as one commit."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.config import ExportConfig
from videopasta.errors import UserError
from videopasta.exchange.exporting import MODELS, export
from videopasta.exchange.formats import rewritten_models
from videopasta.exchange.rejects import Reject
from videopasta.pairs.store import PairStore
from videopasta.report.card import make_card
from videopasta.report.page import read_report

CARD = "README.md"
OURS = ("export.json", "rejects.jsonl")
"""Of the prepared folder, not for the hub: they name paths of this machine."""
_LOCAL = ("/", "~", "file://")


def prepare(
    folder: str,
    out: Path,
    config: ExportConfig,
    *,
    name: str,
    rewrite: tuple[tuple[str, str], ...] = (),
    license_: str | None = None,
    source_license: str | None = None,
) -> list[Reject]:
    """Write what will be on the hub: Parquet by split, videos where they are asked for, the card.

    Args:
        folder: an output folder of generate, import or refilter.
        out: gets the files; a new folder.
        config: of the export; with `videos: embed` rows name the file alone.
        name: of the dataset.
        rewrite: prefixes of the names of videos and models, and what stands for them.
        license_: of the pairs.
        source_license: of the videos.

    Returns:
        The pairs that could not be written, with their reasons.

    Raises:
        UserError: as `export` and `read_report`, or rows would tell everybody the paths of this machine.
    """
    report = read_report(folder)
    if config.videos == "embed":
        rewrite = (*rewrite, *((f"{parent}/", "") for parent in _local_folders(folder)))
    written, rejects = export(folder, str(out), "hf", config, rewrite=rewrite)
    for uri in _video_uris(out):
        if uri.startswith(_LOCAL):
            raise UserError(
                f"{uri}: a path of this machine would be published. Use --rewrite OLD=NEW for where others find the "
                "videos, or --videos embed where their licence lets you; and another --out"
            )
    for name_of_model in _models(out):
        if any(part.startswith(_LOCAL) for part in name_of_model.split("+")):
            raise UserError(
                f"{name_of_model}: a path of this machine would be published as the name of a model. Use --rewrite "
                "OLD=NEW for the name that others know; and another --out"
            )
    models = defaultdict(Counter, {
        role: Counter({rewritten_models(model, rewrite): count for model, count in counts.items()})
        for role, counts in report.facts.models.items()
    })  # fmt: skip
    report = replace(report, facts=replace(report.facts, models=models))
    files = {split: [*names] for split, names in written.files.items()}
    card = make_card(
        report, name=name, license_=license_, source_license=source_license, data_files=files, num_left_out=len(rejects)
    )
    (out / CARD).write_text(card)
    return rejects


def upload(out: Path, repo: str, *, public: bool) -> str:
    """Create the dataset where it is missing, upload `out` as one commit, and say where it is.

    The token is huggingface_hub's own: `hf auth login`, or HF_TOKEN.

    Raises:
        UserError: the hub refuses or cannot be reached, or the dataset is public and `public` is not asked for.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        url = api.create_repo(repo, repo_type="dataset", private=not public, exist_ok=True)
        if not public and not api.dataset_info(repo).private:  # it was there before
            raise UserError(f"--repo {repo}: everybody can read it; give --public, or the name of another")
        api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=out,
            commit_message="Preference pairs, by videopasta",
            ignore_patterns=list(OURS),
        )
    except HFValidationError as error:
        raise UserError(f"--repo {repo}: {error}") from error
    except (HfHubHTTPError, HTTPError, OSError) as error:
        raise UserError(
            f"--repo {repo}: {error}\nThe files are in {out}. Log in with `hf auth login`, or set HF_TOKEN to a token "
            "that may write"
        ) from error
    return str(url)


def files_in(out: Path) -> list[tuple[str, int]]:
    """What goes to the hub, below `out`, with sizes in bytes."""
    return [
        (str(path.relative_to(out)), path.stat().st_size)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name not in OURS
    ]


def _local_folders(folder: str) -> list[str]:
    """Where the videos of the pairs lie on this machine, the longest names first."""
    names = pc.unique(
        PairStore(folder).read("pairs", ["video_uris"])["video_uris"].combine_chunks().flatten()
    ).to_pylist()
    return sorted({storage.parent(uri) for uri in names if storage.is_local(uri)}, key=len, reverse=True)


def _models(out: Path) -> Iterator[str]:
    for file in sorted(out.rglob("*.parquet")):
        table = pq.read_table(file, columns=[*MODELS, "votes"])
        names = [pc.struct_field(table[column], "name") for column in MODELS]
        names.append(pc.struct_field(pc.list_flatten(table["votes"]), "judge"))
        yield from (name for column in names for name in column.unique().to_pylist() if name)


def _video_uris(out: Path) -> Iterator[str]:
    for file in sorted(out.rglob("*.parquet")):
        table = pq.read_table(file, columns=["video_uri", "video_uris"])
        yield from table["video_uri"].unique().to_pylist()
        yield from pc.unique(table["video_uris"].combine_chunks().flatten()).to_pylist()
