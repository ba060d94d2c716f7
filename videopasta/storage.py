"""Where files live: one way to name and open local paths, ``file://``, ``s3://``, ``gs://`` and fsspec's
schemes.

A *uri* here is a string that Parquet can hold (valid UTF-8): a plain absolute path for a local file, a
percent-encoded ``file://`` URI for a local name that is not UTF-8, and the URI itself for anything remote.
``resolve`` gives pyarrow's file system for it; local files that may carry odd names are opened with ``open``
on ``local_path(uri)``, because pyarrow takes UTF-8 names only. Nothing here reads or writes video or Parquet.
"""

import glob as local_glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from videopasta.credentials import refuse_credentials
from videopasta.errors import UserError

if TYPE_CHECKING:
    from pyarrow import fs as pafs

_GLOB_CHARACTERS = frozenset("*?[")
# pyarrow's options (s3://bucket/key?region=...); any other "?" or "#" belongs to a name or a glob.
_OPTIONS = re.compile(r"\?(\w+=[^/?]*)$")


@dataclass(frozen=True)
class StoredFile:
    """A file found by listing: its uri, and its size in bytes where the listing tells it."""

    uri: str
    size_bytes: int | None


def is_local(uri: str) -> bool:
    """True for plain paths and ``file://`` URIs."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> str:
    """The path of a local uri, ready for ``open``; bytes that are not UTF-8 come as surrogate escapes."""
    if not uri.startswith("file://"):
        return uri
    return os.fsdecode(unquote_to_bytes(os.fsencode(split_uri(uri).path)))


def local_uri(path: str) -> str:
    """The uri of a local path: absolute, and percent-encoded when its name is not UTF-8.

    >>> local_uri("/videos/a.mp4")
    '/videos/a.mp4'
    """
    path = os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps "..", and one file needs one name
    try:
        path.encode()
    except UnicodeEncodeError:
        return "file://" + quote_from_bytes(os.fsencode(path))
    return path


def absolute(uri: str) -> str:
    """`uri`, the same from every working directory."""
    return local_uri(local_path(uri)) if is_local(uri) else uri


def resolve(uri: str) -> "tuple[pafs.FileSystem, str]":
    """Pyarrow's file system for `uri` and the path inside it.

    pyarrow's own S3 and GCS clients need no further package; every other scheme goes through fsspec.

    Raises:
        UserError: nothing installed speaks the scheme, or the uri holds a secret.
    """
    from pyarrow import fs as pafs

    if is_local(uri):
        return pafs.LocalFileSystem(), os.path.abspath(local_path(uri))  # noqa: PTH100
    parts = split_uri(uri)
    refuse_credentials(uri, f"{parts.scheme}://...")
    filesystem, base = _remote(parts.scheme, parts.bucket, parts.options)
    return filesystem, base + parts.path


@lru_cache(maxsize=64)
def _remote(scheme: str, bucket: str, options: str) -> "tuple[pafs.FileSystem, str]":
    """The file system of one bucket, and the bucket's path in it; building it asks S3 for the region."""
    from pyarrow import fs as pafs

    root = UriParts(scheme, bucket, "", options).text
    if scheme in ("s3", "gs", "gcs"):
        return pafs.FileSystem.from_uri(root)
    import fsspec

    try:
        filesystem, base = fsspec.core.url_to_fs(root)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"{root}: cannot open {scheme}:// ({error}); install the fsspec package for it, or copy the files"
            " to a local folder, s3:// or gs://"
        ) from error
    return pafs.PyFileSystem(pafs.FSSpecHandler(filesystem)), base.rstrip("/") if bucket else ""


def join(base: str, *parts: str) -> str:
    """`base` extended by `parts`; an absolute path or URI among them starts anew, as in os.path.join."""
    for part in parts:
        if "://" in part or part.startswith("/"):
            base = part
        elif is_local(base):
            base = local_uri(os.path.join(local_path(base), part))  # noqa: PTH118 - surrogates and uris
        else:
            parts = split_uri(base)
            base = parts._replace(path=f"{parts.path.rstrip('/')}/{part}").text
    return base


def parent(uri: str) -> str:
    """The folder of a file's uri."""
    if is_local(uri):
        return local_uri(os.path.dirname(local_path(uri)) or ".")  # noqa: PTH120
    parts = split_uri(uri)
    return parts._replace(path=parts.path.rpartition("/")[0]).text


