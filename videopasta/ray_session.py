"""Ray for the time of a command: the cluster that a job was submitted to, else one made here."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


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


def _quieten(logger: logging.Logger) -> None:
    """Errors only, in a terminal that shows our own progress; Ray's log files keep everything."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
