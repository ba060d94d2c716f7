"""Metrics of one process by `ray.util.metrics`: on each node's Prometheus endpoint they are called `ray_NAME`.

What Ray 2.60 does with them shapes this module:

    gauge      sent once, and forgotten by the node's agent 20 s later: each is set again every `HEARTBEAT_S`
    counter    sent as a difference, added up by the agent, gains `_total`, and stays when its process is gone; its
               first value is no increase for Prometheus, so totals are read as they stand
    histogram  `_sum` is made of the middles of the buckets, `_bucket` and `_count` are exact: averages come from a
               counter of seconds

Where no agent runs (a local Ray without a dashboard), values go nowhere, at the same price.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

HEARTBEAT_S = 4.0
"""Ray sends every 10 s."""


@dataclass(frozen=True)
class Metric:
    """One metric, declared where it is measured."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    text: str
    labels: tuple[str, ...] = ()
    """Beside those of the meter. Each of their values is a time series: few, and never a clip or a query."""
    boundaries: tuple[float, ...] = ()
    """Upper ends of a histogram's buckets."""

    @property
    def exported(self) -> tuple[str, ...]:
        """Names in Prometheus."""
        if self.kind == "histogram":
            return tuple(f"ray_{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}",)


@dataclass(frozen=True)
class Sample:
    """A value of a counter or histogram."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...] = ()


def sample(name: str, value: float = 1.0, **labels: str) -> Sample:
    """A `Sample`, written shortly."""
    return Sample(name, value, tuple(labels.items()))


class Pace:
    """How long the rest will take, by the last clips or steps. Pure: the time is given."""

    def __init__(self, window: int = 100) -> None:
        self._done_at: deque[float] = deque(maxlen=window)
        self.left = 0

    def progress(self, left: int, now: float) -> None:
        """So many are not done."""
        if left < self.left:
            self._done_at.append(now)
        self.left = left

    def eta_s(self, now: float) -> float | None:
        """Seconds; it grows while nothing is done. None: fewer than two are, so nothing is known of the pace."""
        if not self.left:
            return 0.0
        if len(self._done_at) < 2:
            return None
        return (now - self._done_at[0]) / (len(self._done_at) - 1) * self.left


class Meter:
    """Declared metrics, with labels that are the same for all of them. Ray is connected."""

    def __init__(self, metrics: Sequence[Metric], labels: Mapping[str, str]) -> None:
        from ray.util import metrics as ray_metrics

        self._metrics: dict[str, Any] = {}
        for one in metrics:
            keys = (*labels, *one.labels)
            if one.kind == "histogram":
                made: Any = ray_metrics.Histogram(one.name, one.text, list(one.boundaries), keys)
            elif one.kind == "counter":
                made = ray_metrics.Counter(one.name, one.text, keys)
            else:
                made = ray_metrics.Gauge(one.name, one.text, keys)
            self._metrics[one.name] = made.set_default_tags(dict(labels))
        self._gauges: dict[Sample, Callable[[], float | None]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="telemetry", daemon=True)
        self._heart.start()

    def add(self, one: Sample) -> None:
        """Count it; Ray knows no zero."""
        metric = self._metrics[one.name]
        if hasattr(metric, "observe"):
            metric.observe(one.value, dict(one.labels))
        elif one.value:
            metric.inc(one.value, dict(one.labels))

    def set(self, name: str, value: float, **labels: str) -> None:
        """A gauge's value, from now on."""
        self.watch(name, lambda: value, **labels)

    def watch(self, name: str, read: Callable[[], float | None], **labels: str) -> None:
        """A gauge that is read at each heartbeat; None: not known now."""
        key = sample(name, 0.0, **labels)
        with self._lock:
            self._gauges[key] = read
            self._send(key, read)

    def close(self) -> None:
        """Set each gauge for the last time: Ray sends what it has when it is left."""
        self._ended.set()
        self._heart.join()

    def _beat(self) -> None:
        goes_on = True
        while goes_on:
            goes_on = not self._ended.wait(HEARTBEAT_S)
            with self._lock:
                for key, read in self._gauges.items():
                    self._send(key, read)

    def _send(self, key: Sample, read: Callable[[], float | None]) -> None:
        self._metrics[key.name].set(read(), dict(key.labels))  # Ray passes over None
