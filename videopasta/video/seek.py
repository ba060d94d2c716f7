"""Which parts of a stream to decode for a few frames of it. Pure.

A frame can be decoded from any keyframe at or before it in decode order that is also not shown after it (a
frame shown before the keyframe that precedes it in the stream may lean on the previous group).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A seek empties the decoder's threads and re-reads; decoding on over fewer packets than this is cheaper.
_WORTH_PACKETS = 12


@dataclass(frozen=True, eq=False)
class Packets:
    """A stream's packets in decode order: int64 (P,) times in the stream's time base, bool (P,) flags."""

    pts: np.ndarray
    dts: np.ndarray
    is_key: np.ndarray

    def position(self, pts: int) -> int | None:
        """Place in decode order of the packet with this presentation time."""
        found = np.flatnonzero(self.pts == pts)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True)
class Segment:
    """Decode from packet `start` (0: the stream's first) until the frames `pts` are out."""

    start: int
    pts: tuple[int, ...]
    """Presentation times of the wanted frames, increasing."""
    last: int
    """Place of the last packet needed."""


def plan_segments(packets: Packets, wanted_pts: Sequence[int], worth_packets: int = _WORTH_PACKETS) -> list[Segment]:
    """Segments that together give the wanted frames, in presentation order, each starting at a keyframe.

    Args:
        packets: the stream.
        wanted_pts: presentation times of the wanted frames, increasing; each is that of a packet.
        worth_packets: a seek that saves fewer packets is not worth it.
    """
    order = np.argsort(packets.pts, kind="stable")
    positions = order[np.searchsorted(packets.pts[order], wanted_pts)]
    keys = np.flatnonzero(packets.is_key)
    starts = [_entry(packets, keys, int(position)) for position in positions]
    segments: list[Segment] = []
    # From the back: a group ends where its earliest entry lies worthwhile beyond all packets needed before
    # it.
    needed_before = np.maximum.accumulate(positions)
    end = len(positions)
    entry = len(packets.pts)
    for i in range(len(positions) - 1, -1, -1):
        entry = min(entry, starts[i])
        decoded_until = int(needed_before[i - 1]) if i else -worth_packets
        if i == 0 or entry > decoded_until + worth_packets:
            pts = tuple(int(value) for value in wanted_pts[i:end])
            start = entry if entry > worth_packets else 0
            segments.append(Segment(start, pts, int(positions[i:end].max())))
            end, entry = i, len(packets.pts)
    return segments[::-1]


def _entry(packets: Packets, keys: np.ndarray, position: int) -> int:
    """The latest keyframe from which the packet's frame decodes; 0 when the stream has none before it."""
    for key in keys[: np.searchsorted(keys, position, side="right")][::-1]:
        if packets.pts[key] <= packets.pts[position]:
            return int(key)
    return 0
