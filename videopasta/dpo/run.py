"""One training from the command's point of view: check, run on Ray Train, export the best, draw the curves.

    OUT/run.json      configuration, versions, what each run did
    OUT/metrics.csv   a row a step           OUT/curves.png   drawn from it
    OUT/checkpoints/  Ray Train's folder     OUT/model/       the best checkpoint, for transformers and vLLM

The same command goes on where an earlier one stopped, however it stopped.
"""

import importlib.metadata
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
from rich.console import Console

from videopasta import storage
from videopasta.cluster.usage import UsageMeter
from videopasta.config import TrainConfig, fingerprint
from videopasta.config.train import WorkersConfig
from videopasta.dpo.data import COLUMNS, Selection, digest_rows, pair_files, read_pairs, select
from videopasta.dpo.trackers import check_tracking
from videopasta.engine.models import absolute, check_model
from videopasta.errors import UserError
from videopasta.ray_session import ray_session, user_error_in
from videopasta.run_file import RunFile

SCHEMA_VERSION = 1
CHECKPOINTS = "checkpoints"
_RECORDED_PACKAGES = frozenset(("videopasta", "torch", "transformers", "ray", "peft", "trl"))


@dataclass(frozen=True)
class Plan:
    """What a training would do, known before any model loads."""

    files: tuple[str, ...]
    """Parquet files of pairs."""
    selection: Selection
    """Before tokens are counted and videos are looked at."""
    fingerprint: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came out."""

    model: str
    """Folder of the exported model."""
    step: int
    """Of the checkpoint that was exported."""


def anchored(config: TrainConfig) -> TrainConfig:
    """`config` with its local paths made absolute: workers have working directories of their own."""
    folder = config.vision_cache.folder
    if not folder.startswith("~"):  # each machine has a home of its own
        folder = str(Path(folder).absolute())
    cache = config.vision_cache.model_copy(update={"folder": folder})
    return config.model_copy(update={"model": absolute(config.model), "vision_cache": cache})


def plan_training(pairs: str, out: str, config: TrainConfig) -> Plan:
    """Read the pairs and check what can be checked at once. Writes nothing.

    Paths are absolute: see `anchored` and `storage.absolute`.

    Raises:
        UserError: no pairs, no such model, or the folder is not for this configuration.
    """
    files = pair_files(pairs)
    rows = read_pairs(files)
    selection = select(rows, config)
    check_tracking(out, config.tracking)
    if not selection.train:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(selection.skipped.items()))
        raise UserError(f"--pairs {pairs}: no pair to train on; left out: {reasons or 'none, it is empty'}")
    check_model(config.model, config.revision)
    depends_on = {"config": fingerprint(config), "pairs": digest_rows(rows)}
    RunFile(out, SCHEMA_VERSION).check(depends_on)
    return Plan(tuple(files), selection, depends_on)


def describe(plan: Plan) -> str:
    """The plan for people."""
    train, validation = plan.selection.train, plan.selection.validation
    counts = ", ".join(f"{count} {mode}" for mode, count in plan.selection.counts().items())
    lines = [
        f"{sum(len(clip.pairs) for clip in train)} pairs of {len(train)} clips to train on: {counts}",
        f"{sum(len(clip.pairs) for clip in validation)} pairs of {len(validation)} clips held out",
    ]
    lines += [f"{count} left out: {reason}" for reason, count in sorted(plan.selection.skipped.items())]
    return "\n".join(lines)


def train(plan: Plan, pairs: str, out: str, config: TrainConfig, console: Console) -> Outcome:
    """Train on Ray, and export the checkpoint with the best reward accuracy on validation (see `_best`; or the last).

    Where that is done already, nothing is. Progress is shown on `console`.

    Raises:
        UserError: a mistake that shows only in the workers.
    """
    run_file = RunFile(out, SCHEMA_VERSION)
    with run_file.locked():
        return _train(plan, pairs, out, config, run_file, console)


def _train(plan: Plan, pairs: str, out: str, config: TrainConfig, run_file: RunFile, console: Console) -> Outcome:
    if not run_file.check(plan.fingerprint):
        run_file.create(plan.fingerprint)
    model = storage.join(out, "model")
    if (step := _exported_step(run_file)) is not None and storage.exists(storage.join(model, "config.json")):
        return Outcome(model, step)
    now = datetime.now(UTC)
    run = f"{now:%Y%m%dT%H%M%S}"
    versions = {d.name: d.version for d in importlib.metadata.distributions() if d.name in _RECORDED_PACKAGES}
    summary = {"run_id": run, "started_at": now.isoformat(timespec="seconds"), "versions": versions, "finished": False}
    run_file.record(summary)
    # Spare ones read the pairs: with all CPUs taken by workers Ray Data would wait for ever.
    num_cpus = math.ceil(config.workers.max_num * config.workers.num_cpus) + 3
    with ray_session(num_cpus=num_cpus) as is_local:
        from videopasta.dpo.progress import Progress

        if is_local:
            _check_room(config)
        with Progress(console, run) as progress, UsageMeter(run):
            result = _fit(plan, pairs, out, config, run)
        if progress.news.failure:
            raise UserError(progress.news.failure)
        trained = progress.news.plan
        best, metrics = _best(result, trained.validation_pairs if trained else 0)
        outcome = Outcome(model, int(metrics["step"]))
        _export(best, out, config, metrics, trained)
    _draw(out)
    run_file.record(summary | {"finished": True, "exported_step": outcome.step})
    return outcome


def _exported_step(run_file: RunFile) -> int | None:
    """Of a folder whose last run came to its end; None: there is something to do."""
    runs = (run_file.read() or {"runs": []})["runs"]
    return int(runs[-1]["exported_step"]) if runs and runs[-1]["finished"] else None


def _check_room(config: TrainConfig) -> None:
    import ray

    workers, available = config.workers, ray.cluster_resources()
    needed, there = workers.min_num * workers.num_gpus, available.get("GPU", 0)
    if needed > there:
        raise UserError(
            f"workers want {needed:g} GPUs, this machine has {there:g}; set workers.num_gpus=0 and dtype=float32 for "
            "its processor, or submit the job to a cluster"
        )
    for name, amount in workers.resources.items():
        if workers.min_num * amount > available.get(name, 0):
            raise UserError(
                f"workers want {workers.min_num * amount:g} of the custom resource {name!r}, which only a cluster has; "
                "leave workers.resources out on one machine"
            )


def _fit(plan: Plan, pairs: str, out: str, config: TrainConfig, run: str) -> Any:
    import ray.data
    from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from videopasta.dpo.fit import BEST
    from videopasta.dpo.snapshot import KeepSnapshot, mend_snapshot
    from videopasta.dpo.worker import train_worker

    storage_filesystem, storage_path = storage.resolve(out)
    checkpoints = f"{storage_path}/{CHECKPOINTS}"
    mend_snapshot(storage_filesystem, checkpoints)
    # Of reading some text; in a log they would be most of it.
    ray.data.DataContext.get_current().enable_progress_bars = False
    workers = config.workers
    by_score = bool(plan.selection.validation)
    filesystem, _ = storage.resolve(plan.files[0])
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "pairs": _folder_of(pairs),
            "out": out,
            "run": run,
        },
        # A new machine first fills its cache of features, and the others wait.
        torch_config=TorchConfig(backend="nccl" if workers.num_gpus else "gloo", timeout_s=4 * 3600),
        scaling_config=ScalingConfig(
            num_workers=workers.min_num if workers.min_num == workers.max_num else (workers.min_num, workers.max_num),  # type: ignore[arg-type]
            use_gpu=workers.num_gpus > 0,
            resources_per_worker=_resources(workers),
        ),
        datasets={
            "pairs": ray.data.read_parquet(
                [storage.resolve(file)[1] for file in plan.files], filesystem=filesystem, columns=list(COLUMNS)
            )
        },
        # Every worker reads all pairs, which are text, and decodes the videos of its own share of each batch only: so
        # the order does not depend on their number.
        dataset_config=DataConfig(datasets_to_split=[]),
        run_config=RunConfig(
            name=CHECKPOINTS,
            storage_path=storage_path,
            storage_filesystem=storage_filesystem,
            callbacks=[KeepSnapshot(storage_filesystem, checkpoints)],  # type: ignore[list-item]
            failure_config=FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=config.checkpoints.keep,
                checkpoint_score_attribute=BEST if by_score else None,
                checkpoint_score_order="max",
            ),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        for failure in getattr(error, "worker_failures", {}).values():
            cause = user_error_in(failure)
            if cause is not None:
                raise cause from error
        raise
    return result


def _resources(workers: WorkersConfig) -> dict[str, float]:
    """What one worker reserves, by Ray's names."""
    gpus = {"GPU": workers.num_gpus} if workers.num_gpus else {}
    return {"CPU": workers.num_cpus} | gpus | workers.resources


