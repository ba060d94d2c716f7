"""The files that other trainers read, one description each. Pure.

In: a row of `pairs/`, and its video as a path, or as the paths of its frames. Out: the row as that trainer wants it.
What a format has no name for goes along under ours (`EXTRAS`), where its readers leave unknown columns alone, so that
an import finds it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import yaml

from videopasta.exchange.rejects import RowError
from videopasta.pairs.schema import CANDIDATES
from videopasta.video.identity import clip_id

FormatName = Literal["trl", "ms-swift", "llama-factory", "flat", "videopasta-7k", "hf"]
Row = Mapping[str, Any]
Media = str | tuple[str, ...]
"""The path of a video, or those of its frames in order."""

TEXTS = ("prompt", "chosen", "rejected")
EXTRAS = (
    "pair_id", "clip_id", "video_sha256", "start_s", "end_s", "failure_mode", "adversary", "adversarial_query",
    "chosen_frame_plan", "rejected_frame_plan",
)  # fmt: skip
PLACEHOLDERS = ("<video>", "<image>", "<audio>")
"""Trainers count them in the texts, and put a video in the place of each."""
_SLACK_S = 0.1


@dataclass(frozen=True)
class Format:
    """How one trainer's files look."""

    name: FormatName
    reader: str
    """Who reads them."""
    write: Callable[[Row, Media], dict[str, Any]]
    """A row of theirs."""
    carries: tuple[str, ...]
    """Columns of a pair that an import of the file gives back."""
    takes_frames: bool = True
    """Whether a video may be a list of images."""
    is_parquet: bool = False
    """Or JSON lines."""
    loads_folder: bool = False
    """Whether it is opened by `datasets.load_dataset(FOLDER)`, which wants to be told which files hold the rows."""


def _extras(row: Row, media: Media) -> dict[str, Any]:
    extras = {name: row.get(name) for name in EXTRAS}
    return extras if isinstance(media, str) else extras | {"video_uri": row["video_uri"]}


def _turn(role: str, content: Any) -> list[dict[str, Any]]:
    return [{"role": role, "content": content}]


def _trl(row: Row, media: Media) -> dict[str, Any]:
    # TRL puts the images before a prompt of plain text by itself; a video has a part of its own, as in transformers.
    video, prompt = ({"images": list(media)}, row["prompt"])
    if isinstance(media, str):
        video = {"videos": [media]}
        prompt = [{"type": "video"}, {"type": "text", "text": row["prompt"]}]
    return {
        "prompt": _turn("user", prompt),
        "chosen": _turn("assistant", row["chosen"]),
        "rejected": _turn("assistant", row["rejected"]),
        **video,
        **_extras(row, media),
    }


def _videos(media: Media) -> list[Any]:
    return [media if isinstance(media, str) else list(media)]


def _ms_swift(row: Row, media: Media) -> dict[str, Any]:
    return {
        "messages": _turn("user", f"<video>{row['prompt']}") + _turn("assistant", row["chosen"]),
        "rejected_response": row["rejected"],
        "videos": _videos(media),
        **_extras(row, media),
    }


def _llama_factory(row: Row, media: Media) -> dict[str, Any]:
    return {
        "conversations": [{"from": "human", "value": f"<video>{row['prompt']}"}],
        "chosen": {"from": "gpt", "value": row["chosen"]},
        "rejected": {"from": "gpt", "value": row["rejected"]},
        "videos": _videos(media),
        **_extras(row, media),
    }


def _flat(row: Row, media: Media) -> dict[str, Any]:
    return {"id": row["pair_id"], "video": media, **{name: row[name] for name in TEXTS}}


def _videopasta_7k(row: Row, media: Media) -> dict[str, Any]:
    return {
        "video": media, "question": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"],
        "category": row["failure_mode"],
    }  # fmt: skip


def _hf(row: Row, media: Media) -> dict[str, Any]:
    return {**{name: row.get(name) for name in CANDIDATES.names}, "video": {"bytes": None, "path": media}}


