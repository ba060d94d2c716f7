"""A training from its first to its last step, as one worker lives it. Needs no Ray.

In: rows of pairs, the same on all workers, and where reports go. Out: metrics by step, checkpoints, a summary.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import torch

from videopasta.config import FailureMode, TrainConfig
from videopasta.dpo import checkpoint, policy, schedule
from videopasta.dpo.data import fitting, select
from videopasta.dpo.features import FeatureSource
from videopasta.dpo.loss import Weights
from videopasta.dpo.preparation import prepare
from videopasta.dpo.reference import ReferenceStore
from videopasta.dpo.team import Team
from videopasta.dpo.trainer import Trainer
from videopasta.dpo.vision_cache import VisionCache, tower_hash
from videopasta.errors import UserError

BEST = "validation/reward_accuracy"
"""The metric by which a checkpoint is called the best."""


class Save(Protocol):
    """Begins to write a checkpoint."""

    def __call__(self, folder: Path) -> Future[Any]: ...


class Reports(Protocol):
    """Where a training's metrics and checkpoints go."""

    def restored(self) -> AbstractContextManager[Path | None]:
        """A folder with the checkpoint to go on from, as long as it is needed."""
        ...

    def begin(self, plan: "Plan") -> None:
        """The training is prepared; steps follow."""
        ...

    def step(self, metrics: Mapping[str, float], save: Save | None) -> None:
        """A step is done; with `save`, a checkpoint is due."""
        ...


@dataclass(frozen=True)
class Plan:
    """What a training will do."""

    num_steps: int
    first_step: int
    """Not 0 where it goes on from a checkpoint."""
    pairs: Mapping[FailureMode, int]
    """To train on, by failure mode."""
    validation_pairs: int
    skipped: dict[str, int]
    """Pairs left out, by reason."""


def fit(rows: Iterable[Mapping[str, Any]], config: TrainConfig, pairs_uri: str, reports: Reports) -> None:
    """Train.

    Args:
        rows: of pairs, with the columns of `data.COLUMNS`.
        config: of the training.
        pairs_uri: the pairs' folder, beside which reference log-probs are kept.
        reports: gets what comes out.

    Raises:
        UserError: nothing to train on, or a loss that is not a number.
    """
    team = Team.current(use_gpu=config.workers.num_gpus > 0)
    loaded = policy.load_policy(config)
    video = loaded.video
    tower = tower_hash(video.model.model.visual)
    policy.shard(video, team, getattr(torch, config.dtype))
    selection = fitting(
        select(rows, config), video, max_answer_tokens=config.max_answer_tokens, tokens_per_pack=config.tokens_per_pack
    )
    cache = VisionCache(policy.folder_of(config), tower, int(config.vision_cache.max_gib * 2**30))
    store = ReferenceStore(pairs_uri, loaded.revision, config.dtype)
    with FeatureSource(video, cache, config.decode) as features:
        selection, references = prepare(selection, video, team, config, features=features, store=store)
        num_steps = schedule.num_steps(selection.train, epochs=config.epochs, pairs_per_step=config.pairs_per_step)
        if not num_steps:
            raise UserError(
                f"{sum(selection.counts().values())} pairs, {config.epochs:g} epochs: not one step of "
                f"{config.pairs_per_step} pairs; lower pairs_per_step, or make more pairs"
            )
        trainer = Trainer(
            video,
            team,
            config,
            features=features,
            references=references,
            weights=Weights.of_dataset(selection.counts(), config.loss.mode_weights),
            num_steps=num_steps,
        )
        writer = checkpoint.CheckpointWriter()
        pairs = selection.digest()
        with reports.restored() as folder:
            first = checkpoint.load(video, trainer.optimizer, pairs, folder) if folder else 0
        validation_pairs = sum(len(clip.pairs) for clip in selection.validation)
        reports.begin(Plan(num_steps, first, selection.counts(), validation_pairs, dict(selection.skipped)))
        if not first:
            reports.step({"step": 0, **trainer.evaluate(selection.validation)}, None)
        batches = schedule.batches(
            selection.train, epochs=config.epochs, pairs_per_step=config.pairs_per_step, seed=config.seed
        )
        for number, batch in enumerate(islice(batches, first, None), start=first):
            metrics = trainer.step(number, batch)
            done = number + 1
            metrics |= {"step": done, "epoch": done * config.pairs_per_step / sum(selection.counts().values())}
            save = None
            if done % config.checkpoints.every_steps == 0 or done == num_steps:
                metrics |= trainer.evaluate(selection.validation)

                def save(folder: Path, done: int = done) -> Future[Any]:
                    return writer.start(video, trainer.optimizer, done, pairs, folder)

            reports.step(metrics, save)
