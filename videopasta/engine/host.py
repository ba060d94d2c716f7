"""One engine in one actor, and what happens when it dies, hangs or grows.

An engine that dies takes its actor with it; Ray starts both again and gives the clips that were in flight back. One
that is late with a clip is ended for it: it may never answer again. Who of the clips was at fault is found out by doing
each of them alone: one under which the engine ends `attempts` times is given up with a reason, its neighbours are not.
An engine that holds more memory than it may is ended as soon as nobody uses it.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import psutil

from videopasta.config.models import EnginePoolConfig
from videopasta.engine.protocol import Engine, EngineDead, RequestError
from videopasta.telemetry import Meter, Metric, sample

METRICS = (
    Metric("counter", "videopasta_engine_starts", "Engines started; again: in the place of one that ended", ("again",)),
    Metric("gauge", "videopasta_engine_clips_in_flight", "Clips that an engine works on"),
    Metric("gauge", "videopasta_engine_memory_bytes", "Memory that an engine's processes hold for themselves"),
)
T = TypeVar("T")
MAX_STARTS = 5
"""An engine that ended so often before it had begun one clip is no clip's fault."""
MAX_FRUITLESS_STARTS = 20
"""An engine that ended so often before it had finished one clip will end under all others, too. With `attempts=3` ten
poisonous clips, and no good one, would have to be in flight together to end it so often."""


class Process(NamedTuple):
    """One process, for good: ids are used again."""

    node: str
    pid: int
    created_at: float


class Attempts:
    """What was begun and not ended, by key: each time, an engine ended under it. One for all actors of a run."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._last_words: dict[str, tuple[str, str]] = {}
        self._processes: dict[str, Sequence[Process]] = {}

    def begin(self, key: str, *, ends: str | None = None) -> int:
        """Note that it begins now, by which `ends` came to an end; how often it had begun before without an end."""
        if ends is not None:
            self.end(ends)
        self._open[key] += 1
        return self._open[key] - 1

    def unfinished(self, key: str) -> tuple[int, tuple[str, str] | None]:
        """How often it has begun without coming to an end; reason and detail of the last time, where one was told."""
        return self._open[key], self._last_words.get(key)

    def failed(self, key: str, reason: str, detail: str) -> None:
        """Note why the engine is ended under it."""
        self._last_words[key] = reason, detail

    def end(self, *keys: str) -> None:
        """Note that they came to an end, well or with a reason."""
        for key in keys:
            self._open.pop(key, None)
            self._last_words.pop(key, None)

    def runs_on(self, key: str, processes: Sequence[Process]) -> None:
        """Note the processes of an engine beside its actor's own."""
        self._processes[key] = processes

    def left_behind(self, key: str) -> Sequence[Process]:
        """The processes that were noted last."""
        return self._processes.get(key, ())


