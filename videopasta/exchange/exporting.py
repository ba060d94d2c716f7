"""Pairs as the files of another trainer: `train` and `validation`, media beside them, and `export.json` in the end.

Rows go through one at a time; those that the format cannot say stand in `rejects.jsonl`. A folder without
`export.json` is one that was not finished.
"""

import importlib.metadata
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.config import ExportConfig, fingerprint
from videopasta.credentials import refuse_credentials
from videopasta.dpo.data import fault, held_out, pair_files
from videopasta.errors import UserError
from videopasta.exchange.files import MANIFEST, typed
from videopasta.exchange.formats import (
    FORMATS,
    Format,
    FormatName,
    card_header,
    check_span,
    check_texts,
    dataset_info,
    image_features,
    rewritten,
    rewritten_models,
)  # fmt: skip
from videopasta.exchange.importing import write_rejects
from videopasta.exchange.media import MediaMaker
from videopasta.exchange.rejects import Place, Reject, RowError
from videopasta.pairs.schema import CANDIDATES
from videopasta.run_file import writing

TRAIN, VALIDATION = "train", "validation"
_ROWS_PER_GROUP = 1000
_BYTES_PER_GROUP = 256 << 20
_BYTES_PER_FILE = 1 << 30
_VIDEO = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
_FIXES = {
    "empty_text": "fill it in, or remove the row",
    "unknown_failure_mode": "write spatial, temporal or cross_frame",
    "equal_answers": "an answer is not preferred to itself; remove the row",
    "no_frame_plan": "give the pair its frame plan, as `videopasta generate` and `videopasta import` do",
    "bad_frame_plan": "frames cannot be decoded by it; make the pair anew",
}


@dataclass
class ExportReport:
    """What was written."""

    format: FormatName
    source: str
    files: dict[str, list[str]] = field(default_factory=dict)
    """Split to its files, below the folder."""
    rows: Counter[str] = field(default_factory=Counter)
    """By split."""
    videos: Counter[str] = field(default_factory=Counter)
    """By split; none stands in two."""
    num_media_files: int = 0
    """Copies of videos, or images, in the folder."""
    reject_reasons: Counter[str] = field(default_factory=Counter)


MODELS = ("query_model", "response_model", "judge_model")


class _Sink(Protocol):
    """Takes rows of one split."""

    def write(self, row: dict[str, Any]) -> None: ...
    def close(self) -> list[str]:
        """The names of the files."""
        ...


def export(
    source: str,
    out: str,
    name: FormatName,
    config: ExportConfig,
    *,
    rewrite: tuple[tuple[str, str], ...] = (),
    on_row: Callable[[ExportReport], None] = lambda report: None,
) -> tuple[ExportReport, list[Reject]]:
    """Write the pairs at `source` into `out`, a new folder.

    Args:
        source: a folder of pairs, or a Parquet file, as a training takes it.
        out: local or remote.
        name: which format.
        config: how.
        rewrite: prefixes of the paths that are written, and what stands for them.
        on_row: told of progress.

    Raises:
        UserError: the format cannot do what is asked, `source` has no pairs, `out` is not new, or no row is left.
    """
    form = FORMATS[name]
    _check(form, config)
    refuse_credentials(out, "--out")
    if storage.kind(out) == "file" or (storage.kind(out) == "folder" and storage.list_files(out)):
        raise UserError(f"--out {out}: not empty; give a new folder")
    files = pair_files(source)
    report, rejects = ExportReport(name, storage.absolute(source)), list[Reject]()
    unseen = held_out(_videos(files), config.validation.share, config.seed)
    splits = [TRAIN, VALIDATION] if unseen else [TRAIN]
    seen: dict[str, set[str]] = {split: set() for split in splits}
    known: set[str] = set()
    maker = MediaMaker(out, config, rewrite)
    with ExitStack() as stack:
        stack.callback(maker.close)
        sinks = {split: _sink(form, out, split, config) for split in splits}
        for place, row in _rows(files):
            try:
                _check_row(row, form, config, known)
                made = form.write(_renamed(row, rewrite), maker.media(row))
                if config.videos == "embed":
                    made["video"]["bytes"] = maker.content(row)
            except RowError as error:
                rejects.append(Reject.of(place, error))
                continue
            known.add(row["pair_id"])
            split = VALIDATION if row["video_sha256"] in unseen else TRAIN
            sinks[split].write(made)
            report.rows[split] += 1
            seen[split].add(row["video_sha256"])
            on_row(report)
        written = {split: sink.close() for split, sink in sinks.items()}
        report.files = {split: names for split, names in written.items() if names}
    report.videos = Counter({split: len(videos) for split, videos in seen.items()})
    report.num_media_files = maker.num_files
    report.reject_reasons = Counter(reject.reason for reject in rejects)
    if not report.rows.total():
        first = f"; the first: {rejects[0]}" if rejects else ""
        raise UserError(f"{source}: none of {len(rejects)} pairs could be written as {name}{first}")
    write_rejects(out, rejects)
    _write_about(out, form, report, config, rewrite)
    return report, rejects


def _check(form: Format, config: ExportConfig) -> None:
    if config.frames and not form.takes_frames:
        able = ", ".join(name for name, one in FORMATS.items() if one.takes_frames)
        raise UserError(f"--frames: {form.name} has no lists of images; use {able}")
    if config.frames and config.videos != "link":
        raise UserError(f"--frames with --videos {config.videos}: the images stand for the videos; leave one out")
    if config.videos == "embed" and not form.is_parquet:
        raise UserError(f"--videos embed: {form.name} is text; use copy, or --format hf")


