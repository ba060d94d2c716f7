"""One engine in one actor, and what happens when it dies, hangs or grows.

An engine that dies takes its actor with it; Ray starts both again and gives the clips that were in flight back. Who of
them was at fault is found out by doing each of them alone: a clip that ends its engine `attempts` times is given up
with a reason, its neighbours are not. An engine that let a deadline pass, or holds more memory than it may, is left as
soon as nobody uses it, and started anew.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psutil

from videopasta.config.models import EnginePoolConfig
from videopasta.engine.protocol import Engine, EngineDead, RequestError

T = TypeVar("T")
MAX_STARTS = 5
"""An engine that was started so often without finishing one clip is no clip's fault."""


class Attempts:
    """What was begun and not ended, by key: each time, an engine ended under it. One for all actors of a run."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()
        self._last_words: dict[str, str] = {}

    def begin(self, key: str) -> int:
        """Note that it begins now; how often it had begun before without coming to an end."""
        self._open[key] += 1
        return self._open[key] - 1

    def unfinished(self, key: str) -> tuple[int, str]:
        """How often it has begun without coming to an end, and the last words of an engine about it."""
        return self._open[key], self._last_words.get(key, "")

    def failed(self, key: str, words: str) -> None:
        """Note what the engine said before it went."""
        self._last_words[key] = words

    def end(self, *keys: str) -> None:
        """Note that they came to an end, well or with a reason."""
        for key in keys:
            self._open.pop(key, None)
            self._last_words.pop(key, None)


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
        leave: Callable[[], None] | None = None,
    ) -> None:
        """Start the engine.

        Args:
            start: makes it.
            pool: its limits.
            attempts: from `start_attempts`.
            leave: ends this process, so that Ray starts the actor anew.

        Raises:
            RuntimeError: it was started `MAX_STARTS` times and died each time before it had finished a clip.
        """
        import ray

        self._pool, self._attempts, self._leave = pool, attempts, leave or _end_process
        self._start_key = f"start {ray.get_runtime_context().get_actor_id()}"
        num_starts = ray.get(attempts.begin.remote(self._start_key))
        if num_starts >= MAX_STARTS:
            raise RuntimeError(
                f"the engine was started {num_starts} times and died each time before it had finished a clip; its log "
                "in Ray's folder says why. Often it is memory: give the pool more, or lower clips_in_flight"
            )
        self.engine = start()
        self._turns = _Turns()
        self._hung = False

    async def do(self, key: str, work: Callable[[Engine], Awaitable[T]]) -> T:
        """The result of `work`, which asks the engine about the clip `key`.

        Raises:
            RequestError: `engine_died` or `deadline`; and what `work` raises.
        """
        times, words = await self._attempts.unfinished.remote(key)
        if times >= self._pool.attempts:
            await self._attempts.end.remote(key, self._start_key)
            detail = f"its engine ended {times} times while it worked on this clip, at last on this one alone"
            raise RequestError("engine_died", f"{detail}: {words}" if words else detail)
        if self._hung or self._is_too_large():
            async with self._turns.turn(alone=True):
                self._leave()
        async with self._turns.turn(alone=times > 0):
            await self._attempts.begin.remote(key)
            try:
                async with asyncio.timeout(self._pool.deadline_s) as limit:
                    result = await work(self.engine)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                self._hung = True  # it may never answer again: not to be found out on the next clip
                await self._attempts.end.remote(key)
                raise RequestError("deadline", f"not finished in deadline_s={self._pool.deadline_s:g} s") from error
            except EngineDead as error:
                await self._attempts.failed.remote(key, str(error))
                self._leave()
                raise
            except RequestError:
                await self._attempts.end.remote(key, self._start_key)
                raise
        await self._attempts.end.remote(key, self._start_key)
        return result

    def _is_too_large(self) -> bool:
        limit_gib = self._pool.recycle_above_gib
        if limit_gib is None:
            return False
        this = psutil.Process()
        return sum(one.memory_info().rss for one in (this, *this.children(recursive=True))) > limit_gib * 2**30


class _Turns:
    """Many at a time, or one alone; who wants to be alone goes first."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._num_together = self._num_waiting_alone = 0
        self._is_alone = False

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


def _end_process() -> None:
    """Without a farewell: a call that Ray sees fail with its actor is made again, one that raises is an error."""
    for child in psutil.Process().children(recursive=True):  # vLLM's own processes hold the GPU
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
