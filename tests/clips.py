"""Small generated videos whose every frame carries its own number as readable pixels."""

import contextlib
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

NUM_BITS = 12
_IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def numbered_frame(number: int, *, width: int = 192, height: int = 96) -> np.ndarray:
    """uint8 (H, W, 3): moving colours, and on top the number as 12 black or white blocks."""
    y, x = np.mgrid[:height, :width]
    red = (x * 2 + number * 3) % 256
    frame = np.stack([red, (y * 2 + number * 5) % 256, np.full_like(red, number * 7 % 256)], -1).astype(np.uint8)
    for bit in range(NUM_BITS):
        left, right = bit * width // NUM_BITS, (bit + 1) * width // NUM_BITS
        frame[: height // 4, left:right] = 255 * (number >> bit & 1)
    return frame


def read_number(frame: np.ndarray) -> int:
    """The number in a frame of any size."""
    height, width = frame.shape[:2]
    row = frame[height // 8].mean(-1)
    return sum(int(row[(2 * bit + 1) * width // (2 * NUM_BITS)] > 127) << bit for bit in range(NUM_BITS))


def make_clip(
    path: Path,
    *,
    num_frames: int = 60,
    codec: str = "libx264",
    fps: int = 30,
    ticks: Sequence[int] | None = None,
    width: int = 192,
    height: int = 96,
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    muxer_options: Mapping[str, str] | None = None,
) -> Path:
    """Encode numbered frames; `ticks` are their times in 1/1000 s, instead of a constant rate."""
    with _scheduling_kept(), av.open(str(path), "w", options=dict(muxer_options or {})) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.options = dict(options or {})
        clock = Fraction(1, fps) if ticks is None else Fraction(1, 1000)
        stream.codec_context.time_base = clock
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, width=width, height=height))
            frame.pts = number if ticks is None else ticks[number]
            frame.time_base = clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@contextlib.contextmanager
def _scheduling_kept() -> Iterator[None]:
    """SVT-AV1, run as root, leaves the calling thread in real time, and all processes that are started from it.

    Engines that wait for each other by spinning then never yield, and the machine stands still.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def make_cut(source: Path, path: Path, *, from_packet: int, hide_s: float) -> Path:
    """A stream copy that starts at a keyframe and hides its first `hide_s` seconds by an edit list."""
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        shift = None
        for number, packet in enumerate(reader.demux(stream)):
            if packet.size == 0 or number < from_packet:
                continue
            if shift is None:
                assert packet.is_keyframe, f"packet {from_packet} of {source} is no keyframe"
                shift = packet.pts + round(hide_s / stream.time_base)
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = copy
            writer.mux(packet)
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Let an MP4's players show (x, y) at (a x + c y, b x + d y)."""
    content = path.read_bytes()
    at = content.index(_IDENTITY, content.index(b"tkhd"))
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content[:at] + matrix + content[at + len(matrix) :])
    return path