def start_attempts() -> Any:
    """An `Attempts` as a Ray actor beside the driver; it ends with the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Attempts).options(num_cpus=0, scheduling_strategy=here).remote()


class EngineHost:
    """The engine of a Ray actor; made in the actor's constructor."""

    def __init__(
        self,
        start: Callable[[], Engine],
        pool: EnginePoolConfig,
        attempts: Any,
        *,
        labels: Mapping[str, str] | None = None,
        leave: Callable[[], None] | None = None,
    ) -> None:
        """Start the engine.

        Args:
            start: makes it.
            pool: its limits.
            attempts: from `start_attempts`.
            labels: `run` and `roles`, of its metrics; none: it shows none.
            leave: ends this process, so that Ray starts the actor anew.

        Raises:
            RuntimeError: it was started `MAX_STARTS` times and ended each time before it had begun a clip, or
            `MAX_FRUITLESS_STARTS` times before it had finished one, or it is over `recycle_above_gib` from its start.
            Exception: what `start` raises the first time. Later it may be what a killed predecessor left: tried again.
        """
        import ray

        self._pool, self._attempts, self._leave = pool, attempts, leave or _end_process
        context = ray.get_runtime_context()
        self._start_key = f"start {context.get_actor_id()}"
        self._fruitless_key = f"fruitless {context.get_actor_id()}"
        limits = {self._start_key: (MAX_STARTS, "begun"), self._fruitless_key: (MAX_FRUITLESS_STARTS, "finished")}
        for key, (most, done) in limits.items():
            num_starts = ray.get(attempts.begin.remote(key))
            if num_starts >= most:
                raise RuntimeError(
                    f"the engine was started {num_starts} times and ended each time before it had {done} a clip; its "
                    "log in Ray's folder says why. Often it is memory: give the pool more, or lower clips_in_flight"
                )
        _kill(ray.get(attempts.left_behind.remote(self._start_key)), context.get_node_id())
        try:
            self.engine = start()
        except Exception:
            if context.was_current_actor_reconstructed:
                logging.getLogger(__name__).exception("the engine does not start again")
                self._leave()
            raise
        ray.get(attempts.runs_on.remote(self._start_key, _children(context.get_node_id())))
        if self._is_too_large():
            raise RuntimeError(
                f"the engine holds {_memory_gib():.1f} GiB when it is loaded, over recycle_above_gib="
                f"{pool.recycle_above_gib:g}; raise it"
            )
        self._turns = _Turns()
        if labels is not None:
            meter = Meter(METRICS, labels)
            again = str(context.was_current_actor_reconstructed).lower()
            meter.add(sample("videopasta_engine_starts", again=again))
            meter.watch("videopasta_engine_clips_in_flight", lambda: float(self._turns.num_held))
            meter.watch("videopasta_engine_memory_bytes", lambda: _memory_gib() * 2**30)

    async def do(self, key: str, work: Callable[[Engine], Awaitable[T]]) -> T:
        """The result of `work`, which asks the engine about the clip that `key` stands for.

        Raises:
            RequestError: `engine_died` or `deadline`; and what `work` raises.
        """
        times, words = await self._attempts.unfinished.remote(key)
        if times >= self._pool.attempts:
            await self._attempts.end.remote(key)
            reason, detail = words or ("engine_died", "without a word")
            raise RequestError(reason, f"{times} times, at last while the engine worked on this clip alone: {detail}")
        if self._is_too_large():
            async with self._turns.turn(alone=True):
                self._leave()
        async with self._turns.turn(alone=times > 0):
            # With it the start is over: if the engine ends now, this clip and those beside it are charged with it.
            await self._attempts.begin.remote(key, ends=self._start_key)
            try:
                async with asyncio.timeout(self._pool.deadline_s) as limit:
                    result = await work(self.engine)
            except TimeoutError:
                if not limit.expired():
                    raise
                detail = f"not finished in deadline_s={self._pool.deadline_s:g} s"
                await self._attempts.failed.remote(key, "deadline", detail)
                self._leave()
                raise
            except EngineDead as error:
                await self._attempts.failed.remote(key, "engine_died", str(error))
                self._leave()
                raise
            except RequestError:
                await self._attempts.end.remote(key, self._fruitless_key)
                raise
        await self._attempts.end.remote(key, self._fruitless_key)
        return result

    def _is_too_large(self) -> bool:
        limit_gib = self._pool.recycle_above_gib
        return limit_gib is not None and _memory_gib() > limit_gib


class _Turns:
    """Many at a time, or one alone; who wants to be alone goes first."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._num_together = self._num_waiting_alone = 0
        self._is_alone = False

    @property
    def num_held(self) -> int:
        """How many hold a turn now."""
        return self._num_together + self._is_alone

    @asynccontextmanager
    async def turn(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait for a turn, and hold it."""
        async with self._changed:
            if alone:
                self._num_waiting_alone += 1
                try:
                    await self._changed.wait_for(lambda: not self._is_alone and not self._num_together)
                finally:
                    self._num_waiting_alone -= 1
                self._is_alone = True
            else:
                await self._changed.wait_for(lambda: not self._is_alone and not self._num_waiting_alone)
                self._num_together += 1
        try:
            yield
        finally:
            async with self._changed:
                if alone:
                    self._is_alone = False
                else:
                    self._num_together -= 1
                self._changed.notify_all()


def _memory_gib() -> float:
    """What this process and those below hold for themselves: not the frames in Ray's shared memory."""
    total, this = 0, psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)  # Linux tells
    return total / 2**30


def _children(node: str) -> list[Process]:
    """The processes below this one."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(Process(node, child.pid, child.create_time()))
    return found


def _kill(processes: Sequence[Process], node: str) -> None:
    """End those that are still there: vLLM's own processes outlive a killed actor, and hold the GPU."""
    for one in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(one.pid)
            if one.node == node and process.create_time() == one.created_at:
                process.kill()


def _end_process() -> None:
    """Without a farewell: a call that Ray sees fail with its actor is made again, one that raises is an error."""
    try:
        _kill(_children(""), "")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(1)
