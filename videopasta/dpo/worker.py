"""A Ray Train worker: `fit` with Ray's dataset, checkpoints and reports around it."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray.train
import torch
from ray.train import Checkpoint, CheckpointUploadMode
from torch.distributed.checkpoint import CheckpointException

from videopasta import scratch
from videopasta.config import TrainConfig
from videopasta.dpo.fit import Plan, Save, fit
from videopasta.dpo.progress import Board
from videopasta.dpo.team import WorkerError
from videopasta.dpo.trackers import Tracker, open_trackers
from videopasta.errors import UserError

_SCRATCH = "checkpoint"


def train_worker(settings: Mapping[str, Any]) -> None:
    """The training function: `settings` are those of `run.train`."""
    config = TrainConfig.model_validate(settings["config"])
    torch.set_num_threads(max(1, int(config.workers.num_cpus)))
    shard = ray.train.get_dataset_shard("pairs")
    rows = [row for batch in shard.iter_batches(batch_format="pyarrow", batch_size=4096) for row in batch.to_pylist()]
    with RayReports(settings["out"], settings["run"], config) as reports:
        try:
            if config.trainer == "trl":
                from videopasta.dpo.trl_trainer import fit_with_trl

                fit_with_trl(rows, config, reports)
            else:
                fit(rows, config, settings["pairs"], reports)
        except WorkerError:
            raise
        except UserError as error:
            # All workers are here for the same reason: trying again would only repeat it.
            reports.fail(str(error))


class RayReports:
    """Reports to Ray Train and, on the first worker, to the trackers and the log."""

    def __init__(self, out: str, run: str, config: TrainConfig) -> None:
        self._out, self._run, self._config = out, run, config
        self._rank = ray.train.get_context().get_world_rank()
        self._stack = ExitStack()
        self._trackers: list[Tracker] = []
        self._board = Board(run)
        self._num_steps = 0

    def __enter__(self) -> "RayReports":
        scratch.sweep(_SCRATCH)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def restored(self) -> Iterator[Path | None]:
        """See `Reports.restored`."""
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            yield Path(folder)

    def fail(self, text: str) -> None:
        """The training cannot go on, and the user is to be told why."""
        if not self._rank:
            self._board.tell(text)

    def begin(self, plan: Plan) -> None:
        """See `Reports.begin`."""
        self._num_steps = plan.num_steps
        if self._rank:
            return
        self._trackers = open_trackers(
            self._out,
            self._run,
            plan.first_step,
            plan.num_steps,
            self._config.tracking,
            self._config.model_dump(mode="json"),
        )
        for tracker in self._trackers:
            self._stack.callback(tracker.close)
        self._board.begin(plan)

    def step(self, metrics: Mapping[str, float], save: Save | None) -> None:
        """See `Reports.step`. Ray Train hears of steps with a checkpoint only: a report takes it up to 2 s."""
        for tracker in self._trackers:
            tracker.log(metrics)
        if not self._rank:
            self._board.step(metrics)
        if save is None:
            return
        for tracker in self._trackers:
            tracker.flush()
        folder = Path(tempfile.mkdtemp(prefix=scratch.prefix(_SCRATCH)))
        writing = save(folder)
        is_last = metrics["step"] == self._num_steps

        def upload(checkpoint: Checkpoint, name: str) -> Checkpoint:
            try:
                writing.result()
                return ray.train.get_context().get_storage().persist_current_checkpoint(checkpoint, name)
            except (OSError, CheckpointException) as error:
                raise WorkerError(
                    f"{name}: cannot be written ({error}); make room in {tempfile.gettempdir()} and in {self._out}, "
                    "and run the same command again"
                ) from error

        ray.train.report(
            dict(metrics),
            checkpoint=Checkpoint.from_directory(folder),
            checkpoint_dir_name=f"step-{int(metrics['step']):06d}",
            # The training is over only when its last checkpoint is stored.
            checkpoint_upload_mode=CheckpointUploadMode.SYNC if is_last else CheckpointUploadMode.ASYNC,
            checkpoint_upload_fn=upload,
            delete_local_checkpoint_after_upload=True,
        )
