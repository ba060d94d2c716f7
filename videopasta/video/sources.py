"""Which uris videos may be read from. Lists of videos and rows of pairs come from elsewhere: they name anything.

In: a uri, and the operator's `SourcesConfig`. Out: the uri to open, or a `VideoError`. Local names are judged by where
they lead, remote ones by how they are written. Opens nothing.
"""

import os
import re
from urllib.parse import parse_qsl, unquote, urlsplit

from videopasta import storage
from videopasta.config.video import SourcesConfig
from videopasta.credentials import credential_in
from videopasta.video.errors import Reason, VideoError

# Of pyarrow's options in a uri (s3://bucket/key?region=...) those that only say where a bucket lies.
_OPTIONS = frozenset(("region", "scheme", "endpoint_override", "project_id"))
# A bucket or host with a port, and Google's mark for public buckets. A "?" in it would be read as options.
_PLACE = re.compile(r"(anonymous@)?[\w.-]*(:\d+)?", re.ASCII)
_OWN_CLIENTS = ("s3", "gs", "gcs", "http", "https")


def check_source(uri: str, sources: SourcesConfig) -> str:
    """The uri to open for `uri`: below a local root its real path, so that no symlink is followed later.

    Raises:
        VideoError: not_allowed.
    """
    if storage.is_local(uri):
        return _check_local(uri, sources)
    _check_remote(uri, sources)
    return uri


def _check_local(uri: str, sources: SourcesConfig) -> str:
    if "file" not in sources.schemes:
        raise _refusal(f"{uri}: a local file, and decode.sources.schemes has no `file`")
    if not sources.roots:
        return uri
    roots = [os.path.realpath(storage.local_path(root)) for root in sources.roots if storage.is_local(root)]
    try:
        path = os.path.realpath(storage.local_path(uri))
    except ValueError as error:  # a zero byte
        raise _refusal(f"{uri!r}: {error}") from None
    if not any(os.path.commonpath((path, root)) == root for root in roots):
        raise _refusal(f"{uri}: not below a root of decode.sources.roots, or leads out of it")
    return storage.local_uri(path)


def _check_remote(uri: str, sources: SourcesConfig) -> None:
    if found := credential_in(uri):
        raise _refusal(f"the uri holds a secret ({found}), and uris are written to rows and logs")
    parts = storage.split_uri(uri)
    if parts.scheme not in sources.schemes:
        raise _refusal(f"{uri}: decode.sources.schemes has no `{parts.scheme}`")
    # fsspec reads "zip://a.mp4::http://host/b.zip" as one file in another.
    if not _PLACE.fullmatch(parts.bucket) or ("::" in uri and parts.scheme not in _OWN_CLIENTS):
        raise _refusal(f"{uri}: {parts.bucket!r} is no bucket or host")
    options = parse_qsl(parts.options, keep_blank_values=True)
    is_web = parts.scheme in ("http", "https")
    if not is_web and (unknown := {name for name, _ in options} - _OPTIONS):
        raise _refusal(f"{uri}: option {min(unknown)!r} may not stand in the uri of a video")
    hosts = [urlsplit(uri).netloc] if is_web else [value for name, value in options if name == "endpoint_override"]
    for host in hosts:
        if host.lower() not in sources.hosts:
            raise _refusal(f"{uri}: decode.sources.hosts has no `{host}`")
    if sources.roots and not any(_is_below(parts, storage.split_uri(root)) for root in sources.roots if "://" in root):
        raise _refusal(f"{uri}: not below a root of decode.sources.roots")


def _is_below(parts: storage.UriParts, root: storage.UriParts) -> bool:
    climbs = ".." in unquote(parts.path).split("/")
    same = (parts.scheme, parts.bucket) == (root.scheme, root.bucket)
    return same and not climbs and f"{parts.path}/".startswith(f"{root.path.rstrip('/')}/")


def _refusal(detail: str) -> VideoError:
    return VideoError(Reason.NOT_ALLOWED, detail)
