"""One clip, from a uri to its frames: fetch, hash, probe, check, plan, decode, resize. Sequential, in one
process.

In: a `ClipRequest`. Out: a `DecodedClip` with one `FramePlan` per named plan and the pixels of each distinct
plan. All plans of a clip are decoded in one pass over the union of their frames; equal plans share their
pixels. Any clip that cannot be used raises `VideoError`. Deadlines and crashes are the business of
`worker.py`.
"""

import hashlib
import os
import tempfile
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from videopasta import storage
from videopasta.config.video import Backend as BackendName
from videopasta.config.video import DecodeConfig, PlanConfig
from videopasta.video.backends import get_backend
from videopasta.video.backends.base import UntrustedIndexError
from videopasta.video.errors import Reason, VideoError
from videopasta.video.identity import clip_id
from videopasta.video.plan import FramePlan, make_plan, resolve_span, span_frames
from videopasta.video.probe import Header, Video, VideoInfo, check_file, probe, read_header, too_large_file
from videopasta.video.resize import Resizer
from videopasta.video.sources import check_source
from videopasta.web import ForbiddenAddressError

_BLOCK_BYTES = 1 << 20
_SAME_TIME_S = 1e-3
_WAITING_FRAMES = 4  # source frames held for the resize: 0.4 GB of the largest


@dataclass(frozen=True)
class ClipRequest:
    """A clip and how to see it."""

    uri: str
    start_s: float | None
    end_s: float | None
    plans: Mapping[str, PlanConfig | FramePlan]
    """Named plans. A `FramePlan` from a row is decoded as it stands, with its own backend and size."""
    config: DecodeConfig


@dataclass(frozen=True, eq=False)
class DecodedClip:
    """A clip's frames and everything the row keeps about them."""

    video_sha256: str
    clip_id: str
    size_bytes: int
    start_s: float
    """Start of the span in seconds, resolved: 0 where the request has none."""
    end_s: float
    info: VideoInfo
    plans: dict[str, FramePlan]
    """By the request's names."""
    frames: dict[str, np.ndarray]
    """By `FramePlan.key`: uint8 (T, H, W, 3), RGB."""


def decode_clip(request: ClipRequest) -> DecodedClip:
    """Fetch, check, plan and decode one clip.

    A video that is too long or too large by its header is refused before it is read through (a remote one is
    fetched first).

    Raises:
        VideoError: any reason but `deadline` and `decoder_died`.
    """
    uri = check_source(request.uri, request.config.sources)
    with _local_copy(uri, request.config.max_bytes) as (path, fetched_sha256):
        try:
            return _decode_file(request, path, fetched_sha256)
        except OSError as error:
            raise VideoError(Reason.UNREADABLE, f"gone, or its disk fails: {error}") from error


def _decode_file(request: ClipRequest, path: str, known_sha256: str | None) -> DecodedClip:
    config = request.config
    size_bytes = check_file(path, config.max_bytes)
    header = read_header(path, config.max_frame_pixels)
    if header.declared_duration_s is not None:
        _check_duration(request, header.declared_duration_s)
    video_sha256 = known_sha256 or sha256_of(path)
    try:
        video = probe(path, header)
        if video is not None:
            try:
                plans, frames = _decode_plans(request, video)
            except UntrustedIndexError:
                video = None
        if video is None:
            video = _index_by_decoding(path, header)
            plans, frames = _decode_plans(request, video)
        start_s, end_s = resolve_span(request.start_s, request.end_s, video.table.duration_s)
    except VideoError as error:
        raise VideoError(error.reason, error.detail, video_sha256) from error
    return DecodedClip(
        video_sha256=video_sha256,
        clip_id=clip_id(video_sha256, request.start_s, request.end_s),
        size_bytes=size_bytes,
        start_s=start_s,
        end_s=end_s,
        info=video.info,
        plans=plans,
        frames=frames,
    )


