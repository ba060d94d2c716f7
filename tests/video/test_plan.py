import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.clips import make_clip
from videopasta.config.video import FpsPlan, NativePlan, PixelBudget, UniformPlan, WindowPlan
from videopasta.video import FramePlan, FrameTable, Reason, VideoError, frame_size, make_plan
from videopasta.video.plan import resolve_span, span_frames

even = st.integers(1, 32).map(lambda half: 2 * half)
fps_values = st.sampled_from([5.0, 10.0, 24.0, 25.0, 30.0, 30000 / 1001, 60.0])
any_plan = st.one_of(
    st.builds(UniformPlan, num_frames=even),
    st.builds(FpsPlan, fps=st.floats(0.1, 60), max_frames=even),
    st.builds(NativePlan, max_frames=even),
    st.builds(WindowPlan, num_frames=even, window_s=st.floats(0.2, 30), position=st.floats(0, 1)),
)


def steady(*, num_frames: int, fps: float = 30.0) -> FrameTable:
    return FrameTable(np.arange(num_frames) / fps, num_frames / fps)


@st.composite
def tables(draw: st.DrawFn) -> FrameTable:
    """Any variable rate: gaps of 1 ms to 5 s."""
    gaps_ms = draw(st.lists(st.integers(1, 5000), min_size=2, max_size=200))
    times = np.concatenate([[0], np.cumsum(gaps_ms)]) / 1000
    return FrameTable(times[:-1], float(times[-1]))


def plan_of(config, table: FrameTable, *, start_s=0.0, end_s=None, pixels=None, backend="pyav") -> FramePlan:
    return make_plan(
        config,
        table,
        start_s=start_s,
        end_s=table.duration_s if end_s is None else end_s,
        height=360,
        width=640,
        pixels=pixels or PixelBudget(),
        backend=backend,
    )


@given(st.integers(2, 3000), even, fps_values)
def test_uniform_at_constant_rate_is_linspace(num_frames, wanted, fps):
    """At a constant rate a uniform plan is np.linspace(0, N - 1, n).round(), but for exact ties."""
    indices = np.array(plan_of(UniformPlan(num_frames=wanted), steady(num_frames=num_frames, fps=fps)).indices)
    count = min(wanted, num_frames - num_frames % 2)
    expected = np.linspace(0, num_frames - 1, count).round()
    assert len(indices) == count
    for place in np.flatnonzero(indices != expected):
        twice = 2 * place * (num_frames - 1)
        assert twice % (count - 1) == 0, "a frame differs that is no half way point"
        assert (twice // (count - 1)) % 2 == 1, "a frame differs that is no half way point"
        assert abs(indices[place] - expected[place]) <= 1


@given(any_plan, tables(), st.floats(0, 0.9), st.floats(0.1, 1))
def test_every_plan_is_even_distinct_ordered_and_inside_its_span(config, table, start, length):
    """Whatever the rates: an even number of frames, none twice, in order, in the span, at their true rate."""
    start_s = start * table.duration_s
    end_s = start_s + length * (table.duration_s - start_s)
    span = span_frames(table, start_s, end_s)
    assume(len(span) >= 2)
    try:
        plan = plan_of(config, table, start_s=start_s, end_s=end_s)
    except VideoError as error:
        if isinstance(config, WindowPlan) and error.reason == Reason.TOO_SHORT:
            return  # a window may hold a single frame of a slow video
        raise
    assert plan.num_frames >= 2
    assert plan.num_frames % 2 == 0
    assert all(a < b for a, b in pairwise(plan.indices))
    assert set(plan.indices) <= set(span)
    assert plan.timestamps_s == tuple(table.timestamps_s[list(plan.indices)])
    elapsed_s = plan.timestamps_s[-1] - plan.timestamps_s[0]
    assert plan.sampled_fps == pytest.approx((plan.num_frames - 1) / elapsed_s)


@given(tables(), even)
def test_uniform_takes_the_nearest_frame_in_time(table, wanted):
    """At a variable rate, a frame that is not pushed aside is one nearest to its target."""
    plan = plan_of(UniformPlan(num_frames=wanted), table)
    targets = np.linspace(table.timestamps_s[0], table.timestamps_s[-1], plan.num_frames)
    nearest = [int(np.abs(table.timestamps_s - target).argmin()) for target in targets]
    assume(len(set(nearest)) == len(nearest))
    for index, best, target in zip(plan.indices, nearest, targets, strict=True):
        distance = abs(table.timestamps_s[index] - target)
        assert distance <= abs(table.timestamps_s[best] - target) + 1e-6


@pytest.mark.parametrize(
    ("fps", "seconds", "expected"),
    [
        (1, 10.0, range(0, 300, 30)),
        (1, 9.0, range(0, 240, 30)),  # nine targets: the odd one goes
        (2, 4.0, range(0, 120, 15)),
        (1, 0.9, (0, 26)),  # shorter than one step: first and last
        (0.1, 5.0, (0, 149)),
    ],
)
def test_fps_plan_steps_from_the_start(fps, seconds, expected):
    """Frames at start + i / fps, an even number of them; short clips give their first and last."""
    table = steady(num_frames=round(seconds * 30))
    assert plan_of(FpsPlan(fps=fps), table).indices == tuple(expected)


def test_fps_plan_over_its_cap_is_spread_evenly():
    """A clip longer than max_frames / fps is seen whole, at a lower true rate."""
    plan = plan_of(FpsPlan(fps=1, max_frames=8), steady(num_frames=3000))
    assert plan.indices == plan_of(UniformPlan(num_frames=8), steady(num_frames=3000)).indices
    assert plan.sampled_fps == pytest.approx(7 / (2999 / 30))


def test_native_plan_takes_every_frame():
    """All frames, less an odd last one; over the cap, an even spread."""
    assert plan_of(NativePlan(max_frames=64), steady(num_frames=21)).indices == tuple(range(20))
    assert plan_of(NativePlan(max_frames=4), steady(num_frames=100)).indices == (0, 33, 66, 99)


def test_window_plan_lies_where_its_position_says():
    """Position 0 is the clip's start, 1 its end."""
    table = steady(num_frames=300)
    for position, first, last in ((0, 0, 59), (1, 240, 299)):
        indices = plan_of(WindowPlan(num_frames=4, window_s=2, position=position), table).indices
        assert (indices[0], indices[-1]) == (first, last)


def test_plan_key_names_pixels_and_nothing_else():
    """Equal frames, size and backend: equal keys, however they were asked for. Anything else: another."""
    table = steady(num_frames=64)
    plan = plan_of(UniformPlan(num_frames=64), table)
    assert plan.key == plan_of(NativePlan(max_frames=64), table).key
    assert FramePlan.from_dict(plan.to_dict()) == plan
    small = PixelBudget(max_pixels=128 * 28 * 28)
    others = [
        plan_of(UniformPlan(num_frames=32), table),
        plan_of(UniformPlan(num_frames=64), table, backend="decord"),
        plan_of(UniformPlan(num_frames=64), table, pixels=small),
    ]
    assert len({plan.key, *(other.key for other in others)}) == 4


def test_plan_key_is_stable():
    """Keys are stored in rows: this one may never change."""
    plan = FramePlan((0, 7), (0.0, 0.7), 1 / 0.7, 364, 644, "pyav")
    assert plan.key == "402fd32f93f1cdc5"


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 3), (4, 3), (0, 12), (10, None), (math.nan, 2)])
def test_spans_outside_the_video_are_bad(start, end):
    """Negative, reversed, empty, past the end, not a number: a row problem, never a guess."""
    with pytest.raises(VideoError) as caught:
        resolve_span(start, end, 10.0)
    assert caught.value.reason == Reason.BAD_SPAN


