"""Temporary folders that name their process: what a killed one left, the next of its kind on the machine removes."""

import os
import shutil
import tempfile
from pathlib import Path

import psutil


def prefix(kind: str) -> str:
    """Of the names of this process's temporary folders, for `tempfile`."""
    return f"videopasta-{kind}-{os.getpid()}-"


def sweep(kind: str) -> None:
    """Remove the folders whose process is gone."""
    for path in Path(tempfile.gettempdir()).glob(f"videopasta-{kind}-*"):
        pid = path.name.removeprefix(f"videopasta-{kind}-").partition("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)