def _check_row(row: Mapping[str, Any], form: Format, config: ExportConfig, known: set[str]) -> None:
    """Whether the format can say it.

    Raises:
        RowError: it cannot.
    """
    if reason := fault(row):
        raise RowError(reason, None, row.get("pair_id"), _FIXES[reason])
    if row["pair_id"] in known:
        raise RowError("duplicate", "pair_id", row["pair_id"], "the same pair stands above; remove the row")
    if not form.is_parquet:
        check_texts(row)
        if not config.frames:
            check_span(row)


def _renamed(row: Mapping[str, Any], rewrite: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """With the names that others know, of videos and of models that lie on a disk."""
    uris = [rewritten(uri, rewrite) for uri in row.get("video_uris") or ()]
    renamed = {**row, "video_uri": rewritten(row["video_uri"], rewrite), "video_uris": uris or None}
    for column in MODELS:
        if (model := row.get(column)) and model["name"]:
            renamed[column] = {**model, "name": rewritten_models(model["name"], rewrite)}
    if row.get("votes"):
        renamed["votes"] = [
            {**vote, "judge": vote["judge"] and rewritten_models(vote["judge"], rewrite)} for vote in row["votes"]
        ]
    return renamed


def _videos(files: list[str]) -> set[str]:
    found: set[str] = set()
    for file in files:
        filesystem, path = storage.resolve(file)
        column = pq.read_table(path, filesystem=filesystem, columns=["video_sha256"])["video_sha256"]
        found.update(value for value in column.unique().to_pylist() if value)
    return found


def _rows(files: list[str]) -> Iterator[tuple[Place, dict[str, Any]]]:
    """All columns of all rows, with their places."""
    for file in files:
        filesystem, path = storage.resolve(file)
        try:
            rows = typed(file, pq.read_table(path, filesystem=filesystem)).to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: damaged ({error}); write it anew, or remove it from the folder") from error
        for number, row in enumerate(rows):
            yield Place(file, row=number), row


def _sink(form: Format, out: str, split: str, config: ExportConfig) -> _Sink:
    return _Parquet(out, split, embeds=config.videos == "embed") if form.is_parquet else _JsonLines(out, split)


class _JsonLines:
    def __init__(self, out: str, split: str) -> None:
        self._name = f"{split}.jsonl"
        self._filesystem, self._path = storage.resolve(storage.join(out, self._name))
        self._stream: pa.NativeFile | None = None

    def write(self, row: dict[str, Any]) -> None:
        with writing(self._path):
            if self._stream is None:
                self._filesystem.create_dir(self._path.rpartition("/")[0], recursive=True)
                self._stream = self._filesystem.open_output_stream(self._path)
            self._stream.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    def close(self) -> list[str]:
        if self._stream is None:
            return []
        with writing(self._path):
            self._stream.close()
        return [self._name]


class _Parquet:
    """Row groups of bounded size: equal bytes of videos stand once in each."""

    def __init__(self, out: str, split: str, *, embeds: bool) -> None:
        self._out, self._split = out, split
        self._names: list[str] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows: list[dict[str, Any]] = []
        self._num_bytes = self._num_written = 0
        self._schema = pa.schema([*CANDIDATES, pa.field("video", _VIDEO)])
        if embeds:  # `datasets` opens a path or bytes as a video where it is told that they are one
            features = {"info": {"features": {"video": {"_type": "Video"}}}}
            self._schema = self._schema.with_metadata({"huggingface": json.dumps(features)})

    def write(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        self._num_bytes += len(row["video"]["bytes"] or b"")
        if len(self._rows) >= _ROWS_PER_GROUP or self._num_bytes >= _BYTES_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_pylist(self._rows, schema=self._schema)
        with writing(f"{self._out}/data"):
            if self._writer is None:
                name = f"data/{self._split}-{len(self._names):05d}.parquet"
                filesystem, path = storage.resolve(storage.join(self._out, name))
                filesystem.create_dir(path.rpartition("/")[0], recursive=True)
                self._writer = pq.ParquetWriter(
                    path, self._schema, filesystem=filesystem, compression="zstd",
                    dictionary_pagesize_limit=_BYTES_PER_FILE,
                )  # fmt: skip
                self._names.append(name)
            self._writer.write_table(table)
        self._num_written += self._num_bytes
        self._rows, self._num_bytes = [], 0
        if self._num_written >= _BYTES_PER_FILE:
            self._end_file()

    def _end_file(self) -> None:
        if self._writer is not None:
            with writing(f"{self._out}/data"):
                self._writer.close()
        self._writer, self._num_written = None, 0

    def close(self) -> list[str]:
        if self._rows:
            self._flush()
        self._end_file()
        return self._names


def _write_about(
    out: str, form: Format, report: ExportReport, config: ExportConfig, rewrite: tuple[tuple[str, str], ...]
) -> None:
    if form.loads_folder:
        globs = {
            split: names[0] if len(names) == 1 else f"data/{split}-*.parquet" for split, names in report.files.items()
        }
        _put(out, "README.md", card_header(globs, image_features() if config.frames else None))
    if form.name == "llama-factory":
        names = {split: names[0] for split, names in report.files.items()}
        _put(out, "dataset_info.json", json.dumps(dataset_info(names), indent=2) + "\n")
    about = {
        "format": report.format,
        "source": report.source,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "videopasta": importlib.metadata.version("videopasta"),
        "config": fingerprint(config),
        "rewrite": rewrite,
        "carries": form.carries,
        "files": report.files,
        "rows": report.rows,
        "videos": report.videos,
        "rejected": report.reject_reasons,
    }
    _put(out, MANIFEST, json.dumps(about, indent=2) + "\n")


def _put(out: str, name: str, text: str) -> None:
    filesystem, path = storage.resolve(storage.join(out, name))
    with writing(path), filesystem.open_output_stream(path) as stream:
        stream.write(text.encode())
