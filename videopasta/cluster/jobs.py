"""`videopasta submit`: a command as a job of a cluster, followed until it ends."""

import asyncio
import logging
import os
import shlex
from collections.abc import Callable, Mapping, Sequence

from videopasta.errors import UserError
from videopasta.ray_session import quieten

_SERVER = "RAY_API_SERVER_ADDRESS"
_TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
STOPPED = 143
"""As a shell says of a process that was terminated."""


def dashboard_address(given: str | None, environment: Mapping[str, str]) -> str:
    """What is given, else RAY_API_SERVER_ADDRESS, RAY_ADDRESS, or this machine: a cluster's tunnel, or a head here.

    Ray itself would look for a head among this machine's processes, and not find the tunnel.
    """
    return given or environment.get(_SERVER) or environment.get("RAY_ADDRESS") or "http://127.0.0.1:8265"


class Job:
    """A submitted job."""

    def __init__(self, address: str | None, command: Sequence[str], working_dir: str) -> None:
        """Submit `command`.

        Args:
            address: of the dashboard, as `dashboard_address` takes it.
            command: of the shell on the head, word by word.
            working_dir: local folder that goes along, without what .gitignore and .rayignore name; at most 100 MiB.

        Raises:
            UserError: no Ray answers there, the token is missing or wrong, or the folder is too large.
        """
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        quieten(logging.getLogger("ray"))  # which tells of each file that it leaves out
        self.address = dashboard_address(address, os.environ)
        os.environ[_SERVER] = self.address  # Ray lets its variables win over what it is given
        try:
            self._client = JobSubmissionClient(self.address)
            self.id: str = self._client.submit_job(
                entrypoint=shlex.join(command), runtime_env={"working_dir": working_dir}
            )
        except ConnectionError as error:
            raise UserError(
                f"no Ray dashboard at {self.address}: {error}. Give --address, or open the tunnel to it"
            ) from error
        except AuthenticationError as error:
            raise UserError(
                f"{error}\nGive the cluster's token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH (docs/security.md)."
            ) from error
        except (RuntimeError, ValueError) as error:
            agent = "agent" in str(error)
            fix = "\nA head that was just started needs some seconds; if it stays so, its dashboard_agent.log says why."
            raise UserError(f"the job was not taken: {error}{fix if agent else ''}") from error

    @property
    def hint(self) -> str:
        """How to look at it, and how to end it."""
        log, stop = (f"`ray job {verb} --address {self.address} {self.id}`" for verb in ("logs --follow", "stop"))
        return f"{self.id}: {log} shows it, {stop} ends it"

    def follow(self, tell: Callable[[str], None]) -> int:
        """Pass on what the job says until it ends; its exit code.

        Raises:
            UserError: Ctrl-C, or the connection ended before the job; the job goes on.
        """
        from aiohttp import ClientError

        async def tail() -> None:
            async for text in self._client.tail_job_logs(self.id):
                tell(text)

        try:
            asyncio.run(tail())
            info = self._client.get_job_info(self.id)
        except KeyboardInterrupt:
            raise UserError(f"left the job, which goes on. {self.hint}") from None
        except (ClientError, OSError, RuntimeError) as error:
            raise UserError(f"lost {self.address}, where the job goes on: {error}\n{self.hint}") from error
        status = str(info.status.value)
        if status not in _TERMINAL:
            raise UserError(f"the log of the job ended, and it is {status}. {self.hint}")
        if status == "STOPPED":
            return STOPPED
        if status == "SUCCEEDED":
            return 0
        return int(info.driver_exit_code or 1)
