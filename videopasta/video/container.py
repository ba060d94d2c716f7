"""Does a file hold as many bytes as its container declares, and its own pictures? Reads headers only, decodes nothing.

FFmpeg reads a shortened file up to its end and says nothing, or says "invalid data" for anything. The sizes
that MP4/MOV boxes, Matroska/WebM segments and RIFF (AVI) chunks declare tell the cut from other damage, to
the byte. MPEG streams and live recordings declare none: cut, they are shorter videos.
"""

import os
from typing import BinaryIO

_MAGIC_AT: tuple[tuple[int, tuple[bytes, ...]], ...] = (
    (4, (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")),
    (0, (b"\x1a\x45\xdf\xa3", b"RIFF", b"FLV\x01", b"OggS", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba")),
)
_PLAYLIST_MARKS = (b"#extm3u", b"ffconcat", b"<mpd", b"<compositionplaylist", b"c=in ip")
_PROBED_BYTES = 1 << 20  # FFmpeg looks no further


def looks_like_media(file: BinaryIO) -> bool:
    """True when the first bytes are those of a known container (MPEG-TS, which has no magic, is not told)."""
    file.seek(0)
    head = file.read(16)
    return any(head[at : at + len(magic)] == magic for at, magics in _MAGIC_AT for magic in magics)


def names_other_files(file: BinaryIO) -> bool:
    """True for a playlist (HLS, concat, DASH, IMF, SDP), also one with a video behind it.

    The FFmpeg of decord and of the system knows none of the limits of ours: it would open what a playlist names. FFmpeg
    takes the text up to the first zero byte for one, and all containers have such a byte early.
    """
    file.seek(0)
    text = file.read(_PROBED_BYTES).partition(b"\0")[0].lower()
    return any(mark in text for mark in _PLAYLIST_MARKS)


def missing_bytes(file: BinaryIO) -> int:
    """How many bytes the container declares beyond the end of the file; 0 when whole or not told."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[4:8] in _MAGIC_AT[0][1]:
        return max(0, _end_of_boxes(file, size) - size)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return max(0, _end_of_segment(file) - size)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return max(0, 8 + int.from_bytes(head[4:8], "little") - size)
    return 0


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    """Where the last top-level box ends (ISO 14496-12, 4.2)."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # to the end of the file
            return size
        if length < 8 or not head[4:8].isalnum():  # trailing bytes that are no box
            return at
        at += length
    return at


def _end_of_segment(file: BinaryIO) -> int:
    """Where the Matroska segment ends (RFC 9559); 0 when it was written without a size (live)."""
    at = 0
    for _ in range(4):  # EBML header, perhaps void elements, then the segment
        file.seek(at)
        head = file.read(12)
        if len(head) < 12:
            return 0
        id_length = 9 - head[0].bit_length()
        if id_length > 4:
            return 0
        size_head = head[id_length]
        size_length = 9 - size_head.bit_length()
        if size_length > 8:
            return 0
        value = int.from_bytes(head[id_length : id_length + size_length], "big")
        unknown = (1 << (7 * size_length)) - 1
        value &= unknown
        start = at + id_length + size_length
        if head[:4] == b"\x18\x53\x80\x67":
            return 0 if value == unknown else start + value
        at = start + value
    return 0
