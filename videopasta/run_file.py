"""run.json of an output folder: what its content depends on, and what was done.

A folder holds the output of one configuration: a second one is refused, with the difference.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock

from videopasta import storage
from videopasta.config import differences
from videopasta.credentials import refuse_credentials
from videopasta.errors import UserError


class RunFile:
    """`run.json` in a folder, local or remote: schema_version, fingerprint, and what its owner adds."""

    def __init__(self, uri: str, schema_version: int) -> None:
        refuse_credentials(uri, "--out")
        self._uri, self._schema_version = uri, schema_version
        self._fs, self._root = storage.resolve(uri)

    def read(self) -> dict[str, Any] | None:
        """Its content, or None where there is none.

        Raises:
            UserError: it is another program's.
        """
        try:
            with self._fs.open_input_stream(f"{self._root}/run.json") as stream:
                run: dict[str, Any] = json.loads(stream.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise UserError(f"{self._uri}/run.json is not ours ({error}); give another folder") from error
        if not isinstance(run, dict) or not {"schema_version", "fingerprint", "runs"} <= run.keys():
            raise UserError(f"{self._uri}/run.json is not ours; give another folder")
        return run

    def check(self, fingerprint: dict[str, Any]) -> bool:
        """Whether there is a run to continue; refuses a folder that may not be written to. Writes nothing.

        Raises:
            UserError: the folder holds another configuration's output, or other files.
        """
        from pyarrow import fs as pafs

        run = self.read()
        if run is None:
            # Hidden: the lock, and what a driver killed before its first run.json leaves.
            found = self._fs.get_file_info(pafs.FileSelector(self._root, allow_not_found=True))
            if any(not info.base_name.startswith(".") for info in found):
                raise UserError(f"--out {self._uri}: not empty and not ours (no run.json); give a new folder")
            return False
        if run["schema_version"] != self._schema_version:
            raise UserError(
                f"--out {self._uri}: written as schema {run['schema_version']}, this is {self._schema_version}; "
                "give a new folder"
            )
        # Through JSON once, so that tuples and lists compare equal.
        changed = list(differences(run["fingerprint"], json.loads(json.dumps(fingerprint))))
        if changed:
            raise UserError(
                f"--out {self._uri} was made with another configuration; mixing the two would make output that "
                "looks alike and is not:\n  " + "\n  ".join(changed) + "\nGive a new folder, or the old configuration."
            )
        return True

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Refuse a second driver on the same local folder. The lock dies with the process, however it dies.

        Raises:
            UserError: another process holds it.
        """
        if not storage.is_local(self._uri):
            yield
            return
        Path(self._root).mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(Path(self._root) / ".lock", timeout=0)
        try:
            with lock:
                yield
        except filelock.Timeout:
            raise UserError(
                f"--out {self._uri}: another run is writing there; wait for it, or give another folder"
            ) from None

    def create(self, fingerprint: dict[str, Any]) -> None:
        """Write the first one."""
        self.write({"schema_version": self._schema_version, "fingerprint": fingerprint, "runs": []})

    def record(self, summary: dict[str, Any]) -> None:
        """Add a run's summary; for the same `run_id`, replace it."""
        run = self.read()
        if run is None:
            raise RuntimeError(f"{self._uri}: run.json is gone; was the folder moved during the run?")
        others = [one for one in run["runs"] if one["run_id"] != summary["run_id"]]
        self.write(run | {"runs": [*others, summary]})

    def write(self, value: dict[str, Any]) -> None:
        """Replace it, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        target = f"{self._root}/run.json"
        local = storage.is_local(self._uri)
        path = f"{self._root}/.run.json.tmp" if local else target
        with writing(target), removed_on_error(path) if local else contextlib.nullcontext():
            self._fs.create_dir(self._root, recursive=True)
            with self._fs.open_output_stream(path) as stream:
                stream.write(json.dumps(value, indent=2, ensure_ascii=False).encode())
            if local:
                publish(path, target)


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Say what to do when `path` cannot be written: a full disk, most often."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written: {error}. What was committed before is whole. Make room, then run the same "
            "command to continue"
        ) from error


@contextlib.contextmanager
def removed_on_error(hidden: str) -> Iterator[None]:
    """Let nothing half-written stay at a local path."""
    try:
        yield
    except OSError:
        Path(hidden).unlink(missing_ok=True)
        raise


def publish(hidden: str, path: str) -> None:
    """Rename a local file, on disk before its name is: a machine that loses power leaves no empty file."""
    with Path(hidden).open("rb") as file:
        os.fsync(file.fileno())
    Path(hidden).replace(path)
