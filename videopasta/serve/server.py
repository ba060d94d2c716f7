"""`videopasta serve`: the application on a Ray, until it is ended."""

import logging
import socket
import threading
from collections.abc import Callable

from videopasta.config import PoolConfig, ServeConfig
from videopasta.config.serve import HttpConfig
from videopasta.engine.models import check_model
from videopasta.errors import UserError
from videopasta.ray_session import check_pools, pool_text, quieten, ray_session
from videopasta.serve.tokens import read_tokens


def describe_pools(config: ServeConfig) -> str:
    """The replicas, a line each kind."""
    lines = [
        f"door: 1 replica of {config.door_cpus:g} CPU, http://{config.http.host}:{config.http.port}",
        f"decode: {config.decode.backend}, {pool_text(config.decode_pool)}",
        f"engine: vllm {config.model.model}, {pool_text(config.model.pool)}",
    ]
    return "\n".join(lines)


def run(config: ServeConfig, tell: Callable[[str], None], *, dashboard: bool = False) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        config: of the service.
        tell: gets the address, once the model answers.
        dashboard: start one with a Ray made here.

    Raises:
        UserError: no token, no such model, the replicas do not fit on this machine or do not start, or the Ray has a
            service already.
    """
    read_tokens(config.auth)
    check_model(config.model.model, config.model.revision)
    with ray_session(dashboard=dashboard) as is_local:
        import ray
        from ray import serve
        from ray.serve.exceptions import RayServeException

        from videopasta.serve.deployments import NAME, build

        if is_local:
            door = PoolConfig(num_cpus=config.door_cpus)
            pools = [door, config.decode_pool, config.model.pool]
            check_pools(pools, ray.cluster_resources(), describe_pools(config))
            _check_free(config.http)
        else:
            _check_serve(config.http, NAME)
        quieten(logging.getLogger("ray.serve"))
        http = {"host": config.http.host, "port": config.http.port}
        serve.start(proxy_location="HeadOnly", http_options=http)
        try:
            serve.run(build(config), name=NAME, route_prefix="/")
            tell(f"http://{config.http.host}:{config.http.port}/v1")
            threading.Event().wait()
        except KeyboardInterrupt:
            return
        except (RuntimeError, RayServeException) as error:
            raise UserError(
                f"the service does not start: {error}. The replicas' logs are in Ray's session folder, serve/"
            ) from error
        finally:
            if is_local:
                serve.shutdown()  # with its controller and proxy alive, the Ray made here would drain for half a minute
            else:
                serve.delete(NAME)


def _check_serve(http: HttpConfig, name: str) -> None:
    """A Ray has one Serve: its address stays, and a second application of a name would replace the first."""
    from ray import serve
    from ray.serve.context import _get_global_client

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return
    there = client.http_config
    end = "`serve shutdown -y` ends it with all its applications"
    if (there.host, there.port) != (http.host, http.port):
        raise UserError(
            f"http.host={http.host} http.port={http.port}: on this Ray, Ray Serve runs at http://{there.host}:"
            f"{there.port}, and stays there. Set http.host={there.host} and http.port={there.port}; or {end}"
        )
    if name in serve.status().applications:
        raise UserError(
            f"on this Ray a service runs at http://{there.host}:{there.port}, and this one would take its place. Stop "
            f"its job first; where it was killed and the service stayed, {end}"
        )


def _check_free(http: HttpConfig) -> None:
    """Before Ray Serve tries, which says it in the log of its proxy alone."""
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        socket.create_server((http.host, http.port), family=family).close()
    except OSError as error:
        raise UserError(f"http.host={http.host} http.port={http.port}: {error.strerror}; set another port") from error
