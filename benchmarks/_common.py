"""What every benchmark shares: the machine it ran on, fair timing, one JSON file."""

import argparse
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def arguments(description: str | None, *, timed: bool = True) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: ``--json FILE``, and ``--runs N`` where times are compared."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result here as well")
    if timed:
        parser.add_argument("--runs", type=int, default=5, help="timed runs of each contender (default 5)")
    return parser


def machine() -> dict[str, Any]:
    """Processor, cores, memory, system and versions, and how busy the machine was."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def interleaved_medians_s(
    contenders: Mapping[str, Callable[[], object]],
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
    *more_clocks: Callable[[], float],
) -> dict[str, tuple[float, ...]]:
    """Median seconds of each contender by each clock, after a warm-up; they take turns, so drift hits all."""
    clocks = (clock, *more_clocks)
    for run in contenders.values():
        run()
    times: dict[str, list[tuple[float, ...]]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, run in contenders.items():
            starts = [read() for read in clocks]
            run()
            times[name].append(tuple(read() - start for read, start in zip(clocks, starts, strict=True)))
    return {name: tuple(map(statistics.median, zip(*values, strict=True))) for name, values in times.items()}


def cpu_s(child: int | None = None) -> float:
    """Processor seconds used so far by this process and, where Linux tells, a child of it."""
    own = time.process_time()
    stat = Path(f"/proc/{child}/stat")
    if child is None or not stat.exists():
        return own
    user, system = stat.read_text().rpartition(")")[2].split()[11:13]
    return own + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def geometric_mean(values: Iterable[float]) -> float:
    """The mean for ratios."""
    return math.exp(statistics.fmean(math.log(value) for value in values))


def write_json(path: Path | None, result: Mapping[str, Any]) -> None:
    """Write the result, if asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
