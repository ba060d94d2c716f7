"""`videopasta submit`: a command as a job of a cluster, followed until it ends."""

import asyncio
import shlex
from collections.abc import Callable, Sequence

from videopasta.errors import UserError

_TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
STOPPED = 143
"""As a shell says of a process that was terminated."""


class Job:
    """A submitted job."""

    def __init__(self, address: str | None, command: Sequence[str], working_dir: str) -> None:
        """Submit `command`.

        Args:
            address: of the dashboard, `http://host:8265`; none: RAY_API_SERVER_ADDRESS or RAY_ADDRESS, else
                http://127.0.0.1:8265.
            command: of the shell on the head, word by word.
            working_dir: local folder that goes along, without what .gitignore and .rayignore name; at most 100 MiB.

        Raises:
            UserError: no Ray answers there, the token is missing or wrong, or the folder is too large.
        """
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        try:
            self._client = JobSubmissionClient(address)
            self.id: str = self._client.submit_job(
                entrypoint=shlex.join(command), runtime_env={"working_dir": working_dir}
            )
        except ConnectionError as error:
            where = address or "http://127.0.0.1:8265"
            raise UserError(
                f"no Ray dashboard at {where}: {error}. Give --address, or open the tunnel to it"
            ) from error
        except AuthenticationError as error:
            raise UserError(
                f"{error}\nGive the cluster's token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH (docs/security.md)."
            ) from error
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the job was not taken: {error}") from error

    def follow(self, tell: Callable[[str], None]) -> int:
        """Pass on what the job says until it ends; its exit code.

        Raises:
            UserError: Ctrl-C, or the log ended before the job; the job goes on.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(self.id):
                tell(text)

        try:
            asyncio.run(tail())
        except KeyboardInterrupt:
            raise UserError(
                f"left {self.id}, which goes on: `ray job logs {self.id} --follow` shows it, "
                f"`ray job stop {self.id}` ends it"
            ) from None
        info = self._client.get_job_info(self.id)
        status = str(info.status.value)
        if status not in _TERMINAL:
            raise UserError(f"the log of {self.id} ended, and it is {status}: ask `ray job status {self.id}`")
        if status == "STOPPED":
            return STOPPED
        if status == "SUCCEEDED":
            return 0
        return int(info.driver_exit_code or 1)
