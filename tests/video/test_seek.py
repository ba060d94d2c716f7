from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from videopasta.video.seek import Packets, plan_segments


@st.composite
def streams(draw: st.DrawFn) -> Packets:
    """Groups of pictures in decode order, some with pictures shown before the keyframe that opens them."""
    pts: list[int] = []
    is_key: list[bool] = []
    shown = 0
    for leading, trailing in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 20)), min_size=1)):
        leading = leading if pts else 0
        group = [shown + leading, *range(shown, shown + leading)]
        trail = draw(st.permutations(range(shown + leading + 1, shown + leading + 1 + trailing)))
        pts += group + trail
        is_key += [True] + [False] * (len(group) + trailing - 1)
        shown += leading + 1 + trailing
    return Packets(np.array(pts), np.arange(len(pts)), np.array(is_key))


@given(streams(), st.data(), st.integers(0, 15))
def test_segments_decode_every_wanted_frame_from_a_keyframe_that_serves(packets, data, worth):
    """Each wanted frame is in one segment, in order, after a keyframe that is not shown later than it."""
    every = sorted(packets.pts.tolist())
    wanted = sorted(data.draw(st.sets(st.sampled_from(every), min_size=1)))
    segments = plan_segments(packets, wanted, worth)
    assert [pts for segment in segments for pts in segment.pts] == wanted
    for segment in segments:
        assert packets.is_key[segment.start]
        for pts in segment.pts:
            position = packets.position(pts)
            assert segment.start <= position <= segment.last
            assert segment.start == 0 or packets.pts[segment.start] <= pts


@given(streams(), st.data(), st.integers(0, 15))
def test_segments_never_decode_a_packet_twice(packets, data, worth):
    """Seeking only ever saves work: segments do not overlap."""
    every = sorted(packets.pts.tolist())
    wanted = sorted(data.draw(st.sets(st.sampled_from(every), min_size=1)))
    segments = plan_segments(packets, wanted, worth)
    for before, after in pairwise(segments):
        assert before.last < after.start


def test_far_frames_are_reached_by_a_seek():
    """Two frames an hour apart cost two groups of pictures, not an hour."""
    times = np.arange(100_000)
    packets = Packets(times, times, times % 250 == 0)
    segments = plan_segments(packets, [10, 90_010])
    assert [(segment.start, segment.last) for segment in segments] == [(0, 10), (90_000, 90_010)]