def test_spans_open_ends_and_rounded_ends():
    """No start is the video's start, no end its end; an end rounded up to a second is the video's end."""
    assert resolve_span(None, None, 9.4) == (0.0, 9.4)
    assert resolve_span(2, 10, 9.4) == (2, 9.4)


def test_spans_that_meet_share_no_frame():
    """[0, 5) and [5, 10) split the frames."""
    table = steady(num_frames=300)
    assert [*span_frames(table, 0, 5), *span_frames(table, 5, 10)] == list(range(300))


@given(st.integers(2, 4000), st.integers(2, 4000), even)
def test_frame_sizes_are_patches_within_budget(height, width, num_frames):
    """Sides are multiples of 28; pixels within the frame's share, unless a side is a single patch."""
    assume(max(height, width) <= 200 * min(height, width))
    budget = PixelBudget()
    new_height, new_width = frame_size(height, width, num_frames, budget)
    assert new_height % 28 == new_width % 28 == 0
    if min(new_height, new_width) > 28:
        assert new_height * new_width <= budget.max_pixels


def test_extreme_aspect_is_refused():
    """Over 200 to 1, as qwen-vl-utils refuses it."""
    with pytest.raises(VideoError, match="unsupported_shape"):
        frame_size(4, 1000, 2, PixelBudget())


def test_frame_size_is_qwen_vl_utils(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The size is what qwen-vl-utils' fetch_video gives for the same file, frames and budget."""
    vision = pytest.importorskip("qwen_vl_utils.vision_process")
    pytest.importorskip("decord")
    monkeypatch.setattr(vision, "FORCE_QWENVL_VIDEO_READER", "decord")
    vision.get_video_reader_backend.cache_clear()
    budgets = [
        PixelBudget(),
        PixelBudget(min_pixels=16 * 784, max_pixels=64 * 784),
        PixelBudget(min_pixels=16 * 784, total_pixels=400 * 784),
    ]
    for width, height in ((192, 96), (322, 180), (64, 250)):
        path = str(make_clip(tmp_path / f"{width}.mp4", num_frames=40, width=width, height=height))
        for num_frames in (2, 32):
            for budget in budgets:
                element = {"video": path, "nframes": num_frames} | budget.model_dump(exclude={"factor"})
                theirs = tuple(vision.fetch_video(element).shape[-2:])
                assert frame_size(height, width, num_frames, budget) == theirs
    for height in range(30, 2000, 97):
        for width in range(30, 2000, 89):
            theirs = vision.smart_resize(height, width, 28, 128 * 784, 768 * 784)
            assert frame_size(height, width, 2, PixelBudget()) == theirs
    vision.get_video_reader_backend.cache_clear()
