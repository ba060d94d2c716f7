"""Ray Train's list of checkpoints, kept twice.

Ray writes `checkpoint_manager_snapshot.json` in place after each checkpoint, and only then deletes what the list names
no more. A kill in the middle of that write leaves half a file, with which no training starts again: then the list
before it is the one that counts, and all that it names is still there.
"""

import json
from typing import Any

import pyarrow.fs as pafs
from ray.train import UserCallback

_NAME = "checkpoint_manager_snapshot.json"
_KEPT = f"{_NAME}.kept"


class KeepSnapshot(UserCallback):
    """Keeps the list after each checkpoint, in Ray's controller."""

    def __init__(self, filesystem: pafs.FileSystem, folder: str) -> None:
        self._filesystem, self._folder = filesystem, folder

    def after_report(self, run_context: Any, metrics: Any, checkpoint: Any) -> None:
        """See Ray, which has written the list by then."""
        if checkpoint is not None:
            mend_snapshot(self._filesystem, self._folder)


def mend_snapshot(filesystem: pafs.FileSystem, folder: str) -> None:
    """Keep the list where it is whole; else put the kept one in its place. Without one, a training begins anew.

    Args:
        filesystem: of `folder`.
        folder: of the checkpoints.
    """
    name, kept, passing = (f"{folder}/{one}" for one in (_NAME, _KEPT, f".{_NAME}.tmp"))
    if _is_file(filesystem, name):
        if _is_whole(filesystem, name):
            filesystem.copy_file(name, passing)
            filesystem.move(passing, kept)
        elif _is_file(filesystem, kept):
            filesystem.copy_file(kept, passing)
            filesystem.move(passing, name)
        else:
            filesystem.delete_file(name)


def _is_file(filesystem: pafs.FileSystem, path: str) -> bool:
    return filesystem.get_file_info([path])[0].type == pafs.FileType.File


def _is_whole(filesystem: pafs.FileSystem, path: str) -> bool:
    with filesystem.open_input_stream(path) as stream:
        try:
            return isinstance(json.loads(stream.read()), dict)
        except ValueError:
            return False
