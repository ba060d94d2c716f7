"""Shares with 95 % intervals, and differences of shares before and after.

Rows of one clip hang together, so intervals come from a bootstrap over clips (Efron & Tibshirani 1993, ch. 6): whole
clips are drawn with replacement, 1,000 times with a fixed seed, and the percentiles 2.5 and 97.5 taken. A difference is
of the same rows before and after: paired, and so are its draws.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_DRAWS = 1000


@dataclass(frozen=True)
class Share:
    """A part of a whole."""

    value: float
    """NaN when the whole is empty."""
    low: float
    high: float
    """The 95 % interval."""
    count: int
    """Rows in the whole."""

    def __str__(self) -> str:
        return "-" if not self.count else f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] of {self.count}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values: JSON has no NaN."""
        empty = {"value": None, "low": None, "high": None, "count": self.count}
        return empty if math.isnan(self.value) else dict(vars(self))


@dataclass(frozen=True)
class Difference:
    """A share before and after."""

    before: float
    after: float
    change: Share
    """After less before, with its interval."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        counted = self.change.count > 0
        return {
            "before": self.before if counted else None,
            "after": self.after if counted else None,
            "change": self.change.to_dict(),
        }


def share(rows: Iterable[tuple[str, bool]]) -> Share:
    """Of rows with their clips, those that are true."""
    return ratio((clip, float(value), 1.0) for clip, value in rows)


def ratio(rows: Iterable[tuple[str, float, float]]) -> Share:
    """The sum of the second values over the sum of the third; the first names the clip."""
    return _bootstrap(rows)


def difference(rows: Iterable[tuple[str, float, float]]) -> Difference:
    """Of rows with their clips: the mean of the second values, before, against that of the third, after."""
    rows = list(rows)
    change = _bootstrap((clip, after - before, 1.0) for clip, before, after in rows)
    if not rows:
        return Difference(float("nan"), float("nan"), change)
    return Difference(float(np.mean([row[1] for row in rows])), float(np.mean([row[2] for row in rows])), change)


def _bootstrap(rows: Iterable[tuple[str, float, float]]) -> Share:
    sums: dict[str, np.ndarray] = {}
    count = 0
    for clip, top, bottom in rows:
        sums[clip] = sums.get(clip, np.zeros(2)) + np.array([top, bottom])
        count += 1
    per_clip = np.array(list(sums.values())).reshape(-1, 2)
    top, bottom = per_clip.sum(axis=0)
    if not bottom:
        return Share(float("nan"), float("nan"), float("nan"), count)
    drawn = np.random.default_rng(0).integers(0, len(per_clip), (NUM_DRAWS, len(per_clip)))
    tops, bottoms = per_clip[drawn].sum(axis=1).T
    low, high = np.percentile(tops[bottoms > 0] / bottoms[bottoms > 0], (2.5, 97.5))
    return Share(float(top / bottom), float(low), float(high), count)
