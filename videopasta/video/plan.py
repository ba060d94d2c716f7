"""Which frames of a clip a model sees, and at what size. Pure.

In: a plan's configuration, the table of the video's frames, a span in seconds, a pixel budget.
Out: a `FramePlan`, computed once, stored in the row, used unchanged by everything that looks at the clip.

Sampling is by time: the frame nearest to each target, so variable frame rates come out right. At a constant
rate a uniform plan equals ``np.linspace(0, N - 1, n).round()``; a target just between two frames (to 1 µs)
takes the one of even position in the span, as numpy rounds. Every plan has an even number of frames, none
twice, in order. When several targets fall to one frame (a pause in a variable rate), the later ones take the
frames that follow.

Time is the video's own: 0 is its first presented frame. A span holds the frames with start <= time < end.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from videopasta.config.video import FpsPlan, NativePlan, PixelBudget, PlanConfig, UniformPlan, WindowPlan
from videopasta.video.errors import Reason, VideoError

_TIE_S = 1e-6  # finer than any container's clock, coarser than float noise
_SPAN_SLACK_S = 1.0  # data sets round spans to whole seconds
_MAX_ASPECT = 200  # qwen-vl-utils' MAX_RATIO


@dataclass(frozen=True, eq=False)
class FrameTable:
    """When each frame of a video is shown."""

    timestamps_s: np.ndarray
    """float64 (N,), strictly increasing, in presentation order; the first is 0."""
    duration_s: float
    """End of the last frame."""

    @property
    def num_frames(self) -> int:
        return len(self.timestamps_s)


@dataclass(frozen=True)
class FramePlan:
    """The exact frames with which a clip was seen: indices into the video, their times, size and decoder."""

    indices: tuple[int, ...]
    """Presentation indices in the video (not the clip), strictly increasing, an even number of them."""
    timestamps_s: tuple[float, ...]
    """Time of each frame in the video, in seconds."""
    sampled_fps: float
    """The true rate of the sampled frames: (n - 1) / (last - first). Never the requested one."""
    height: int
    """Pixels, after rotation and resize."""
    width: int
    backend: str
    """Decoder: the same file gives slightly different pixels in another one."""

    @property
    def num_frames(self) -> int:
        return len(self.indices)

    @property
    def key(self) -> str:
        """16 hex digits; for one video, equal keys mean equal pixels and the other way round."""
        content = json.dumps([self.indices, self.height, self.width, self.backend], separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON or a pyarrow struct."""
        return asdict(self) | {"indices": list(self.indices), "timestamps_s": list(self.timestamps_s)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "FramePlan":
        """The inverse of `to_dict`."""
        return cls(**{**value, "indices": tuple(value["indices"]), "timestamps_s": tuple(value["timestamps_s"])})


def make_plan(
    config: PlanConfig,
    table: FrameTable,
    *,
    start_s: float,
    end_s: float,
    height: int,
    width: int,
    pixels: PixelBudget,
    backend: str,
) -> FramePlan:
    """The frames that `config` picks from the span [start_s, end_s) of a video.

    Args:
        config: which rule.
        table: the video's frames.
        start_s: the clip's start in seconds of video time.
        end_s: the clip's end in seconds of video time.
        height: the source frame's height in pixels, rotation applied.
        width: the source frame's width in pixels, rotation applied.
        pixels: the size the frames may have.
        backend: name of the decoder, part of the plan's identity.

    Raises:
        VideoError: `too_short` when fewer than 2 frames lie in the span; `unsupported_shape`.
    """
    if isinstance(config, WindowPlan):
        window_s = min(config.window_s, end_s - start_s)
        start_s += config.position * (end_s - start_s - window_s)
        end_s = start_s + window_s
    span = span_frames(table, start_s, end_s)
    if len(span) < 2:
        raise VideoError(
            Reason.TOO_SHORT,
            f"{len(span)} frame(s) between {start_s:.3f} s and {end_s:.3f} s; a plan needs 2",
        )
    times = table.timestamps_s[span.start : span.stop]
    positions = _nearest_distinct(times, _targets(config, times, start_s, end_s))
    indices = tuple(span.start + int(position) for position in positions)
    timestamps_s = tuple(float(table.timestamps_s[index]) for index in indices)
    new_height, new_width = frame_size(height, width, len(indices), pixels)
    return FramePlan(
        indices=indices,
        timestamps_s=timestamps_s,
        sampled_fps=(len(indices) - 1) / (timestamps_s[-1] - timestamps_s[0]),
        height=new_height,
        width=new_width,
        backend=backend,
    )


def span_frames(table: FrameTable, start_s: float, end_s: float) -> range:
    """Indices of the frames with start_s <= time < end_s."""
    first, last = np.searchsorted(table.timestamps_s, (start_s - _TIE_S, end_s - _TIE_S))
    return range(int(first), int(last))


def resolve_span(start_s: float | None, end_s: float | None, duration_s: float) -> tuple[float, float]:
    """The span in seconds, with the open ends filled in.

    An end up to one second past the video's is moved to it, because data sets round their spans.

    Raises:
        VideoError: `bad_span`.
    """
    start, end = (0.0 if start_s is None else start_s), (duration_s if end_s is None else end_s)
    if not (0 <= start < end <= duration_s + _SPAN_SLACK_S and start < duration_s):
        raise VideoError(
            Reason.BAD_SPAN, f"span {start:g} s to {end:g} s does not lie in a video of {duration_s:.3f} s"
        )
    return start, min(end, duration_s)


def frame_size(height: int, width: int, num_frames: int, budget: PixelBudget) -> tuple[int, int]:
    """Height and width to which frames are resized: Qwen2.5-VL's smart resize.

    The arithmetic is qwen-vl-utils 0.0.14 (`smart_resize`, and the budget per frame of `fetch_video`): sides
    are multiples of `factor`, the aspect ratio is kept as far as that allows, and a clip's budget is shared
    by its frame pairs.

    Raises:
        VideoError: `unsupported_shape` when one side is over 200 times the other.
    """
    if max(height, width) > _MAX_ASPECT * min(height, width):
        raise VideoError(Reason.UNSUPPORTED_SHAPE, f"{width}x{height}: one side is over 200 times the other")
    factor = budget.factor
    share = max(budget.total_pixels / num_frames * 2, int(budget.min_pixels * 1.05))
    max_pixels = min(budget.max_pixels, share)
    new_height = max(factor, round(height / factor) * factor)
    new_width = max(factor, round(width / factor) * factor)
    if new_height * new_width > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        # A side under one patch is 0 in qwen-vl-utils, which then fails to resize.
        new_height = max(factor, math.floor(height / shrink / factor) * factor)
        new_width = max(factor, math.floor(width / shrink / factor) * factor)
    elif new_height * new_width < budget.min_pixels:
        grow = math.sqrt(budget.min_pixels / (height * width))
        new_height = math.ceil(height * grow / factor) * factor
        new_width = math.ceil(width * grow / factor) * factor
    return new_height, new_width


def _targets(config: PlanConfig, times: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """Times at which the plan wants a frame: an even number, at most as many as there are frames."""
    available = len(times) - len(times) % 2
    match config:
        case UniformPlan() | WindowPlan():
            return _spread(times, min(config.num_frames, available))
        case NativePlan():
            if len(times) > config.max_frames:
                return _spread(times, config.max_frames)
            return times[:available]
        case FpsPlan():
            # Targets at start + i / fps before the end; an odd one out is dropped; a clip with room for a
            # single target gives its first and last frame.
            count = math.ceil((end_s - start_s) * config.fps - _TIE_S)
            if count > min(config.max_frames, available):
                return _spread(times, min(config.max_frames, available))
            if count < 2:
                return _spread(times, 2)
            return start_s + np.arange(count - count % 2) / config.fps


def _spread(times: np.ndarray, count: int) -> np.ndarray:
    return np.linspace(times[0], times[-1], count)


def _nearest_distinct(times: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Strictly increasing positions in `times`, each nearest to its target as far as distinctness allows."""
    right = np.clip(np.searchsorted(times, targets), 1, len(times) - 1)
    left = right - 1
    excess = (targets - times[left]) - (times[right] - targets)  # positive: nearer to the right
    positions = np.where(np.abs(excess) <= _TIE_S, left + left % 2, np.where(excess > 0, right, left))
    count = len(targets)
    steps = np.arange(count)
    # Strictly increasing p means non-decreasing p - i; the upper bound leaves room for the targets that
    # follow.
    return np.minimum(np.maximum.accumulate(positions - steps), len(times) - count) + steps
