"""Damaged and lying copies of sample files, each from its number alone. Pure: bytes in, bytes out.

*Damage* is what discs, cables and interrupted downloads do: bits flipped, ranges zeroed, overwritten, doubled or gone,
ends cut off, the rest of another file. *Lies* are headers that somebody rewrote: sizes, counts, durations, offsets and
dimensions that are not those of the content.
"""

import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A sound file."""

    name: str
    content: bytes

    @property
    def suffix(self) -> str:
        return "." + self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Mutant:
    """A copy that is not sound, or no longer says what is true."""

    mutator: str
    sample: Sample
    content: bytes

    @property
    def is_damage(self) -> bool:
        """Whether the content lost something, beside what is said of it."""
        return self.mutator in DAMAGE


Change = Callable[[random.Random, Sample, Sequence[Sample]], bytes]


def make_mutant(number: object, samples: Sequence[Sample]) -> Mutant:
    """The mutant of that number: any mutator that fits any of the samples."""
    rng = random.Random(str(number))
    suffixes = {sample.suffix for sample in samples}
    mutators = {**DAMAGE, **LIES}
    name = rng.choice([name for name in mutators if name not in _FITS or suffixes & _FITS[name]])
    sample = rng.choice([one for one in samples if name not in _FITS or one.suffix in _FITS[name]])
    return Mutant(name, sample, mutators[name](rng, sample, samples))


def damage_text(number: object, content: bytes) -> bytes:
    """Some damage to a file of any kind, for lists."""
    rng = random.Random(str(number))
    change = rng.choice([_flip_bits, _zero, _overwrite, _double, _delete, _cut_tail, _cut_head, _odd_words])
    return change(rng, Sample("list.txt", content), ())


def _flip_bits(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    content = bytearray(sample.content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _flip_header_bits(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    """In the part that describes the rest, where each bit counts."""
    content = bytearray(sample.content)
    at = content.find(b"moov")
    first = max(at, 0)
    for _ in range(rng.choice([1, 1, 2, 8])):
        content[rng.randrange(first, min(first + 1500, len(content)))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _range(rng: random.Random, content: bytes) -> tuple[int, int]:
    length = min(len(content), rng.choice([1, 4, 16, 64, 512, 4096, len(content) // 4, len(content) // 2]))
    first = rng.randrange(len(content) - length + 1)
    return first, first + length


def _zero(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    first, end = _range(rng, sample.content)
    return sample.content[:first] + bytes(end - first) + sample.content[end:]


def _overwrite(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    first, end = _range(rng, sample.content)
    return sample.content[:first] + rng.randbytes(end - first) + sample.content[end:]


def _double(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    first, end = _range(rng, sample.content)
    return sample.content[:end] + sample.content[first:]


def _delete(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    first, end = _range(rng, sample.content)
    return sample.content[:first] + sample.content[end:]


def _cut_tail(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    return sample.content[: _place(rng, sample.content)]


def _cut_head(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    return sample.content[_place(rng, sample.content) :]


def _place(rng: random.Random, content: bytes) -> int:
    """Anywhere, the ends more often than the rest."""
    near = min(rng.choice([1, 8, 64, 1024]), len(content) - 1)
    return rng.choice([rng.randrange(1, len(content)), near, len(content) - near])


def _splice(rng: random.Random, sample: Sample, samples: Sequence[Sample]) -> bytes:
    """The head of one, the tail of another of its kind."""
    other = rng.choice([one for one in samples if one.suffix == sample.suffix])
    share = rng.random()
    return sample.content[: int(len(sample.content) * share)] + other.content[int(len(other.content) * share) :]


def _splice_kinds(rng: random.Random, sample: Sample, samples: Sequence[Sample]) -> bytes:
    """The head of one, the tail of another of any kind."""
    other = rng.choice([one for one in samples if one.suffix != sample.suffix])
    return sample.content[: rng.randrange(1, len(sample.content))] + other.content[rng.randrange(len(other.content)) :]


def _odd_words(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    """Words that readers of lists stumble over, in the place of any."""
    odd = (
        b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b'"\\ud800"', b"[" * 20_000, b'{"a":' * 20_000, b"1e999", b"9" * 5000,
        b"nan", b"-inf", b"true", b"null", b"{}", b"[]", b'"', b"'", b",,,,", b"\r", b"file://%", b"s3://", b"://",
        b"file://host/%00", b"x" * 200_000, b"../" * 500, b"1" + b"0" * 400, b"\xef\xbb\xbf", b"\xe2\x80\xa8",
    )  # fmt: skip
    first, end = _range(rng, sample.content[:64])
    return sample.content[:first] + rng.choice(odd) + sample.content[end if rng.random() < 0.5 else first :]


# Boxes that hold boxes (ISO 14496-12).
_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"moof", b"traf", b"mvex", b"udta"}


@dataclass(frozen=True)
class Box:
    """An MP4 box: where its size stands, its name, and where its content lies."""

    at: int
    kind: bytes
    first: int
    end: int


def boxes(content: bytes, first: int = 0, end: int | None = None) -> Iterator[Box]:
    """All boxes of a sound MP4, at any depth."""
    end = len(content) if end is None else end
    while first + 8 <= end:
        size, kind = struct.unpack(">I4s", content[first : first + 8])
        header = 8
        if size == 1:
            size, header = int.from_bytes(content[first + 8 : first + 16], "big"), 16
        if size < header or first + size > end:
            return
        yield Box(first, kind, first + header, first + size)
        if kind in _PARENTS:
            yield from boxes(content, first + header, first + size)
        first += size


def _extreme(rng: random.Random, value: int, num_bytes: int) -> bytes:
    """Another number where `value` stood: the ends of the range, and neighbours, halves and multiples of it."""
    most = (1 << (8 * num_bytes)) - 1
    others = (0, 1, 2, most, most >> 1, (most >> 1) + 1, value + 1, value - 1, value * 2, value // 2, value * 1000,
              rng.randrange(most + 1))  # fmt: skip
    return (rng.choice(others) & most).to_bytes(num_bytes, "big")


def _put(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def _rewrite(rng: random.Random, content: bytes, at: int, num_bytes: int) -> bytes:
    value = int.from_bytes(content[at : at + num_bytes], "big")
    return _put(content, at, _extreme(rng, value, num_bytes))


def _lie_in_boxes(fields: Mapping[bytes, Sequence[tuple[int, int]]]) -> Change:
    """Another number in one of the boxes' fields, given as places in their content and lengths in bytes."""

    def change(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
        content = sample.content
        for _ in range(rng.choice([1, 1, 2])):
            found = [box for box in boxes(content) if box.kind in fields]
            if not found:
                return content
            box = rng.choice(found)
            places = [(at, size) for at, size in fields[box.kind] if box.first + at + size <= box.end]
            if places:
                at, size = rng.choice(places)
                content = _rewrite(rng, content, box.first + at, size)
        return content

    return change


def _lie_in_a_table(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    """Another number in an entry of a sample table."""
    content = sample.content
    tables = [box for box in boxes(content) if box.kind in _TABLES and box.end - box.first >= 12]
    if not tables:
        return content
    box = rng.choice(tables)
    return _rewrite(rng, content, rng.randrange(box.first + 8, box.end - 3, 4), 4)


def _lie_of_box_size(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    """0 means "to the end", 1 "the size follows"."""
    box = rng.choice(list(boxes(sample.content)))
    return _rewrite(rng, sample.content, box.at, 4)


def _bomb(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    """Two thousand million frames in a few bytes: times by one entry of stts, sizes by one number of stsz."""
    content = sample.content
    count = rng.choice([10**6, 2**24, 2**31 - 1, 2**32 - 1])
    for box in boxes(content):
        if box.kind == b"stts":
            content = _put(content, box.first + 4, struct.pack(">II", 1, count))
        elif box.kind == b"stsz":
            content = _put(content, box.first + 4, struct.pack(">II", rng.choice([0, 1, 100]), count))
        elif box.kind == b"stsc" and rng.random() < 0.5:
            content = _put(content, box.first + 12, struct.pack(">I", count))
    return content


def _lie_of_dimensions(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    """In the sample entry, or in the sequence parameters of the codec."""
    content = sample.content
    for kind, at in ((b"avc1", 28), (b"hvc1", 28), (b"hev1", 28), (b"mp4v", 28), (b"jpeg", 28)):
        place = content.find(kind)
        if place >= 0 and rng.random() < 0.5:
            return _put(content, place + at, struct.pack(">HH", *rng.choices([0, 1, 16, 4096, 65535], k=2)))
    place = content.find(b"avcC")
    if place >= 0:
        return _rewrite(rng, content, place + 12 + rng.randrange(12), 1)
    return _rewrite(rng, content, rng.randrange(min(600, len(content))), 1)


_TABLES = {b"stts", b"ctts", b"stsz", b"stco", b"co64", b"stss", b"stsc", b"elst", b"trun"}
_DURATIONS = {
    b"mvhd": ((12, 4), (16, 4)), b"mdhd": ((12, 4), (16, 4)), b"tkhd": ((20, 4),), b"elst": ((8, 4), (12, 4), (16, 4)),
    b"mehd": ((4, 4),),
}  # fmt: skip
_COUNTS = dict.fromkeys(_TABLES, ((4, 4),)) | {b"stsz": ((4, 4), (8, 4))}
_SHAPES = {b"tkhd": ((76, 4), (80, 4), (40, 4), (44, 4), (52, 4))}

# Matroska elements that hold elements (RFC 9559): segment, info, tracks, a track, its video, cluster, block group.
_MASTERS = {
    b"\x18\x53\x80\x67",
    b"\x15\x49\xa9\x66",
    b"\x16\x54\xae\x6b",
    b"\xae",
    b"\xe0",
    b"\x1f\x43\xb6\x75",
    b"\xa0",
}
_ELEMENT_DURATIONS = (b"\x44\x89", b"\x2a\xd7\xb1", b"\x23\xe3\x83", b"\xe7", b"\x9b")
_ELEMENT_SHAPES = (b"\xb0", b"\xba", b"\x54\xb0", b"\x54\xba", b"\x63\xa2")


def elements(content: bytes, first: int = 0, end: int | None = None) -> Iterator[Box]:
    """All elements of a sound Matroska file, at any depth; `at` is where the element's size stands."""
    end = len(content) if end is None else end
    while first + 2 <= end:
        id_length = 9 - content[first].bit_length()
        at = first + id_length
        if id_length > 4 or at >= end:
            return
        size_length = 9 - content[at].bit_length()
        start = at + size_length
        value = int.from_bytes(content[at:start], "big") & ((1 << 7 * size_length) - 1)
        unknown = value == (1 << 7 * size_length) - 1
        stop = end if unknown else start + value
        if size_length > 8 or stop > end:
            return
        kind = content[first:at]
        yield Box(at, kind, start, stop)
        if kind in _MASTERS:
            yield from elements(content, start, stop)
        first = stop


def _lie_in_elements(kinds: Sequence[bytes]) -> Change:
    """Another number as the content of one of the elements."""

    def change(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
        found = [one for one in elements(sample.content) if one.kind in kinds and one.end > one.first]
        if not found:
            return sample.content
        element = rng.choice(found)
        return _rewrite(rng, sample.content, element.first, min(8, element.end - element.first))

    return change


def _lie_of_element_size(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    element = rng.choice(list(elements(sample.content)))
    return _rewrite(rng, sample.content, element.at, min(8, element.first - element.at))


def _lie_in_avi(rng: random.Random, sample: Sample, _: Sequence[Sample]) -> bytes:
    """Frame time, count and size in the main header; scale, rate and length of the stream; chunks; its index."""
    content = sample.content
    kind, places = rng.choice(
        [
            (b"avih", (8, 24, 40, 44)),
            (b"strh", (28, 32, 36, 40, 44, 52)),
            (b"strf", (12, 16)),
            (b"RIFF", (4,)),
            (b"LIST", (4,)),
            (b"movi", (8,)),
            (b"00dc", (4,)),
            (b"idx1", (4, 12, 16, 20, 28)),
        ]
    )
    at = content.find(kind) + rng.choice(places)
    value = int.from_bytes(content[at : at + 4], "little")
    return _put(content, at, _extreme(rng, value, 4)[::-1])


DAMAGE: dict[str, Change] = {
    "flip_bits": _flip_bits,
    "flip_header_bits": _flip_header_bits,
    "zero": _zero,
    "overwrite": _overwrite,
    "double": _double,
    "delete": _delete,
    "cut_tail": _cut_tail,
    "cut_head": _cut_head,
    "splice": _splice,
    "splice_kinds": _splice_kinds,
}
"""What happens to files, by name."""

LIES: dict[str, Change] = {
    "mp4_box_size": _lie_of_box_size,
    "mp4_duration": _lie_in_boxes(_DURATIONS),
    "mp4_count": _lie_in_boxes(_COUNTS),
    "mp4_table": _lie_in_a_table,
    "mp4_shape": _lie_in_boxes(_SHAPES),
    "mp4_dimensions": _lie_of_dimensions,
    "mp4_bomb": _bomb,
    "mkv_size": _lie_of_element_size,
    "mkv_duration": _lie_in_elements(_ELEMENT_DURATIONS),
    "mkv_dimensions": _lie_in_elements(_ELEMENT_SHAPES),
    "avi_header": _lie_in_avi,
}
"""What somebody does to them."""

_FITS = {
    **{name: {".mp4", ".mov"} for name in LIES if name.startswith("mp4")},
    **{name: {".mkv", ".webm"} for name in LIES if name.startswith("mkv")},
    "avi_header": {".avi"},
}