def _best(result: Any, num_pairs: int) -> tuple[Any, dict[str, float]]:
    """The checkpoint to export, with its metrics: the last one that is not worse than the best by more than chance.

    Reward accuracy is near its height long before answers are, so of those within a standard error of the best (of a
    share of `num_pairs`), the last one counts.
    """
    from videopasta.dpo.fit import BEST

    found = result.best_checkpoints
    scores = [metrics[BEST] for _, metrics in found if BEST in metrics]
    if scores:
        best = max(scores)
        enough = best - math.sqrt(best * (1 - best) / max(1, num_pairs))
        found = [(checkpoint, metrics) for checkpoint, metrics in found if metrics.get(BEST, -1.0) >= enough]
    return max(found, key=lambda one: one[1]["step"])


def _export(best: Any, out: str, config: TrainConfig, metrics: Mapping[str, float], trained: Any) -> None:
    """Load and write the model in a task: a driver on a cluster's head may have no memory for it."""
    import ray

    settings = config.model_dump(mode="json")
    counts = {mode: count for mode, count in trained.pairs.items() if count}
    facts = {
        "num_steps": int(metrics["step"]),
        "num_pairs": sum(counts.values()),
        "pairs": counts,
        "validation_pairs": trained.validation_pairs,
        "scores": _before_and_after(out, metrics),
    }
    ray.get(ray.remote(num_cpus=1)(_export_there).remote(settings, best, out, facts))


