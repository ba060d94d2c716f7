"""Ray for the time of a command: the cluster that a job was submitted to, else one made here.

One made here listens on 127.0.0.1 alone, and answers to a token that is made for this process. A cluster keeps its own
rules; one that answers without a token is told of.
"""

import contextlib
import json
import logging
import os
import re
import secrets
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console

from videopasta.config import PoolConfig
from videopasta.errors import UserError

_LAST_WORDS = re.compile(
    r"^videopasta\.errors\.UserError: (.+?)\s*(?:\Z|\n\nThe above exception was the direct cause)",
    re.DOTALL | re.MULTILINE,
)
"""Of a traceback, the error for people that it ends in, or that another was made of."""


@contextlib.contextmanager
def ray_session(*, dashboard: bool = False, num_cpus: int | None = None) -> Iterator[bool]:
    """Connect to Ray, and leave it in the end.

    Args:
        dashboard: start one with a Ray made here; says where it is, and where its token.
        num_cpus: of a Ray made here; default: the machine's.

    Yields:
        whether it was made here. Set `RAY_ADDRESS` (submitted jobs have it) for a cluster.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        close_to_others()
    import ray
    import ray.data

    if address:
        context = ray.init(address=address)
        if _is_open(context.dashboard_url):
            logging.getLogger(__name__).warning(
                "The Ray at %s answers without a token: whoever reaches it can run code there and read what is there. "
                "Start its nodes with RAY_AUTH_MODE=token (docs/security.md).",
                address,
            )
    else:
        quieten(logging.getLogger("ray.data"))
        context = ray.init(
            address="local",
            include_dashboard=dashboard,
            log_to_driver=False,
            logging_level=logging.WARNING,
            num_cpus=num_cpus,
        )
    try:
        with _token_file() if dashboard and not address else contextlib.nullcontext() as token_file:
            if token_file:
                words = f"Dashboard: http://{context.dashboard_url}, its token: {token_file}"
                Console(stderr=True).print(words, highlight=False, markup=False, soft_wrap=True)
            yield not address
    finally:
        ray.shutdown()


def close_to_others() -> None:
    """Let a Ray that is started in this process listen on loopback alone, and ask for a token.

    What is set stays: threads of a Ray that was left read the token once more, and a later one takes it over.
    """
    # By its name for other systems. On Linux Ray else puts the network's address in the place of 127.0.0.1, and then
    # listens on all of them.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    # For the processes of that Ray the environment is enough; this one may have imported it before.
    ray_constants.ENABLE_RAY_CLUSTER = False
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _token_file() -> Iterator[str]:
    """The token of a Ray made here, for its dashboard, in a file that only this user can read."""
    with tempfile.NamedTemporaryFile("w", prefix="videopasta-ray-token-") as file:
        file.write(os.environ["RAY_AUTH_TOKEN"])
        file.flush()
        yield file.name


def _is_open(dashboard_url: str | None) -> bool:
    """Whether a cluster answers without a token: by its word, else because we came in without one."""
    url = dashboard_url if dashboard_url and "://" in dashboard_url else f"http://{dashboard_url}"
    try:
        with urllib.request.urlopen(f"{url}/api/authentication_mode", timeout=5) as answer:
            return bool(json.load(answer)["authentication_mode"] == "disabled")
    except (OSError, ValueError, KeyError):
        return os.environ.get("RAY_AUTH_MODE", "").lower() != "token"


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
    for name in sorted({name for pool in pools for name in pool.resources}):
        needed = sum(pool.min_size * pool.resources.get(name, 0) for pool in pools)
        if needed > available.get(name, 0):
            raise UserError(
                f"The pools need {needed:g} of the custom resource {name!r}, this machine has "
                f"{available.get(name, 0):g}:\n{described}\n"
                "Custom resources pin pools to a cluster's node groups: leave `resources` out on one machine."
            )


def user_error_in(error: BaseException | None) -> UserError | None:
    """The error for people at the bottom of Ray's wrappings; None where a user can mend nothing."""
    from ray.exceptions import RayError

    while error is not None:
        # Of what an actor raised, often the text of the traceback is all that comes.
        if isinstance(error, RayError) and (said := _LAST_WORDS.search(str(error))):
            return UserError(said[1])
        if isinstance(error, UserError):
            return error
        inner = (getattr(error, name, None) for name in ("base_exc", "_base_exc", "__cause__"))
        error = next((one for one in inner if isinstance(one, BaseException)), None)
    return None


def pool_text(pool: PoolConfig) -> str:
    """A pool for people."""
    custom = "".join(f" and {amount:g} {name}" for name, amount in pool.resources.items())
    return (
        f"{pool.min_size} to {pool.max_size} actors of {pool.num_cpus:g} CPU and {pool.num_gpus:g} GPU{custom}, "
        f"{pool.clips_in_flight} clips each"
    )


def quieten(logger: logging.Logger) -> None:
    """Errors only, in a terminal that shows our own progress; Ray's log files keep everything."""
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)
