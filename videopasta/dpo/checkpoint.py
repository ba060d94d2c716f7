"""Sharded checkpoints: what is trained, its optimizer, and the number of steps done.

Nothing else is needed to go on: the order of pairs and the dropout follow from the seed and the step. Each worker
writes its shards into a folder of its own while it trains on; together the folders are one checkpoint, which any
number of workers can read (torch.distributed.checkpoint).
"""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from videopasta.dpo.qwen import QwenVideo

_TRAINED = StateDictOptions(ignore_frozen_params=True)


def model_state(video: QwenVideo) -> dict[str, Any]:
    """The trained parameters by name: the very tensors, sharded where they are."""
    return get_model_state_dict(video.language, options=_TRAINED)


class CheckpointWriter:
    """Writes checkpoints in the background, one at a time."""

    def __init__(self) -> None:
        # Of its own: its messages must not get between those of the training.
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._writing: Future[Any] | None = None

    def start(self, video: QwenVideo, optimizer: torch.optim.Optimizer, num_steps: int, folder: Path) -> Future[Any]:
        """Copy the state and begin to write it to `folder`; the previous one is waited for.

        Returns:
            done when this worker's part is on disk.
        """
        if self._writing is not None:
            self._writing.result()
        state = {
            "model": model_state(video),
            "optimizer": get_optimizer_state_dict(video.language, optimizer, options=_TRAINED),
            "num_steps": torch.tensor(num_steps),
        }
        future = dcp.async_save(state, checkpoint_id=folder, process_group=self._group)
        assert isinstance(future, Future)
        self._writing = future
        return future


def load(video: QwenVideo, optimizer: torch.optim.Optimizer, folder: Path) -> int:
    """Put the state of a checkpoint into the model and the optimizer.

    Returns:
        the steps done.
    """
    state: dict[str, Any] = {
        "model": model_state(video),
        "optimizer": get_optimizer_state_dict(video.language, optimizer, options=_TRAINED),
        "num_steps": torch.tensor(0),
    }
    dcp.load(state, checkpoint_id=folder)
    set_optimizer_state_dict(video.language, optimizer, state["optimizer"], options=_TRAINED)
    return int(state["num_steps"])


def load_model(video: QwenVideo, folder: Path) -> None:
    """Put only the trained parameters into a model, in one process."""
    state = {"model": model_state(video)}
    dcp.load(state, checkpoint_id=folder, no_dist=True)
