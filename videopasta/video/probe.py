"""What a video file is and when each of its frames is shown, told from its packets.

In: a local path. Out: a `Header` (one frame decoded, for the true size and rotation) and a `Video` (header
and the table of all frames, nothing decoded). Every backend shares this table: index i is the i-th presented
frame of the stream FFmpeg finds best, without the frames that an edit list hides. Does not hash, plan or
resize.

Packets tell the frames' times in every format but a few: AVI with reordered frames, raw streams, streams with
hidden frames. For those the index is built by decoding once, and `VideoInfo.index_source` says so.
"""

import errno
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np

from videopasta.video.container import breaks_at, looks_like_media, missing_bytes, names_other_files
from videopasta.video.errors import Reason, VideoError
from videopasta.video.plan import FrameTable
from videopasta.video.seek import Packets

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.error import FFmpegError
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Edit lists and muxers round; a cut file is told by its container's sizes, this is for formats without them.
_MISSING_TAIL_S, _MISSING_TAIL_SHARE = 1.0, 0.05
_NO_TIMES = 0x80  # AVFMT_NOTIMESTAMPS
_BARE_MPEG = {"mpg", "mpeg", "m1v", "m2v"}  # FFmpeg names none for it
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: cover art
# Containers that hold their pictures. Others (HLS, DASH, concat, SDP, image patterns) are lists of files and addresses,
# which FFmpeg would open. Those of sound are here to be told apart from what is no media file.
_CONTAINERS = (
    "mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "ogg", "mxf", "nut", "dv", "gif", "rm",
    "yuv4mpegpipe", "h264", "hevc", "m4v", "av1", "obu", "ivf", "mjpeg", "wav", "mp3", "flac", "aac",
)  # fmt: skip
_OPTIONS = {
    "err_detect": "explode",
    "format_whitelist": ",".join(_CONTAINERS),
    "protocol_whitelist": "file",
}


@dataclass(frozen=True)
class Header:
    """What opening the file and decoding its first frame tells."""

    container: str
    codec: str
    stream_index: int
    width: int
    """Pixels, rotation applied."""
    height: int
    rotation: int
    """Degrees clockwise (0, 90, 180, 270) by which the stored picture is turned to be shown."""
    mirrored: bool
    """Flipped left to right after the rotation."""
    fps: float
    """Declared average frames per second; 0 when not declared."""
    declared_duration_s: float | None
    time_base: Fraction


