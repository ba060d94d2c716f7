"""Ray for the time of a command: the cluster that a job was submitted to, else one made here."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from videopasta.config import PoolConfig
from videopasta.errors import UserError


@contextmanager
def ray_session(*, dashboard: bool = False, num_cpus: int | None = None) -> Iterator[bool]:
    """Connect to Ray, and leave it in the end.

    Args:
        dashboard: start one with a Ray made here.
        num_cpus: of a Ray made here; default: the machine's.

    Yields:
        whether it was made here. Set `RAY_ADDRESS` (submitted jobs have it) for a cluster.
    """
    import ray
    import ray.data

    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address)
    else:
        _quieten(logging.getLogger("ray.data"))
        ray.init(
            address="local",
            include_dashboard=dashboard,
            log_to_driver=False,
            logging_level=logging.WARNING,
            num_cpus=num_cpus,
        )
    try:
        yield not address
    finally:
        ray.shutdown()


def check_pools(pools: Sequence[PoolConfig], available: Mapping[str, float], described: str) -> None:
    """Whether actor pools at their smallest fit into this machine. A cluster may grow: there Ray waits for nodes.

    Args:
        pools: of a run.
        available: resources, as `ray.cluster_resources` has them.
        described: the pools for people.

    Raises:
        UserError: they do not; says what is needed and the likely fix.
    """
    cpus = sum(pool.min_size * pool.num_cpus for pool in pools)
    gpus = sum(pool.min_size * pool.num_gpus for pool in pools)
    memory_gib = sum(pool.min_size * pool.memory_gib for pool in pools)
    has_cpus, has_gpus = available.get("CPU", 0), available.get("GPU", 0)
    has_memory_gib = available.get("memory", 0) / 2**30
    if cpus > has_cpus or gpus > has_gpus or memory_gib > has_memory_gib:
        raise UserError(
            f"The pools need {cpus:g} CPUs, {gpus:g} GPUs and {memory_gib:.1f} GiB of memory, this machine has "
            f"{has_cpus:g}, {has_gpus:g} and {has_memory_gib:.1f}:\n{described}\n"
            "Use a configuration for this machine (configs/ has some), or a cluster with `ray job submit`."
        )


def pool_text(pool: PoolConfig) -> str:
    """A pool for people."""
    return (
        f"{pool.min_size} to {pool.max_size} actors of {pool.num_cpus:g} CPU and {pool.num_gpus:g} GPU, "
        f"{pool.clips_in_flight} clips each"
    )


def _quieten(logger: logging.Logger) -> None:
    """Errors only, in a terminal that shows our own progress; Ray's log files keep everything."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
