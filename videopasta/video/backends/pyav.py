"""The default decoder: PyAV, whose wheel carries its own FFmpeg.

Every frame is matched by its presentation time. Seeks go to keyframes where that saves work, h264 frames that
nothing leans on are skipped unless wanted, and only wanted frames become RGB; none of this changes a pixel
(tests/video/backends/test_pyav.py compares with a plain sequential decode).
"""

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from videopasta.video.backends.base import UntrustedIndexError
from videopasta.video.errors import Reason, VideoError
from videopasta.video.probe import Header, Video, VideoInfo, decode_all, demux, make_video, open_stream
from videopasta.video.seek import Packets, Segment, plan_segments

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

# Frame threads cost more than they bring on small pictures: 240 ms with one, 290 ms and half as much CPU
# again with two (900 frames of 640x360 h264, 2 cores, 2026-11-23); at 1920x1080 they bring 510 ms down to 320
# ms.
_THREADS_FROM_PIXELS = 1280 * 720
# Each holds a frame in flight, and one machine decodes many clips at once.
_MAX_THREADS = 4


class PyAVBackend:
    """Exact on every codec FFmpeg reads."""

    def decode(self, video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """See `Backend.decode`."""
        if video.packets is None:
            yield from _decode_by_count(video, indices)
            return
        segments = plan_segments(video.packets, video.pts[list(indices)].tolist())
        missing = [pts for segment in segments for pts in segment.pts]
        try:
            with open_stream(video.path) as (container, stream):
                _use_threads(stream)
                for segment in segments:
                    for frame in _decode_segment(container, stream, video, segment):
                        yield frame
                        missing.pop(0)
        except (VideoError, UntrustedIndexError):
            if segments[-1].start == 0:
                raise
            # A keyframe that is none (intra refresh, a wrong flag): the stream's start always serves.
            last = max(segment.last for segment in segments)
            with open_stream(video.path) as (container, stream):
                _use_threads(stream)
                yield from _decode_segment(container, stream, video, Segment(0, tuple(missing), last))


def index_by_decoding(path: str, header: Header) -> Video:
    """The video's frame table from decoding all of it, for streams whose packets do not tell their frames.

    The n-th frame out of the decoder gets the n-th smallest time: AVI's guessed times are right as a set.

    Raises:
        VideoError: corrupt; too_short when not even one frame comes out.
    """
    pts: list[int] = []
    with open_stream(path) as (container, stream):
        _use_threads(stream)
        for frame in decode_all(container, stream):
            _refuse_corrupt(frame)
            pts.append(len(pts) if frame.pts is None else frame.pts)
    if not pts:
        raise VideoError(Reason.CORRUPT, "no frame decodes")
    times = np.sort(np.array(pts, np.int64))
    if (np.diff(times) <= 0).any():
        if not header.fps:
            raise VideoError(Reason.CORRUPT, "frames without times, and no frame rate declared")
        times = np.round(np.arange(len(pts)) / (header.fps * header.time_base)).astype(np.int64)
    return make_video(path, header, times, last_duration=0, packets=None)


def _decode_segment(
    container: "InputContainer", stream: "VideoStream", video: Video, segment: Segment
) -> Iterator[np.ndarray]:
    assert video.packets is not None, "an index built by decoding has no packets to seek by"
    missing = list(segment.pts)
    converter = _converter()
    last_pts = int(video.packets.pts[segment.last])
    newest = None
    for frame in _frames(container, stream, video.packets, segment.start, last_pts, set(missing)):
        if frame.pts is None or (newest is not None and frame.pts <= newest):
            raise UntrustedIndexError(f"frame at {frame.pts} after {newest}")
        newest = frame.pts
        _refuse_corrupt(frame)  # also one that is not wanted: those that are may lean on it
        if frame.pts == missing[0]:
            yield _to_rgb(converter, frame, video.info)
            missing.pop(0)
            if not missing:
                return
        elif frame.pts > missing[0]:
            break
    raise UntrustedIndexError(f"no frame at {missing[0]}")


def _frames(
    container: "InputContainer",
    stream: "VideoStream",
    packets: Packets,
    start: int,
    last_pts: int,
    wanted: set[int],
) -> "Iterator[VideoFrame]":
    """Frames from packet `start` on, until the packet at `last_pts` is decoded and the decoder is empty."""
    context = stream.codec_context
    # nal_ref_idc 0 means "never a reference" in h264 alone: hevc's N types may serve higher temporal layers.
    skips = context.name == "h264"
    for packet in _packets_from(container, stream, packets, start):
        if skips:
            context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
        yield from context.decode(packet)
        if packet.pts == last_pts:
            break
    yield from context.decode(None)


def _packets_from(
    container: "InputContainer", stream: "VideoStream", packets: Packets, start: int
) -> "Iterator[Packet[Stream]]":
    """The stream's packets from a keyframe at or before packet `start`; 0 needs a container not read yet."""
    # Formats index by pts or by dts; a seek by the wrong one lands at another keyframe.
    for target in (int(packets.pts[start]), int(packets.dts[start])) if start else ():
        container.seek(target, stream=stream)
        demuxed = demux(container, stream)
        first = next(demuxed, None)
        position = None if first is None or first.pts is None else packets.position(first.pts)
        if first is not None and position is not None and position <= start and packets.is_key[position]:
            yield first
            yield from demuxed
            return
    if start:
        raise UntrustedIndexError(f"no seek reaches the keyframe at {packets.pts[start]}")
    yield from demux(container, stream)


def _decode_by_count(video: Video, indices: Sequence[int]) -> Iterator[np.ndarray]:
    missing = list(indices)
    converter = _converter()
    with open_stream(video.path) as (container, stream):
        _use_threads(stream)
        for count, frame in enumerate(decode_all(container, stream)):
            if missing and count == missing[0]:
                _refuse_corrupt(frame)
                yield _to_rgb(converter, frame, video.info)
                missing.pop(0)
            if not missing:
                return
    raise VideoError(Reason.CORRUPT, f"frame {missing[0]} of {video.info.num_frames} does not decode")


def _use_threads(stream: "VideoStream") -> None:
    many = stream.width * stream.height >= _THREADS_FROM_PIXELS or stream.codec.canonical_name == "av1"
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = min(_MAX_THREADS, os.cpu_count() or 1) if many else 1


def _converter() -> "VideoReformatter":
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def _refuse_corrupt(frame: "VideoFrame") -> None:
    if frame.is_corrupt:
        raise VideoError(Reason.CORRUPT, f"the frame at {frame.time} s is damaged")


def _to_rgb(converter: "VideoReformatter", frame: "VideoFrame", info: VideoInfo) -> np.ndarray:
    """uint8 (H, W, 3), turned as shown. One converter serves all frames: its tables cost the most."""
    rgb: np.ndarray = converter.reformat(frame, format="rgb24").to_ndarray()
    if info.rotation:
        rgb = np.rot90(rgb, -info.rotation // 90)
    if info.mirrored:
        rgb = rgb[:, ::-1]
    if rgb.shape[:2] != (info.height, info.width):
        raise VideoError(
            Reason.CORRUPT,
            f"the frame at {frame.time} s is {rgb.shape[1]}x{rgb.shape[0]}, not {info.width}x{info.height}",
        )
    return np.ascontiguousarray(rgb)