@dataclass(frozen=True)
class VideoInfo:
    """What the row keeps about its video."""

    container: str
    codec: str
    stream_index: int
    width: int
    height: int
    rotation: int
    mirrored: bool
    fps: float
    duration_s: float
    num_frames: int
    index_source: Literal["packets", "decoding"]
    """What the frame table is made of: the packets, or a full decode where those cannot be trusted."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON or a pyarrow struct."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Video:
    """A probed local file: what a backend needs to give exact frames."""

    path: str
    info: VideoInfo
    table: FrameTable
    pts: np.ndarray
    """int64 (N,): each frame's presentation time in the stream's time base, in presentation order."""
    time_base: Fraction
    packets: Packets | None
    """The stream in decode order; None when the index was built by decoding."""


def check_file(path: str, max_bytes: int | None = None) -> int:
    """Size in bytes of a readable, whole media file.

    Raises:
        VideoError: missing, unreadable, name_too_long, empty_file, too_large_file, truncated, not_a_video (a folder,
        a pipe, a socket, a device: opening those may wait for ever, or do something).
    """
    try:
        found = Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            raise VideoError(Reason.NOT_A_VIDEO, f"{_kind(found.st_mode)}, not a file")
        size = found.st_size
        if size == 0:
            raise VideoError(Reason.EMPTY_FILE, "the file has zero bytes")
        if max_bytes is not None and size > max_bytes:
            raise too_large_file(f"{size}", max_bytes)
        with Path(path).open("rb") as file:
            missing = missing_bytes(file)
            if names_other_files(file):
                raise VideoError(Reason.NOT_A_VIDEO, "a playlist: it names other files instead of holding pictures")
    except (FileNotFoundError, ValueError) as error:  # ValueError: a name with a null byte
        raise VideoError(Reason.MISSING, "no such file") from error
    except OSError as error:
        reason = Reason.NAME_TOO_LONG if error.errno == errno.ENAMETOOLONG else Reason.UNREADABLE
        raise VideoError(reason, error.strerror or str(error)) from error
    if missing:
        raise VideoError(Reason.TRUNCATED, f"{missing} bytes short of the {size + missing} it declares")
    return size


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a socket or device"


def too_large_file(num_bytes: str, max_bytes: int) -> VideoError:
    """The error of a file over the limit, whole or as far as it was fetched."""
    return VideoError(Reason.TOO_LARGE_FILE, f"{num_bytes} bytes, over max_bytes={max_bytes}; raise it if it is sound")


@contextmanager
def open_stream(path: str, **more: str) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """The container and its best video stream, with errors of FFmpeg inside the block made `VideoError`.

    Decoding is strict: damage raises instead of giving a concealed picture. Nothing but the file itself is opened,
    whatever stands in it. `more` are options of the demuxer.
    """
    import av

    try:
        with av.open(path, metadata_errors="replace", options=_OPTIONS | more) as container:
            _refuse_lost_head(path, container)
            stream = container.streams.best("video")
            if stream is None or int(stream.disposition) & _ATTACHED_PICTURE:
                kinds = sorted({stream.type for stream in container.streams})
                raise VideoError(Reason.NO_VIDEO_STREAM, f"streams: {', '.join(kinds) or 'none'}")
            if stream.codec_context is None:
                raise VideoError(Reason.UNSUPPORTED_CODEC, "no decoder for the video stream")
            assert isinstance(stream, av.VideoStream), "asked for the best video stream"
            yield container, stream
    except av.error.FFmpegError as error:
        raise_video_error(path, error)


def _refuse_lost_head(path: str, container: "InputContainer") -> None:
    """What is left of a file without its head can look like a bare stream; those that are one are named so."""
    kind = container.format
    bare = bool(kind.flags & _NO_TIMES)
    if bare and Path(path).suffix[1:].lower() not in (kind.extensions or _BARE_MPEG):
        raise VideoError(Reason.CORRUPT, f"no container, but a bare {kind.name} stream: the head of the file is gone")


def demux(container: "InputContainer", *streams: "Stream") -> "Iterator[Packet[Stream]]":
    """The streams' packets, from where the container stands.

    Raises:
        VideoError: corrupt, when a stream appears that the header did not have (PyAV has no place for it).
    """
    packets = container.demux(*streams)
    while True:
        try:
            packet = next(packets, None)
        except IndexError as error:
            raise VideoError(Reason.CORRUPT, "a stream appears in the middle of the file") from error
        if packet is None:
            return
        if packet.size:
            yield packet


def decode_all(container: "InputContainer", stream: "VideoStream") -> "Iterator[VideoFrame]":
    """The stream's frames in presentation order."""
    for packet in demux(container, stream):
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def raise_video_error(path: str, error: "FFmpegError") -> NoReturn:
    """Name the reason of an FFmpeg error."""
    import av

    log = error.log[-1][-1].strip() if error.log and error.log[-1] else ""
    detail = ": ".join(filter(None, (error.strerror, log)))
    with Path(path).open("rb") as file:
        media = looks_like_media(file)
    if isinstance(error, MemoryError):
        raise VideoError(Reason.OUT_OF_MEMORY, detail) from error
    if isinstance(error, av.error.DecoderNotFoundError | av.error.PatchWelcomeError):
        raise VideoError(Reason.UNSUPPORTED_CODEC, detail) from error
    raise VideoError(Reason.CORRUPT if media else Reason.NOT_A_VIDEO, detail) from error


def read_header(path: str, max_frame_pixels: int | None = None) -> Header:
    """Container, codec, size, rotation and declared duration; reads up to the first frame.

    Raises:
        VideoError: not_a_video, no_video_stream, unsupported_codec, corrupt; too_large before anything is
        decoded.
    """
    with open_stream(path) as (container, stream):
        _check_size(stream.width, stream.height, max_frame_pixels)
        frame = next(decode_all(container, stream), None)
        if frame is None:
            raise VideoError(Reason.CORRUPT, "no frame decodes")
        _check_size(frame.width, frame.height, max_frame_pixels)  # the container need not say what the codec holds
        rotation, mirrored = _orientation(frame)
        turned = rotation % 180 == 90
        return Header(
            container=container.format.name,
            codec=stream.codec.canonical_name,
            stream_index=stream.index,
            width=frame.height if turned else frame.width,
            height=frame.width if turned else frame.height,
            rotation=rotation,
            mirrored=mirrored,
            fps=float(stream.average_rate or 0),
            declared_duration_s=_declared_duration_s(container, stream),
            time_base=_time_base(stream),
        )


def _check_size(width: int, height: int, max_frame_pixels: int | None) -> None:
    pixels = width * height
    if max_frame_pixels is not None and pixels > max_frame_pixels:
        raise VideoError(
            Reason.TOO_LARGE, f"{width}x{height}: {pixels} pixels, over max_frame_pixels={max_frame_pixels}"
        )


