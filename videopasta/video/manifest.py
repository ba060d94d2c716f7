"""From what the user names to the list of clips: a folder, a glob, one video, or a list file.

In: a path or URI. Out: `ManifestEntry` values in a fixed order (sorted for folders and globs, the file's
order for lists), exact repeats of one uri and span collapsed. Files are not opened: a missing or broken one
stays an entry and becomes a quarantined row when it is decoded, and so does a span that does not fit its
video. A list that cannot be read as a list is the user's to mend: `UserError` with file, line, value and fix.
"""

import csv
import io
import json
import math
import reprlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from videopasta import storage
from videopasta.credentials import refuse_credentials
from videopasta.errors import UserError
from videopasta.video.errors import VideoError

VIDEO_EXTENSIONS = frozenset(
    # gif is left out: mostly no footage
    (
        "mp4",
        "m4v",
        "mov",
        "mkv",
        "webm",
        "avi",
        "mpg",
        "mpeg",
        "ts",
        "m2ts",
        "mts",
        "wmv",
        "flv",
        "3gp",
        "ogv",
    )
)
"""What a folder or glob is searched for; a list may name any file."""

_LIST_EXTENSIONS = ("txt", "csv", "jsonl", "parquet")
_VIDEO_COLUMNS = ("video", "video_path", "path", "uri", "url", "video_uri")
_START_COLUMNS = ("start", "start_s", "start_time")
_END_COLUMNS = ("end", "end_s", "end_time")


@dataclass(frozen=True)
class ManifestEntry:
    """One clip to process."""

    uris: tuple[str, ...]
    """Where the content lies: the first is used, the others hold the same bytes."""
    start_s: float | None
    """Start of the span in seconds; None is the video's start."""
    end_s: float | None
    """End of the span in seconds; None is the video's end."""
    size_bytes: int | None
    """Size of the file; None when it is missing or not known without a request."""


def load_manifest(path: str) -> list[ManifestEntry]:
    """The clips that `path` names.

    Args:
        path: a folder (searched to any depth for `VIDEO_EXTENSIONS`), a glob, one video, or a list: ``.txt``
            (one path per line, ``#`` comments), ``.csv``, ``.jsonl`` or ``.parquet`` with a column ``video``
            (or video_path, path, uri, url, video_uri) and optionally ``start`` and ``end`` in seconds (or
            start_s, start_time, end_s, end_time). Relative paths in a list start at the list's folder. Local,
            ``file://``, ``s3://``, ``gs://`` or any scheme of fsspec.

    Raises:
        UserError: `path` does not exist, names no video, or is a list that cannot be read; a uri holds a secret.
    """
    refuse_credentials(path, "--videos")
    uri = path if "://" in path else storage.local_uri(path)
    entries = list(dict.fromkeys(_entries(uri)))
    if not entries:
        raise UserError(
            f"{path}: no videos found; give a folder or glob with {', '.join(sorted(VIDEO_EXTENSIONS))}"
            f" files, or a list ({', '.join(_LIST_EXTENSIONS)})"
        )
    return entries


def merge_duplicates(
    entries: Iterable[ManifestEntry], hash_fn: Callable[[str], str], max_bytes: int | None = None
) -> list[ManifestEntry]:
    """Entries with equal content and equal span made one, in the first one's place, with all uris.

    Only files of equal, known, non-zero size are hashed. Those that cannot be are left as they are.

    Args:
        entries: the manifest.
        hash_fn: content hash of a uri, for example `videopasta.video.sha256_of`.
        max_bytes: larger files are not hashed: they become rows with their reason.
    """
    entries = list(entries)
    uris_of_size: dict[int, set[str]] = defaultdict(set)
    for entry in entries:
        if entry.size_bytes and (max_bytes is None or entry.size_bytes <= max_bytes):
            uris_of_size[entry.size_bytes].add(entry.uris[0])
    content: dict[str, str] = {}
    for same_size in uris_of_size.values():
        for uri in sorted(same_size) if len(same_size) > 1 else ():
            try:
                content[uri] = hash_fn(uri)
            except (OSError, VideoError):  # becomes a row with its reason when decoded
                continue
    merged: dict[tuple[str, float | None, float | None], ManifestEntry] = {}
    for entry in entries:
        key = (content.get(entry.uris[0], entry.uris[0]), entry.start_s, entry.end_s)
        known = merged.get(key)
        uris = entry.uris if known is None else tuple(dict.fromkeys(known.uris + entry.uris))
        merged[key] = replace(known or entry, uris=uris)
    return list(merged.values())


