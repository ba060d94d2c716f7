"""What a person sees of a training: its plan, then a live line in a terminal, or a line now and then in a log.

The first worker tells a small actor, the driver asks it: a worker's own prints come with Ray's messages around them.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from rich import progress as rich_progress
from rich.console import Console

from videopasta.dpo.fit import BEST, Plan

LOG_EVERY_S = 30.0
_POLL_S = 0.5
_SHOWN = {
    "loss": "loss", "accuracy": "reward_accuracy", "margin": "reward_margin", "pairs/s": "pairs_per_s",
    "unseen accuracy": BEST,
}  # fmt: skip


class _Board:
    """Holds what is new."""

    def __init__(self) -> None:
        self._news = News()

    def put(self, **news: Any) -> None:
        self._news = replace(self._news, **news)

    def look(self) -> "News":
        return self._news


@dataclass(frozen=True)
class News:
    """What the first worker has told."""

    plan: Plan | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest of each name."""
    failure: str | None = None
    """Why the training cannot go on."""


class Board:
    """A worker's side of it."""

    def __init__(self, run: str) -> None:
        self._metrics: dict[str, float] = {}
        try:
            self._actor: Any = ray.get_actor(_name(run))
        except ValueError:
            self._actor = None  # gone with the driver's node: nobody looks

    def begin(self, plan: Plan) -> None:
        """The training is prepared."""
        self._put(plan=plan)

    def step(self, metrics: Mapping[str, float]) -> None:
        """A step is done."""
        self._metrics |= metrics
        self._put(metrics=self._metrics)

    def tell(self, failure: str) -> None:
        """The training cannot go on."""
        self._put(failure=failure, wait=True)

    def _put(self, *, wait: bool = False, **news: Any) -> None:
        if self._actor is not None:
            told = self._actor.put.remote(**news)
            if wait:
                ray.get(told)


def _name(run: str) -> str:
    return f"videopasta-train-{run}"


class Progress:
    """A context in the driver, while a training runs."""

    def __init__(self, console: Console, run: str) -> None:
        self._console, self._run = console, run
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting workers, looking at videos", total=None)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.news = News()
        self._last_log = 0.0
        self._last_step = -1.0

    def __enter__(self) -> Self:
        board: Any = ray.remote(num_cpus=0)(_Board)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = board.options(name=_name(self._run), scheduling_strategy=here).remote()
        self._bar.start()
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._watcher.join()
        self._show(last=True)
        self._bar.stop()
        ray.kill(self._board)

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_S):
            self._show(last=False)

    def _show(self, *, last: bool) -> None:
        told, self.news = self.news.plan, ray.get(self._board.look.remote())
        plan, metrics = self.news.plan, self.news.metrics
        if plan is None:
            return
        if plan != told:
            self._console.print(_text_of(plan), highlight=False)
            self._bar.update(self._task, total=plan.num_steps)
        if "step" not in metrics:
            return
        line = line_of(metrics)
        self._bar.update(self._task, completed=metrics["step"], description=line)
        due = last or time.monotonic() - self._last_log >= LOG_EVERY_S
        if not self._console.is_terminal and due and metrics["step"] != self._last_step:
            self._last_log, self._last_step = time.monotonic(), metrics["step"]
            self._console.print(f"step {int(metrics['step'])}/{plan.num_steps}  {line}", highlight=False)


def line_of(metrics: Mapping[str, float]) -> str:
    """The newest numbers for people."""
    return "  ".join(f"{text} {metrics[name]:.3f}" for text, name in _SHOWN.items() if name in metrics)


def _text_of(plan: Plan) -> str:
    begins = f"from step {plan.first_step}, " if plan.first_step else ""
    skipped = "".join(f"; {count} left out: {reason}" for reason, count in sorted(plan.skipped.items()))
    total = sum(plan.pairs.values())
    return f"{begins}{plan.num_steps} steps on {total} pairs, {plan.validation_pairs} held out{skipped}"