def sha256_of(uri: str) -> str:
    """SHA-256 of a file's content, in hex: the identity of a video.

    Raises:
        OSError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with storage.open_input(uri) as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _local_copy(uri: str, max_bytes: int) -> Iterator[tuple[str, str | None]]:
    """A local path of the content, and its hash when it had to be fetched (the copy is gone afterwards)."""
    if storage.is_local(uri):
        yield storage.local_path(uri), None
        return
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(suffix=os.path.splitext(uri)[1][:16]) as copy:  # noqa: PTH122 - a uri
        try:
            with storage.open_input(uri) as stream:
                while block := stream.read(_BLOCK_BYTES):
                    digest.update(block)
                    copy.write(block)
                    if copy.tell() > max_bytes:
                        raise too_large_file(f"more than {copy.tell()}", max_bytes)
            copy.flush()
        except FileNotFoundError as error:
            raise VideoError(Reason.MISSING, f"{uri}: no such object") from error
        except PermissionError as error:
            raise VideoError(Reason.UNREADABLE, f"{uri}: {error}") from error
        except ForbiddenAddressError as error:
            raise VideoError(Reason.NOT_ALLOWED, f"{uri}: {error}") from error
        except OSError as error:
            raise VideoError(Reason.FETCH_FAILED, f"{uri}, or its copy in {tempfile.gettempdir()}: {error}") from error
        yield copy.name, digest.hexdigest()


def _check_duration(request: ClipRequest, duration_s: float) -> None:
    start_s, end_s = resolve_span(request.start_s, request.end_s, duration_s)
    limit_s = request.config.max_duration_s
    if end_s - start_s > limit_s:
        raise VideoError(
            Reason.TOO_LONG,
            f"{end_s - start_s:.0f} s, over max_duration_s={limit_s:g}; give it a span, or raise the limit",
        )


def _index_by_decoding(path: str, header: Header) -> Video:
    from videopasta.video.backends.pyav import index_by_decoding

    return index_by_decoding(path, header)


def _decode_plans(request: ClipRequest, video: Video) -> tuple[dict[str, FramePlan], dict[str, np.ndarray]]:
    plans = {name: _frame_plan(request, plan, video) for name, plan in request.plans.items()}
    by_backend: dict[str, dict[str, FramePlan]] = defaultdict(dict)
    for plan in plans.values():
        by_backend[plan.backend][plan.key] = plan
    frames: dict[str, np.ndarray] = {}
    for backend, distinct in by_backend.items():
        frames |= _decode_union(video, backend, distinct)  # type: ignore[arg-type]
    return plans, frames


def _frame_plan(request: ClipRequest, plan: PlanConfig | FramePlan, video: Video) -> FramePlan:
    table = video.table
    if isinstance(plan, FramePlan):
        known = plan.indices[-1] < table.num_frames
        if not known or np.abs(table.timestamps_s[list(plan.indices)] - plan.timestamps_s).max() > _SAME_TIME_S:
            raise VideoError(
                Reason.PLAN_MISMATCH,
                f"plan {plan.key} has frame {plan.indices[-1]} at {plan.timestamps_s[-1]:.3f} s; the video"
                f" has {table.num_frames} frames in {table.duration_s:.3f} s",
            )
        return plan
    config = request.config
    _check_duration(request, table.duration_s)
    start_s, end_s = resolve_span(request.start_s, request.end_s, table.duration_s)
    num_frames = len(span_frames(table, start_s, end_s))
    if num_frames < config.min_frames:
        raise VideoError(Reason.TOO_SHORT, f"{num_frames} frames, fewer than min_frames={config.min_frames}")
    return make_plan(
        plan,
        table,
        start_s=start_s,
        end_s=end_s,
        height=video.info.height,
        width=video.info.width,
        pixels=config.pixels,
        backend=config.backend,
    )


def _decode_union(video: Video, backend: BackendName, plans: dict[str, FramePlan]) -> dict[str, np.ndarray]:
    """The frames of several plans from one pass: by plan key, uint8 (T, H, W, 3)."""
    out = {key: np.empty((plan.num_frames, plan.height, plan.width, 3), np.uint8) for key, plan in plans.items()}
    places: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for key, plan in plans.items():
        for place, index in enumerate(plan.indices):
            places[index].append((key, place))

    resizers = {(plan.height, plan.width): Resizer(plan.height, plan.width) for plan in plans.values()}

    def put(index: int, frame: np.ndarray) -> None:
        sizes: dict[tuple[int, int], np.ndarray] = {}
        for key, place in places[index]:
            size = plans[key].height, plans[key].width
            if size not in sizes:
                sizes[size] = resizers[size](frame)
            out[key][place] = sizes[size]

    union = sorted(places)
    # Scaler and decoder let go of the GIL: resizing beside decoding takes a fifth off a short clip's time
    # where a second core is free, and costs nothing where none is.
    with ThreadPoolExecutor(1) as resizing:
        waiting: deque[Future[None]] = deque()
        for index, frame in zip(union, get_backend(backend).decode(video, union), strict=True):
            waiting.append(resizing.submit(put, index, frame))
            if len(waiting) > _WAITING_FRAMES:
                waiting.popleft().result()
        while waiting:
            waiting.popleft().result()
    return out