def _entries(uri: str) -> Iterator[ManifestEntry]:
    if storage.is_glob(uri):
        yield from _listed(storage.glob(uri))
        return
    kind = storage.kind(uri)
    if kind == "folder":
        yield from _listed(storage.list_files(uri))
    elif kind == "missing":
        raise UserError(f"{uri}: no such file or folder; check the path")
    elif _extension(uri) in VIDEO_EXTENSIONS:
        yield ManifestEntry((uri,), None, None, storage.size_bytes(uri))
    elif _extension(uri) in _LIST_EXTENSIONS:
        yield from _from_list(uri)
    else:
        raise UserError(
            f"{uri}: neither a known video ({', '.join(sorted(VIDEO_EXTENSIONS))}) nor a list"
            f" ({', '.join(_LIST_EXTENSIONS)}); name other video files in a list"
        )


def _listed(files: Iterable[storage.StoredFile]) -> Iterator[ManifestEntry]:
    for file in files:
        if _extension(file.uri) in VIDEO_EXTENSIONS:
            yield ManifestEntry((file.uri,), None, None, file.size_bytes)


def _extension(uri: str) -> str:
    return uri.rpartition("/")[2].rpartition(".")[2].lower()


def _from_list(uri: str) -> Iterator[ManifestEntry]:
    folder = storage.parent(uri)
    readers = {"txt": _read_txt, "csv": _read_csv, "jsonl": _read_jsonl, "parquet": _read_parquet}
    try:
        with storage.open_input(uri) as stream:
            content = stream.read()
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({error.strerror or error}); make the list readable") from error
    sizes: dict[str, int | None] = {}
    for where, row in readers[_extension(uri)](uri, content):
        video = _video(where, folder, row)
        refuse_credentials(video, where)
        if video not in sizes:
            sizes[video] = storage.size_bytes(video)
        start_s, end_s = (_seconds(where, row, names) for names in (_START_COLUMNS, _END_COLUMNS))
        yield ManifestEntry((video,), start_s, end_s, sizes[video])


def _read_txt(uri: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_text(content).splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield f"{uri}, line {number}", {"video": line.strip()}


def _read_csv(uri: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(_text(content), newline=""), skipinitialspace=True)
    try:
        _require_video_column(uri, [name.strip() for name in reader.fieldnames or ()])
        for row in reader:
            yield f"{uri}, line {reader.line_num}", {name.strip(): cell for name, cell in row.items() if name}
    except csv.Error as error:
        raise UserError(f"{uri}, line {reader.line_num}: not CSV ({error}); quote the cell") from error


def _read_jsonl(uri: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(_text(content).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{uri}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: not JSON ({error}); write one object per line") from error
        if not isinstance(row, dict):
            raise UserError(f'{where}: {line.strip()[:80]!r} is no object; write {{"video": "a.mp4"}}')
        _require_video_column(where, row)
        yield where, row


def _read_parquet(uri: str, content: bytes) -> Iterator[tuple[str, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = {*_VIDEO_COLUMNS, *_START_COLUMNS, *_END_COLUMNS}
    try:
        table = pq.ParquetFile(pa.BufferReader(content))
        _require_video_column(uri, table.schema_arrow.names)
        rows = table.read([name for name in table.schema_arrow.names if name in wanted]).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{uri}: not Parquet ({error}); write the list again") from error
    for number, row in enumerate(rows):
        yield f"{uri}, row {number}", row


def _text(content: bytes) -> str:
    """UTF-8, with or without a byte order mark; other bytes stay reversible, as in file names."""
    return content.decode("utf-8-sig", "surrogateescape")


def _require_video_column(where: str, names: Iterable[str]) -> None:
    names = list(names)
    if not any(name in _VIDEO_COLUMNS for name in names):
        raise UserError(f"{where}: no video column among {names}; name one of them {' or '.join(_VIDEO_COLUMNS)}")


def _video(where: str, folder: str, row: Mapping[str, Any]) -> str:
    name = next((name for name in _VIDEO_COLUMNS if row.get(name) not in (None, "")), None)
    if name is None:
        raise UserError(f"{where}: the video is empty; fill it in or remove the row")
    no_path = UserError(f"{where}: {name}={reprlib.repr(row[name])} is no path; write the path of a video")
    if not isinstance(row[name], str):
        raise no_path
    try:
        video = storage.join(folder, row[name])
        if storage.is_local(video):
            video = storage.local_uri(storage.local_path(video))
        video.encode()  # Parquet takes no half surrogate pairs
    except UnicodeEncodeError as error:
        raise no_path from error
    return video


def _seconds(where: str, row: Mapping[str, Any], names: Iterable[str]) -> float | None:
    for name in names:
        value = row.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        try:
            seconds = float(value)
        except (TypeError, ValueError, OverflowError):
            seconds = math.nan
        if not math.isfinite(seconds) or isinstance(value, bool):
            raise UserError(f"{where}: {name}={reprlib.repr(value)} is no number of seconds; write 12.5, or nothing")
        return seconds
    return None