def kind(uri: str) -> str:
    """What stands at `uri`: ``file``, ``folder`` or ``missing``."""
    if is_local(uri):
        path = local_path(uri)
        if os.path.isdir(path):  # noqa: PTH112
            return "folder"
        return "file" if os.path.lexists(path) else "missing"
    from pyarrow import fs as pafs

    filesystem, path = resolve(uri)
    return {pafs.FileType.File: "file", pafs.FileType.Directory: "folder"}.get(
        filesystem.get_file_info([path])[0].type, "missing"
    )


def exists(uri: str) -> bool:
    """True when a file or folder stands at `uri`."""
    return kind(uri) != "missing"


def is_glob(uri: str) -> bool:
    """True when `uri` has glob characters and is not itself the name of something that exists."""
    return not _GLOB_CHARACTERS.isdisjoint(uri) and not (is_local(uri) and exists(uri))


def list_files(folder: str) -> list[StoredFile]:
    """All files below `folder`, sorted by uri; hidden local files and folders (``.name``) are left out."""
    if is_local(folder):
        return sorted(_walk(local_path(folder)), key=lambda file: file.uri)
    from pyarrow import fs as pafs

    filesystem, path = resolve(folder)
    found = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    return sorted(
        (StoredFile(_uri_like(folder, info.path), info.size) for info in found if info.is_file),
        key=lambda file: file.uri,
    )


def glob(pattern: str) -> list[StoredFile]:
    """The files that match `pattern` (``*``, ``?``, ``[...]``, ``**`` for any depth), sorted by uri."""
    if is_local(pattern):
        paths = local_glob.glob(local_path(pattern), recursive=True)  # noqa: PTH207 - keeps odd names
        return sorted((_stat(path) for path in paths if not os.path.isdir(path)), key=lambda file: file.uri)  # noqa: PTH112
    from fsspec.implementations.arrow import ArrowFSWrapper

    filesystem, path = resolve(pattern)
    found = ArrowFSWrapper(filesystem).glob(path, detail=True).values()
    return sorted(
        (StoredFile(_uri_like(pattern, info["name"]), info["size"]) for info in found if info["type"] == "file"),
        key=lambda file: file.uri,
    )


def size_bytes(uri: str) -> int | None:
    """Size of a local file; None when it cannot be read, or is remote (a request a file is too slow)."""
    return _stat(local_path(uri)).size_bytes if is_local(uri) else None


def open_input(uri: str) -> BinaryIO:
    """`uri` opened for reading bytes from start to end.

    Raises:
        OSError: as the file system has it (FileNotFoundError, PermissionError, ...).
    """
    if is_local(uri):
        return Path(local_path(uri)).open("rb")
    if uri.startswith(("http://", "https://")):
        from videopasta import web

        return web.open_url(uri)
    filesystem, path = resolve(uri)
    stream: BinaryIO = filesystem.open_input_stream(path)
    return stream


def _walk(folder: str) -> Iterator[StoredFile]:
    def refuse(error: OSError) -> None:  # os.walk would leave the folder's videos out without a word
        raise UserError(
            f"{error.filename}: cannot be listed ({error.strerror}); make the folder readable, or give a list of videos"
        ) from error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield _stat(os.path.join(root, name))  # noqa: PTH118


def _stat(path: str) -> StoredFile:
    try:
        size: int | None = os.stat(path).st_size  # noqa: PTH116
    except (
        OSError,
        ValueError,
    ):  # missing, unreadable, too long, or with a null byte: a row problem, met later
        size = None
    return StoredFile(local_uri(path), size)


def _uri_like(uri: str, path: str) -> str:
    """The uri of `path`, a path of the file system of `uri`."""
    parts = split_uri(uri)
    _, base = _remote(parts.scheme, parts.bucket, parts.options)
    return parts._replace(path=path[len(base) :]).text


class UriParts(NamedTuple):
    """A URI with a scheme, taken apart."""

    scheme: str
    bucket: str
    path: str
    options: str

    @property
    def text(self) -> str:
        return f"{self.scheme}://{self.bucket}{self.path}" + (f"?{self.options}" if self.options else "")


def split_uri(uri: str) -> UriParts:
    """The parts of a URI with a scheme. Not urlsplit: names and globs may hold ``?`` and ``#``."""
    scheme, _, rest = uri.partition("://")
    options = _OPTIONS.search(rest)
    if options:
        rest = rest[: options.start()]
    bucket, slash, path = rest.partition("/")
    return UriParts(scheme, bucket, slash + path, options[1] if options else "")