_IN_JSON = ("video_uri", *TEXTS, *EXTRAS)
_IN_PARQUET = tuple(name for name in CANDIDATES.names if name != "run_id")  # an import is a run of its own
FORMATS: dict[FormatName, Format] = {
    one.name: one
    for one in (
        Format("trl", "TRL: `trl dpo`, DPOTrainer", _trl, _IN_JSON, loads_folder=True),
        Format("ms-swift", "ms-swift: `swift rlhf --rlhf_type dpo`", _ms_swift, _IN_JSON),
        Format("llama-factory", "LLaMA-Factory: `stage: dpo`", _llama_factory, _IN_JSON),
        Format("flat", "scripts", _flat, ("video_uri", *TEXTS), takes_frames=False),
        Format(
            "videopasta-7k", "scripts; named as the paper's set is read", _videopasta_7k,
            ("video_uri", *TEXTS, "failure_mode"), takes_frames=False,
        ),
        Format(
            "hf", "`datasets.load_dataset`, the hub's viewer", _hf, _IN_PARQUET, takes_frames=False,
            is_parquet=True, loads_folder=True,
        ),
    )
}  # fmt: skip


def check_texts(row: Row) -> None:
    """Let no text through that a trainer would take for a video.

    Raises:
        RowError: placeholder.
    """
    for name in TEXTS:
        for placeholder in PLACEHOLDERS:
            if placeholder in row[name]:
                raise RowError("placeholder", name, row[name], f"trainers put a video where {placeholder} stands")


def check_span(row: Row) -> None:
    """Let no part of a video through where the trainer would show all of it.

    Raises:
        RowError: span.
    """
    if row.get("clip_id") == clip_id(row["video_sha256"], None, None):
        return
    start_s, end_s = row.get("start_s") or 0.0, row.get("end_s")
    duration_s = (row.get("video_info") or {}).get("duration_s")
    ends_early = end_s is not None and (duration_s is None or end_s < duration_s - _SLACK_S)
    if start_s > _SLACK_S or ends_early:
        span = f"{start_s:g} to {'the end' if end_s is None else f'{end_s:g}'} s"
        raise RowError(
            "span", "end_s" if ends_early else "start_s", span, "the trainer shows whole videos; use --frames"
        )


def rewritten(path: str, rules: tuple[tuple[str, str], ...]) -> str:
    """`path` with the first of the prefixes that it starts with replaced."""
    for old, new in rules:
        if path.startswith(old):
            return new + path[len(old) :]
    return path


def rewritten_models(names: str, rules: tuple[tuple[str, str], ...]) -> str:
    """The same of a model's name, or of a jury's, which are joined by "+"; those that lie on a disk are paths."""
    return "+".join(rewritten(name, rules) for name in names.split("+"))


def dataset_info(files: Mapping[str, str]) -> dict[str, Any]:
    """LLaMA-Factory's `dataset_info.json`.

    Args:
        files: split to the name of its file.
    """
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "videos": "videos"}
    return {
        f"videopasta_{split}": {"file_name": name, "ranking": True, "formatting": "sharegpt", "columns": columns}
        for split, name in files.items()
    }


def card_header(files: Mapping[str, str], features: list[dict[str, Any]] | None = None) -> str:
    """The YAML head of a README.md, by which `datasets` finds the files of each split among images and videos.

    Args:
        files: split to its file, or a glob of them, below the folder.
        features: `image_features`, where columns hold more than they look like.
    """
    data_files = [{"split": split, "path": path} for split, path in files.items()]
    head: dict[str, Any] = {"configs": [{"config_name": "default", "data_files": data_files}]}
    if features:
        head["dataset_info"] = {"config_name": "default", "features": features}
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n"


def image_features() -> list[dict[str, Any]]:
    """The columns of TRL's rows with images, as a card has them: `datasets` opens the paths, whatever the trainer can.

    transformers would open them by torchvision, whose image codecs are not in every build.
    """
    turns = pa.struct([("role", pa.string()), ("content", pa.string())])
    extras = {name: CANDIDATES.field(name).type for name in (*EXTRAS, "video_uri")}
    return [
        *({"name": name, "list": _feature(turns)["struct"]} for name in TEXTS),
        {"name": "images", "list": "image"},
        *({"name": name} | _feature(kind) for name, kind in extras.items()),
    ]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {"struct": [{"name": field.name} | _feature(field.type) for field in kind]}
    if pa.types.is_list(kind):
        return {"list": _feature(kind.value_type)["dtype"]}
    return {"dtype": {"double": "float64"}.get(str(kind), str(kind))}
