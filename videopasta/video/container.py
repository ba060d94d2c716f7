"""Is a file what its container declares, and are its pictures in it? Decodes nothing.

Reads headers, and of Matroska with checksums (FFmpeg writes them) everything once more, just after the hash has.

FFmpeg reads a shortened file up to its end and says nothing, or says "invalid data" for anything. The sizes
that MP4/MOV boxes, Matroska/WebM segments, RIFF (AVI) chunks and WMV objects declare tell the cut from other
damage, to the byte; so do the tags of FLV, but where it is cut between two. MPEG streams and live recordings declare
none: cut, they are shorter videos.

FFmpeg also looks for what it can read next where a file is damaged, and leaves the frames between out without a
word. MP4 has a table of its frames, which tells; of Matroska, AVI, FLV, fragments of MP4 and MPEG transport streams
it is told by how their parts follow each other. Of WMV, Ogg and MPEG program streams it is not told.
"""

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

_EBML, _FLV, _ASF = b"\x1a\x45\xdf\xa3", b"FLV\x01", b"\x30\x26\xb2\x75"
_MAGIC_AT: tuple[tuple[int, tuple[bytes, ...]], ...] = (
    (4, (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp")),
    (0, (_EBML, b"RIFF", _FLV, b"OggS", _ASF, b"\x00\x00\x01\xba")),
)
_PLAYLIST_MARKS = (b"#extm3u", b"ffconcat", b"<mpd", b"<compositionplaylist", b"c=in ip")
_PROBED_BYTES = 1 << 20  # FFmpeg looks no further
_SEGMENT, _CLUSTER, _CRC = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\xbf"
_TRACKS, _TRACK_ENTRY, _TRACK_NUMBER, _SIMPLE_BLOCK = b"\x16\x54\xae\x6b", b"\xae", b"\xd7", b"\xa3"
# What stands in a segment and in a cluster (RFC 9559): hints, info, tracks, cues, attachments, chapters, tags, padding;
# times, positions, blocks and groups of them, padding.
_IN_SEGMENT = frozenset(
    (b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", _TRACKS, _CLUSTER, b"\x1c\x53\xbb\x6b",
     b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70", b"\x12\x54\xc3\x67", b"\xec", _CRC)
)  # fmt: skip
_IN_CLUSTER = frozenset((b"\xe7", b"\x58\x54", b"\xa7", b"\xab", _SIMPLE_BLOCK, b"\xa0", b"\xec", _CRC))
_NUMBERS = frozenset((b"\xe7", b"\xa7", b"\xab"))  # time, position, size of the cluster before
_BLOCK_BYTES = 1 << 20
# What may follow the first fragment.
_FRAGMENT_BOXES = frozenset(
    (b"ftyp", b"styp", b"sidx", b"ssix", b"prft", b"emsg", b"moof", b"mdat", b"mfra", b"moov", b"meta", b"free",
     b"skip", b"uuid")
)  # fmt: skip
_CHUNK_LISTS = frozenset((b"RIFF", b"LIST"))
_CHUNKS_BETWEEN = _CHUNK_LISTS | {b"JUNK"}  # what else may stand between the chunks of streams
_TRANSPORT_MARK = b"\x47"


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
    if head[:4] == _EBML:
        return max(0, _end_of_segment(file) - size)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return max(0, 8 + int.from_bytes(head[4:8], "little") - size)
    if head[:4] == _FLV:
        return max(0, _end_of_tags(file, size) - size)
    if head[:4] == _ASF:
        return max(0, _end_of_objects(file, size) - size)
    return 0


def _boxes(file: BinaryIO, size: int, at: int = 0) -> Iterator[tuple[int, bytes, int]]:
    """Boxes (ISO 14496-12, 4.2) from `at` on: where each begins, its kind, where it ends; up to bytes that are none."""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        kind, length = head[4:8], int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:  # to the end of the file
            length = size - at
        if length < 8 or not kind.isalnum():
            return
        yield at, kind, at + length
        at += length


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    return max((end for _, _, end in _boxes(file, size)), default=0)


def _chunks(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, int]]:
    """RIFF chunks, those in lists among them: where each begins, its kind and length; up to bytes that are no chunk."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        kind, length = head[:4], int.from_bytes(head[4:], "little")
        if not kind.replace(b"_", b"").strip().isalnum():
            return
        yield at, kind, length
        at += 12 if kind in _CHUNK_LISTS else 8 + length + length % 2


def _end_of_objects(file: BinaryIO, size: int) -> int:
    """Where the last object of WMV or ASF ends (ASF specification, 2.1)."""
    at = 0
    while at + 24 <= size:
        file.seek(at + 16)
        length = int.from_bytes(file.read(8), "little")
        if length < 24:
            return at
        at += length
    return at


def _end_of_segment(file: BinaryIO) -> int:
    """Where the Matroska segment ends (RFC 9559); 0 when it was written without a size (live)."""
    segment = _segment(file)
    return 0 if segment is None or segment[1] is None else segment[1]


def breaks_at(file: BinaryIO) -> int | None:
    """The first byte where something else should stand; None in a whole file, and in formats that do not tell.

    Told of Matroska, AVI, FLV, MP4 in fragments (of which the whole has no table), and MPEG transport streams; of WMV
    as far as its few objects go.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[4:8] in _MAGIC_AT[0][1]:
        return _fragments_break_at(file, size)
    if head[:4] == b"RIFF":
        return _chunks_break_at(file, size)
    if head[:4] in (_FLV, _ASF):
        end = _end_of_tags(file, size) if head[:4] == _FLV else _end_of_objects(file, size)
        return end if end < size else None
    if head[:4] == _EBML:
        return _segment_breaks_at(file, size)
    return _transport_breaks_at(file, size)


def _fragments_break_at(file: BinaryIO, size: int) -> int | None:
    in_fragments, last_end = False, 0
    for at, kind, end in _boxes(file, size):
        in_fragments |= kind == b"moof"
        if in_fragments and (
            kind not in _FRAGMENT_BOXES or (kind == b"moof" and not _is_filled(file, at, end, b"traf"))
        ):
            return at
        last_end = end
    return last_end if in_fragments and not _is_padding(file, last_end, size) else None


def _is_filled(file: BinaryIO, at: int, end: int, tracks: bytes | None = None) -> bool:
    """Whether the boxes in a fragment's header, and in its `tracks`, end where it does."""
    last_end = at
    for inner, kind, last_end in _boxes(file, end, at + 8):
        if kind == tracks and not _is_filled(file, inner, last_end):
            return False
    return last_end == end


def _is_padding(file: BinaryIO, at: int, size: int) -> bool:
    """Whether nothing but zero bytes is left."""
    file.seek(at)
    return all(not any(file.read(_BLOCK_BYTES)) for _ in range(at, size, _BLOCK_BYTES))


def _chunks_break_at(file: BinaryIO, size: int) -> int | None:
    end = whole = media_end = 0
    for at, kind, length in _chunks(file, size):
        file.seek(at + 8)
        if kind == b"LIST" and file.read(4) == b"movi":
            media_end = at + 8 + length
        elif at < media_end and not kind[:2].isdigit() and kind[:2] != b"ix" and kind not in _CHUNKS_BETWEEN:
            return at
        end = at + (12 if kind in _CHUNK_LISTS else 8 + length + length % 2)
        if kind == b"RIFF":
            whole = at + 8 + length
        elif end > whole + 1:
            return at
    return end if end < min(whole, size) else None


def _transport_breaks_at(file: BinaryIO, size: int) -> int | None:
    """Packets of one length, each with its mark; of a file that begins with three."""
    file.seek(0)
    head = file.read(3 * 204)
    for first, length in ((0, 188), (4, 192), (0, 204)):  # as broadcast, with times (m2ts), with error correction
        if head[first::length][:3] == 3 * _TRANSPORT_MARK:
            break
    else:
        return None
    for at in range(0, size, 5000 * length):
        file.seek(at)
        marks = np.frombuffer(file.read(5000 * length), np.uint8)[first::length]
        wrong = np.flatnonzero(marks != _TRANSPORT_MARK[0])
        if len(wrong):
            return at + int(wrong[0]) * length
    return size - size % length if size % length else None


def _segment_breaks_at(file: BinaryIO, size: int) -> int | None:
    """Segments and clusters of unknown size (live) end where something else begins."""
    segment = _segment(file)
    if segment is None:
        return None
    at, told_end = segment
    end = size if told_end is None else told_end
    tracks: set[int] = set()
    while at < end:
        found = _element(file, at)
        if found is None or found[0] not in _IN_SEGMENT:
            return at
        kind, start, stop = found
        if kind == _CLUSTER:
            at, is_whole = _end_of_cluster(file, start, end if stop is None else stop, tracks)
            if not is_whole or (stop is not None and at != stop):
                return at
        elif stop is None:
            return at
        else:
            if kind == _TRACKS:
                tracks = _track_numbers(file, start, stop)
            at = stop
    return at if at > end else None


def _end_of_tags(file: BinaryIO, size: int) -> int:
    """Where the last FLV tag ends, or something else begins (Adobe's specification, annex E.4)."""
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + 4
    while at < size:
        file.seek(at)
        head = file.read(4)
        if head[0] & 0x1F not in (8, 9, 15, 18):  # sound, video, data of two kinds
            return at
        at += 15 + int.from_bytes(head[1:], "big")
    return at


def _segment(file: BinaryIO) -> tuple[int, int | None] | None:
    """Where the content of the segment begins, and where it ends; None for a size that is not told."""
    at = 0
    for _ in range(4):  # EBML header, perhaps void elements, then the segment
        found = _element(file, at)
        if found is None:
            return None
        kind, start, stop = found
        if kind == _SEGMENT:
            return start, stop
        if stop is None:
            return None
        at = stop
    return None


def _track_numbers(file: BinaryIO, at: int, end: int) -> set[int]:
    """Those of the tracks, in their entries."""
    found: set[int] = set()
    while at < end and (element := _element(file, at)):
        kind, start, stop = element
        if stop is None:
            break
        if kind == _TRACK_NUMBER:
            file.seek(start)
            found.add(int.from_bytes(file.read(min(8, stop - start)), "big"))
        at = start if kind == _TRACK_ENTRY else stop
    return found


def _end_of_cluster(file: BinaryIO, at: int, end: int, tracks: set[int]) -> tuple[int, bool]:
    """Up to where a cluster's elements follow each other, and whether they are whole, with blocks of `tracks` only."""
    first = at
    while at < end:
        found = _element(file, at)
        if found is None:
            return at, False
        kind, start, stop = found
        if kind not in _IN_CLUSTER:
            return at, kind in _IN_SEGMENT
        if stop is None or stop > end or (kind in _NUMBERS and stop - start > 8):
            return at, False
        if kind == _SIMPLE_BLOCK:
            file.seek(start)
            # Of one byte, but for tracks over 126.
            if start == stop or (max(tracks, default=127) < 127 and file.read(1)[0] - 0x80 not in tracks):
                return at, False
        if kind == _CRC and at == first and not _has_checksum(file, start, stop, end):
            return at, False
        at = stop
    return at, True


def _has_checksum(file: BinaryIO, start: int, stop: int, end: int) -> bool:
    """Whether the rest of the parent is what its CRC-32 was made of."""
    file.seek(start)
    wanted = int.from_bytes(file.read(stop - start), "little")
    found, missing = 0, end - stop
    while missing > 0 and (block := file.read(min(missing, _BLOCK_BYTES))):
        found = zlib.crc32(block, found)
        missing -= len(block)
    return found == wanted


def _element(file: BinaryIO, at: int) -> tuple[bytes, int, int | None] | None:
    """An EBML element's id, and where its content begins and ends (None: not told); None where there is none."""
    file.seek(at)
    head = file.read(12)
    if not head:
        return None
    id_length = 9 - head[0].bit_length()
    if id_length > 4 or len(head) <= id_length:
        return None
    size_length = 9 - head[id_length].bit_length()
    if size_length > 8 or len(head) < id_length + size_length:
        return None
    start = at + id_length + size_length
    unknown = (1 << (7 * size_length)) - 1
    value = int.from_bytes(head[id_length : id_length + size_length], "big") & unknown
    return head[:id_length], start, None if value == unknown else start + value