def probe(path: str, header: Header) -> Video | None:
    """The video's frame table from its packets; None when they do not tell the frames (index it by decoding).

    Raises:
        VideoError: truncated, corrupt.
    """
    with Path(path).open("rb") as file:
        if (at := breaks_at(file)) is not None:
            raise VideoError(Reason.CORRUPT, f"the file is damaged or cut at byte {at}")
    rows: list[tuple[int | None, int | None, bool, bool, int]] = []
    end_s = 0.0
    with open_stream(path) as (container, stream):
        declared_s = header.declared_duration_s
        # A container's duration is that of its longest stream, which need not be the video.
        others = [] if stream.duration else [*container.streams.audio]
        for packet in demux(container, stream, *others):
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index == stream.index:
                if packet.is_corrupt:  # what an MPEG transport stream says of lost packets
                    raise VideoError(Reason.CORRUPT, f"the packet of frame {len(rows)} is damaged")
                rows.append((packet.pts, packet.dts, packet.is_keyframe, packet.is_discard, packet.duration or 0))
        start_s = (container.start_time or 0) / 1e6
        # AVI counts frames that are shown again as well, the others do not count.
        num_declared = stream.frames if "mp4" in header.container else 0
        reorders = bool(stream.codec_context.has_b_frames)
    tail_s = (declared_s or 0) - (end_s - start_s)
    if declared_s and tail_s > max(_MISSING_TAIL_S, _MISSING_TAIL_SHARE * declared_s):
        raise VideoError(Reason.TRUNCATED, f"{tail_s:.1f} s short of the {declared_s:.1f} s it declares")
    if len(rows) < num_declared and (found := _count_packets(path)) < num_declared:
        raise VideoError(Reason.TRUNCATED, f"{found} frames of the {num_declared} that the header declares")
    if any(pts is None for pts, *_ in rows) or ("avi" in header.container and reorders):
        return None  # AVI stores no presentation times: FFmpeg guesses them, wrongly when frames are reordered
    columns = [np.array([row[i] for row in rows], np.int64) for i in (0, 2, 3, 4)]
    pts, key, discard, durations = columns
    dts = np.array([row[0] if row[1] is None else row[1] for row in rows], np.int64)
    shown = np.flatnonzero(discard == 0)
    shown = shown[np.argsort(pts[shown], kind="stable")]
    if len(shown) == 0 or (np.diff(pts[shown]) <= 0).any():
        return None
    return make_video(
        path,
        header,
        pts[shown],
        last_duration=int(durations[shown[-1]]),
        packets=Packets(pts=pts, dts=dts, is_key=key.astype(bool)),
    )


def _count_packets(path: str) -> int:
    """With those that an edit list leaves out, and those that are empty."""
    with open_stream(path, ignore_editlist="1") as (container, stream):
        return sum(packet.dts is not None for packet in container.demux(stream))


def make_video(path: str, header: Header, pts: np.ndarray, *, last_duration: int, packets: Packets | None) -> Video:
    """A `Video` from its header and its frames' times; a last frame of unknown length is an average one."""
    time_base = header.time_base
    if last_duration <= 0:
        last_duration = round((pts[-1] - pts[0]) / (len(pts) - 1)) if len(pts) > 1 else 1
    timestamps_s = (pts - pts[0]) * float(time_base)
    table = FrameTable(timestamps_s, float(timestamps_s[-1]) + last_duration * float(time_base))
    info = VideoInfo(
        container=header.container,
        codec=header.codec,
        stream_index=header.stream_index,
        width=header.width,
        height=header.height,
        rotation=header.rotation,
        mirrored=header.mirrored,
        fps=header.fps or len(pts) / table.duration_s,
        duration_s=table.duration_s,
        num_frames=len(pts),
        index_source="decoding" if packets is None else "packets",
    )
    return Video(path, info, table, pts, time_base, packets)


def _declared_duration_s(container: "InputContainer", stream: "VideoStream") -> float | None:
    if stream.duration:
        return float(stream.duration * _time_base(stream))
    return container.duration / 1e6 if container.duration else None


def _time_base(stream: "VideoStream") -> Fraction:
    assert stream.time_base is not None, "a demuxed stream has a time base"
    return stream.time_base


def _orientation(frame: "VideoFrame") -> tuple[int, bool]:
    """Rotation (clockwise) and mirroring of the frame's display matrix, in quarter turns."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return 0, False
    matrix: Any = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]
    # (x, y) is shown at (a x + c y, b x + d y), y pointing down: a turn by t, then perhaps a mirror in x.
    a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].astype(float)
    turn = round(math.degrees(math.atan2(b, d)) / 90) * 90 % 360
    return turn, bool(a * d - b * c < 0)