def _export_there(settings: dict[str, Any], best: Any, out: str, facts: dict[str, Any]) -> None:
    from videopasta.dpo.export import export_model

    filesystem, folder = storage.resolve(storage.join(out, "model"))
    with best.as_directory() as checkpoint, tempfile.TemporaryDirectory() as made:
        export_model(TrainConfig.model_validate(settings), Path(checkpoint), Path(made), facts)
        filesystem.create_dir(folder, recursive=True)
        filesystem.delete_dir_contents(folder)
        pafs.copy_files(made, folder, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=filesystem)


def _before_and_after(out: str, metrics: Mapping[str, float]) -> dict[str, tuple[str, str]]:
    from videopasta.dpo.trackers import read_metrics

    before: Mapping[str, float] = next(iter(read_metrics(out)), {})
    shown = ("reward_accuracy", "reward_margin", "logp_chosen", "logp_rejected", "nll")
    names = [name for name in (f"validation/{name}" for name in shown) if name in metrics and name in before]
    return {name.removeprefix("validation/"): (f"{before[name]:.3f}", f"{metrics[name]:.3f}") for name in names}


def _draw(out: str) -> None:
    from videopasta.dpo.curves import draw_curves
    from videopasta.dpo.trackers import read_metrics

    filesystem, folder = storage.resolve(out)
    with tempfile.TemporaryDirectory() as made:
        picture = Path(made) / "curves.png"
        draw_curves(read_metrics(out), picture)
        with filesystem.open_output_stream(f"{folder}/curves.png") as stream:
            stream.write(picture.read_bytes())


def _folder_of(pairs: str) -> str:
    return storage.parent(pairs) if storage.kind(pairs) == "file" else pairs
