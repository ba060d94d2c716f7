"""Temporary folders that name their process: what a killed one left, the next of its kind on the machine removes."""

import os
import shutil
import socket
import tempfile
from functools import cache
from pathlib import Path

import psutil


def prefix(kind: str) -> str:
    """Of the names of this process's temporary folders, for `tempfile`."""
    return f"{_shared_prefix(kind)}{os.getpid()}-"


def sweep(kind: str) -> None:
    """Remove the folders whose process is gone."""
    start = _shared_prefix(kind)
    for path in Path(tempfile.gettempdir()).glob(f"{start}*"):
        pid = path.name.removeprefix(start).partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


@cache
def _shared_prefix(kind: str) -> str:
    """With what makes a process id mean one process: other machines and containers may share the folder."""
    namespace = Path("/proc/self/ns/pid")
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return f"videopasta-{kind}-{socket.gethostname()}-{inode}-"
