"""What goes wrong, and when: a seeded plan (pure), and how each fault is done to a run."""

import contextlib
import random
import signal
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from tests.chaos.cluster import LocalCluster


class Kind(StrEnum):
    """Of a fault."""

    DRIVER = "driver"
    """SIGKILL of the driver."""
    DRIVER_TERM = "driver_term"
    """SIGTERM of the driver: `ray job stop`, a machine's notice."""
    WRITER = "writer"
    """SIGKILL of the driver with half of a shard written."""
    DECODER = "decoder"
    """SIGKILL of a decoder process."""
    DECODE_ACTOR = "decode_actor"
    """SIGKILL of the actor that owns it."""
    ENGINE = "engine"
    """SIGKILL of an actor with the query and response engine."""
    JUDGE = "judge"
    """SIGKILL of an actor with the judge's."""
    NODE = "node"
    """SIGKILL of all processes of a node; another one takes its place."""
    NODE_NOTICE = "node_notice"
    """The same after a drain request and a SIGTERM, as clouds take spot machines."""
    DISK_FULL = "disk_full"
    """The disk of the output is full until the run has ended over it."""
    STORE_PRESSURE = "store_pressure"
    """For three seconds somebody else's objects fill most of each node's object store."""


_OF_DECODING = frozenset({Kind.DECODER, Kind.DECODE_ACTOR})
ENDS_THE_DRIVER = {
    Kind.DRIVER: (-signal.SIGKILL,),
    # By the signal itself before it has come as far as Ray, which listens to it.
    Kind.DRIVER_TERM: (128 + signal.SIGTERM, -signal.SIGTERM),
    Kind.WRITER: (-signal.SIGKILL,),
    Kind.DISK_FULL: (2,),
}
"""These do, and then its exit code is one of those."""


@dataclass(frozen=True)
class Fault:
    """One fault of a plan."""

    kind: Kind
    at_shard: int
    """It happens once so many shards are committed ..."""
    delay_s: float
    """... and this much later."""
    choice: int
    """Which of several victims."""


def plan_faults(seed: int, *, num_shards: int, per_run: int = 3) -> list[Fault]:
    """The faults of run `seed`, in order. Kinds take turns, so that a few runs have them all."""
    rng = random.Random(seed)
    kinds = list(Kind)
    chosen = [kinds[(seed * per_run + n) % len(kinds)] for n in range(per_run)]
    # Decoding is nearly done when the first answers are, and a writer's end is decided before its driver starts.
    moments = [(0 if kind in _OF_DECODING else rng.randrange(num_shards - 3), kind) for kind in chosen]
    moments.sort(key=lambda moment: (moment[1] != Kind.WRITER, moment[0]))
    return [Fault(kind, at_shard, rng.uniform(0, 0.5), rng.randrange(100)) for at_shard, kind in moments]


class Victims:
    """One run's driver and the cluster it works on."""

    def __init__(self, cluster: LocalCluster, out: Path) -> None:
        self._cluster, self._out = cluster, out

    def strike(self, fault: Fault, driver: subprocess.Popen[str]) -> bool:
        """Do it; whether there was a victim."""
        match fault.kind:
            case Kind.DRIVER:
                driver.kill()
            case Kind.DRIVER_TERM:
                driver.terminate()
            case Kind.DECODER:
                return self._kill_one(fault, driver, "videopasta.video._child")
            case Kind.DECODE_ACTOR:
                return self._kill_one(fault, driver, "ray::", "DecodeActor")
            case Kind.ENGINE:
                return self._kill_one(fault, driver, "ray::", "EngineActor")
            case Kind.JUDGE:
                return self._kill_one(fault, driver, "ray::", "JudgeActor")
            case Kind.NODE | Kind.NODE_NOTICE:
                self._cluster.kill_node(fault.choice, notice=fault.kind == Kind.NODE_NOTICE)
            case Kind.DISK_FULL:
                fill_disk(self._out)
            case Kind.STORE_PRESSURE:
                self._cluster.press_stores(seconds=3)
            case Kind.WRITER:
                raise AssertionError("the driver does it to itself; see driver.py")
        return True

    def _kill_one(self, fault: Fault, driver: subprocess.Popen[str], *words: str) -> bool:
        """One of the processes with `words` in their command, as soon as there is one."""
        while driver.poll() is None:
            if processes := self._cluster.processes(*words):
                with contextlib.suppress(psutil.NoSuchProcess):
                    processes[fault.choice % len(processes)].kill()
                    return True
            time.sleep(0.05)
        return False


FILLER = "filler"


def fill_disk(out: Path) -> None:
    """Take all that is left of the small disk that `out` lies on."""
    with (out.parent / FILLER).open("ab", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def free_disk(out: Path) -> None:
    """Give it back."""
    (out.parent / FILLER).unlink(missing_ok=True)


def num_shards(out: Path) -> int:
    """Committed so far."""
    return len(list(out.glob("candidates/part-*.parquet")))


def wait_for(fault: Fault, out: Path, driver: subprocess.Popen[str]) -> bool:
    """Until the moment of `fault`; False when the driver ends before."""
    while num_shards(out) < fault.at_shard:
        if driver.poll() is not None:
            return False
        time.sleep(0.02)
    time.sleep(fault.delay_s)
    return driver.poll() is None
