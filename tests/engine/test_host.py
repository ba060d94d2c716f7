"""Engines that die, hang and grow, under a host that is asked as Ray's actors are asked."""

import asyncio
import contextlib
import subprocess
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from videopasta.config import EnginePoolConfig
from videopasta.engine import EngineDead, RequestError
from videopasta.engine.host import MAX_FRUITLESS_STARTS, MAX_STARTS, Attempts, EngineHost


class Left(BaseException):
    """Stands for the end of the process."""


def leave() -> None:
    raise Left


@pytest.fixture
def make_host(monkeypatch):
    """Hosts outside Ray: `Attempts` called in place, and an engine that is only a name; one after the other, as Ray
    starts an actor again.
    """
    context = SimpleNamespace(get_actor_id=lambda: "a1", get_node_id=lambda: "n1")
    started: list[Attempts] = []
    monkeypatch.setattr("ray.get", lambda done: done.result())
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)

    def make(attempts: Attempts, start: Callable[[], object] = lambda: "engine", **pool: float) -> EngineHost:
        context.was_current_actor_reconstructed = attempts in started
        started.append(attempts)
        return EngineHost(start, EnginePoolConfig(**pool), _Handle(attempts), leave=leave)

    return make


class _Handle:
    """`Attempts` as a Ray actor's handle has it."""

    def __init__(self, attempts: Attempts) -> None:
        self._attempts = attempts

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *args, **others: _done(getattr(self._attempts, name)(*args, **others)))


class _done:
    """A result that can be awaited, and got."""

    def __init__(self, value: object) -> None:
        self._value = value

    def result(self) -> object:
        return self._value

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self._value


async def answer(engine: str) -> str:
    await asyncio.sleep(0)
    return f"{engine} said"


async def die(engine: str) -> str:
    raise EngineDead("out of memory")


def test_work_is_done_on_the_engine(make_host):
    """And leaves nothing open."""
    attempts = Attempts()
    assert asyncio.run(make_host(attempts).do("clip", answer)) == "engine said"
    assert attempts.unfinished("clip") == (0, None)


def test_a_clip_that_kills_its_engine_is_given_up(make_host):
    """After `attempts` times, with the engine's last words; asked for again later, it starts from nothing."""
    attempts = Attempts()
    for _ in range(3):
        with pytest.raises(Left):
            asyncio.run(make_host(attempts).do("poison", die))
    with pytest.raises(RequestError, match="3 times") as refused:
        asyncio.run(make_host(attempts).do("poison", die))
    assert (refused.value.reason, "out of memory" in refused.value.detail) == ("engine_died", True)
    assert attempts.unfinished("poison") == (0, None)


