"""Sharded checkpoints: what is trained, its optimizer, the number of steps done, and a digest of the pairs.

Nothing else is needed to go on: the order of the pairs and the dropout follow from the seed and the step. Each worker
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
from videopasta.errors import UserError

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

    def start(
        self, video: QwenVideo, optimizer: torch.optim.Optimizer, num_steps: int, pairs: str, folder: Path
    ) -> Future[Any]:
        """Copy the state and begin to write it to `folder`; the previous one is waited for.

        Args:
            video: the policy.
            optimizer: of its trained parameters.
            num_steps: done.
            pairs: 15 hex digits of what is trained on.
            folder: of this worker.

        Returns:
            done when this worker's part is on disk.
        """
        if self._writing is not None:
            self._writing.result()
        state = _state(video, optimizer, num_steps, int(pairs, 16))
        future = dcp.async_save(state, checkpoint_id=folder, process_group=self._group)
        assert isinstance(future, Future)
        self._writing = future
        return future


def _state(video: QwenVideo, optimizer: torch.optim.Optimizer, num_steps: int, pairs: int) -> dict[str, Any]:
    return {
        "model": model_state(video),
        "optimizer": get_optimizer_state_dict(video.language, optimizer, options=_TRAINED),
        "num_steps": torch.tensor(num_steps),
        "pairs": torch.tensor(pairs),
    }


def load(video: QwenVideo, optimizer: torch.optim.Optimizer, pairs: str, folder: Path) -> int:
    """Put the state of a checkpoint into the model and the optimizer.

    Returns:
        the steps done.

    Raises:
        UserError: it is of other pairs: the steps that follow would not be those of one run.
    """
    state = _state(video, optimizer, 0, 0)
    dcp.load(state, checkpoint_id=folder)
    if int(state["pairs"]) != int(pairs, 16):
        raise UserError(
            "the pairs that can be used are not those of the checkpoint: videos have gone, or come back, since. Bring "
            "them back (the summary counts those left out), or train anew into another --out"
        )
    set_optimizer_state_dict(video.language, optimizer, state["optimizer"], options=_TRAINED)
    return int(state["num_steps"])


def load_model(video: QwenVideo, folder: Path) -> None:
    """Put only the trained parameters into a model, in one process."""
    state = {"model": model_state(video)}
    dcp.load(state, checkpoint_id=folder, no_dist=True)