def test_neighbours_of_a_poisonous_clip_are_not_given_up(make_host):
    """Killed together once, the clips are tried one by one: only the one at fault dies again."""
    attempts, done = Attempts(), []
    clips = ["a", "poison", "b", "c"]

    async def life(host: EngineHost) -> None:
        """One life of the actor: everything that is not done is in flight, until the process ends."""
        ended = asyncio.Event()

        async def do(clip: str) -> None:
            async def work(engine: str) -> str:
                await asyncio.sleep(0.01)
                if clip == "poison":
                    ended.set()
                    await asyncio.sleep(60)
                await asyncio.sleep(0.01)
                return clip

            try:
                done.append(await host.do(clip, work))
            except RequestError as error:
                done.append(f"{clip} {error.reason}")

        tasks = [asyncio.create_task(do(clip)) for clip in clips if not any(clip in one for one in done)]
        watch = asyncio.create_task(ended.wait())
        await asyncio.wait([watch, asyncio.gather(*tasks)], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()  # as a SIGKILL: nothing is told to `attempts`

    for _ in range(9):
        asyncio.run(life(make_host(attempts)))
    assert sorted(done) == ["a", "b", "c", "poison engine_died"]


def test_poisonous_clips_that_take_turns_are_all_given_up(make_host):
    """Whichever of them comes first after a death, the run goes on: each has all its attempts, the others are done."""
    attempts, done = Attempts(), {}
    waiting = deque(["poison 1", "poison 2", "a", "poison 3", "poison 4", "b"])

    async def life(host: EngineHost) -> None:
        """One life of the actor: it dies with the first of the poisonous clips that gets to its engine."""
        for clip in list(waiting):
            try:
                done[clip] = await host.do(clip, die if "poison" in clip else answer)
            except RequestError as error:
                done[clip] = error.reason
            waiting.remove(clip)

    while waiting:
        with contextlib.suppress(Left):
            asyncio.run(life(make_host(attempts)))
        waiting.rotate(-1)
    poison = {f"poison {number}": "engine_died" for number in range(1, 5)}
    assert done == poison | {"a": "engine said", "b": "engine said"}


def test_an_engine_that_is_late_is_left_and_the_late_clip_given_up_in_the_end(make_host):
    """It may be the engine's fault: a clip has all its attempts. The reason is told as it is."""
    attempts = Attempts()
    for _ in range(3):
        with pytest.raises(Left):
            asyncio.run(make_host(attempts, deadline_s=0.01).do("late", lambda engine: asyncio.sleep(9)))
    with pytest.raises(RequestError, match=r"3 times.*deadline_s=0\.01") as refused:
        asyncio.run(make_host(attempts).do("late", answer))
    assert refused.value.reason == "deadline"


def test_an_engine_over_its_memory_is_left_when_nobody_uses_it(make_host):
    """Not before the clips in flight are done."""
    host = make_host(Attempts(), recycle_above_gib=1000)
    order = []

    async def both() -> None:
        async def slow(engine: str) -> None:
            await asyncio.sleep(0.05)
            order.append("done")

        first = asyncio.create_task(host.do("first", slow))
        await asyncio.sleep(0.01)
        host._pool = EnginePoolConfig(recycle_above_gib=1e-6)
        with pytest.raises(Left):
            await host.do("second", answer)
        order.append("left")
        await first

    asyncio.run(both())
    assert order == ["done", "left"]


def test_an_engine_that_never_gets_to_a_clip_stops_the_run(make_host):
    """Dying at its start, it would be started for ever; one clip that is begun begins the count anew."""
    attempts = Attempts()
    for _ in range(MAX_STARTS):
        host = make_host(attempts)
    with pytest.raises(RuntimeError, match=f"started {MAX_STARTS} times"):
        make_host(attempts)
    asyncio.run(host.do("clip", answer))
    make_host(attempts)


def test_an_engine_that_never_finishes_a_clip_stops_the_run(make_host):
    """Ending under each, it would give up thousands of good ones; one that is finished begins the count anew."""
    attempts, given_up = Attempts(), set()

    def next_life(clip: str) -> None:
        try:
            asyncio.run(make_host(attempts).do(clip, die))
        except Left:
            pass
        except RequestError:
            given_up.add(clip)

    asyncio.run(make_host(attempts).do("good", answer))
    for number in range(MAX_FRUITLESS_STARTS):
        next_life(f"clip {number // 4}")
    with pytest.raises(RuntimeError, match=f"started {MAX_FRUITLESS_STARTS} times .* before it had finished a clip"):
        next_life("another")
    assert len(given_up) < 10


def test_an_engine_over_its_memory_from_its_start_is_a_setting_to_mend(make_host):
    """Else it would be started for ever."""
    with pytest.raises(RuntimeError, match=r"GiB when it is loaded, over recycle_above_gib=1e-06; raise it"):
        make_host(Attempts(), recycle_above_gib=1e-6)


def test_an_engine_that_does_not_start_is_told_at_once_and_borne_later(make_host):
    """The first time it is a mistake in the configuration; after a kill, what the killed one left may be in the way."""

    def fail() -> None:
        raise ValueError("no free memory on the device")

    with pytest.raises(ValueError, match="no free memory"):
        make_host(Attempts(), fail)
    attempts = Attempts()
    asyncio.run(make_host(attempts).do("clip", answer))
    with pytest.raises(Left):
        make_host(attempts, fail)


def test_processes_of_a_killed_actor_are_ended_by_its_successor(make_host):
    """VLLM's own processes outlive it, and hold the GPU."""
    attempts, children = Attempts(), []
    make_host(attempts, lambda: children.append(subprocess.Popen(["sleep", "60"])))
    assert children[0].poll() is None
    make_host(attempts)
    assert children[0].wait(timeout=10) < 0


def test_a_mistake_of_ours_is_no_ones_fault(make_host):
    """It reaches the caller as it is."""

    async def wrong(engine: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(make_host(Attempts()).do("clip", wrong))
