"""Log-probs of held-out pairs under a model: what implicit rewards are made of.

In: pairs, and a model. Out: a row a pair in `preference/`. One model alone says whether it finds the chosen answer
likelier than the rejected one; two together (`compare`) give DPO's implicit reward, beta * (log-prob after - before).
The log-probs are those of the trainer's packed pass, which equal the engine's.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from videopasta.config import EvaluateConfig, TrainConfig, VllmModel
from videopasta.dpo.data import Selection, digest_rows, fitting, pair_files, read_pairs, select
from videopasta.dpo.examples import Clip, pack, trees
from videopasta.dpo.reference import Logps
from videopasta.errors import UserError
from videopasta.intervals import share
from videopasta.run_file import RunFile
from videopasta.video import VideoError

PREFERENCE = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("content", pa.string(), nullable=False),  # of the pair, whatever the model: equal rows can be compared
        pa.field("video_sha256", pa.string(), nullable=False),
        pa.field("failure_mode", pa.string(), nullable=False),
        pa.field("adversary", pa.string()),
        pa.field("logp_chosen", pa.float32()),  # natural logarithm, summed over the answer's tokens
        pa.field("logp_rejected", pa.float32()),
        pa.field("problem", pa.string()),  # null, or why there are no log-probs
    ]
)
CLIPS_PER_PART = 16
"""Clips between two writes: what a crash makes to be computed again. Their features wait in memory."""


@dataclass(frozen=True)
class HeldOut:
    """Pairs to score."""

    clips: tuple[Clip, ...]
    adversaries: dict[str, str | None]
    """By pair_id."""
    skipped: dict[str, int]
    """Pairs left out before a model was loaded, by reason."""

    @property
    def num_pairs(self) -> int:
        return sum(len(clip.pairs) for clip in self.clips)


def held_out(pairs: str, unseen_by: str | None, config: EvaluateConfig) -> HeldOut:
    """The pairs at `pairs`; with `unseen_by`, the --out of a training, only those of videos that it held out.

    Raises:
        UserError: no pairs, no such training, or one that held nothing out.
    """
    rows = read_pairs(pair_files(pairs), "adversary")
    selection = select(rows, scoring_config(config))
    clips = selection.train
    if unseen_by is not None:
        unseen = _unseen(unseen_by, rows)
        clips = tuple(clip for clip in clips if clip.video_sha256 in unseen)
    if not clips:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(selection.skipped.items()))
        held = f"; --unseen-by {unseen_by} held no video of theirs out" if unseen_by else ""
        raise UserError(f"--pairs {pairs}: no pair to score{held}; left out: {reasons or 'none'}")
    adversaries = {row["pair_id"]: row.get("adversary") for row in rows}
    return HeldOut(clips, adversaries, dict(selection.skipped))


def _unseen(training: str, rows: Sequence[dict[str, Any]]) -> set[str]:
    """The videos that a training held out, by the rule that it went by: it depends on all pairs that it was given."""
    run = RunFile(training, 1).read()
    if run is None or "pairs" not in run["fingerprint"] or "loss" not in run["fingerprint"]["config"]:
        raise UserError(f"--unseen-by {training}: no run.json of a training; give the --out of `videopasta train`")
    if digest_rows(rows) != run["fingerprint"]["pairs"]:
        raise UserError(
            f"--unseen-by {training}: it was trained on other pairs, so which videos of these it has not seen is not "
            "known; give the pairs that it was trained on, or leave --unseen-by out for pairs of other videos"
        )
    config = TrainConfig.model_validate(run["fingerprint"]["config"])
    return {clip.video_sha256 for clip in select(rows, config).validation}


def scoring_config(config: EvaluateConfig) -> TrainConfig:
    """The trainer's configuration for a pass without training.

    Raises:
        UserError: the model is behind an endpoint, which gives no log-probs of given answers.
    """
    if not isinstance(config.model, VllmModel):
        raise UserError(
            f"--pairs: log-probs of given answers need the weights, and {config.model.model!r} is behind an endpoint; "
            "leave --pairs out"
        )
    wanted = config.preference
    return TrainConfig.model_validate(
        {
            "model": config.model.model, "revision": config.model.revision, "dtype": wanted.dtype, "lora": None,
            "prompt_template": config.prompt_template, "tokens_per_pack": wanted.tokens_per_pack,
            "max_answer_tokens": wanted.max_answer_tokens, "decode": config.decode, "validation": {"share": 0.0},
            "vision_cache": wanted.vision_cache,
            "workers": {"num_cpus": max(1.0, wanted.num_cpus), "num_gpus": wanted.num_gpus},
            "attention": "flex" if wanted.num_gpus else "tree",
        }
    )  # fmt: skip


class Scorer:
    """A model that gives log-probs of given answers, on a GPU where there is to be one. One process each."""

    def __init__(self, config: TrainConfig) -> None:
        """Load it.

        Args:
            config: of `scoring_config`.
        """
        import torch

        from videopasta.dpo import attention, policy
        from videopasta.dpo.features import FeatureSource
        from videopasta.dpo.team import Team
        from videopasta.dpo.vision_cache import VisionCache, tower_hash

        team = Team.current(use_gpu=config.workers.num_gpus > 0)
        if config.workers.num_gpus == 0:
            torch.set_num_threads(max(1, int(config.workers.num_cpus)))
        attention.register()
        self._config = config
        self._video, _ = policy.load_base(config, attention=attention.IMPLEMENTATIONS[config.attention])
        self._video.model.to(team.device)
        self._video.model.requires_grad_(False)
        self._video.language.eval()
        tower = tower_hash(self._video.model.model.visual)
        cache = VisionCache(policy.folder_of(config), tower, int(config.vision_cache.max_gib * 2**30))
        self._features = FeatureSource(self._video, cache, config.decode)

    def score(self, clips: Sequence[Clip], adversaries: Mapping[str, str | None]) -> list[dict[str, Any]]:
        """Rows as `PREFERENCE` has them, for all pairs of `clips`."""
        import torch

        from videopasta.dpo.preparation import logps_of

        budget = self._config.tokens_per_pack
        fit = fitting(
            Selection(tuple(clips), ()), self._video, max_answer_tokens=self._config.max_answer_tokens,
            tokens_per_pack=budget,
        ).train  # fmt: skip
        features: dict[str, Any] = {}
        lost: dict[str, str] = {}
        for clip in fit:
            try:
                features[clip.key] = self._features.of(clip)
            except VideoError as error:
                lost[clip.key] = f"video_{error.reason}"
            except torch.OutOfMemoryError:
                raise  # of this machine, not of the video
            except RuntimeError as error:  # a mistake of ours that this file brings out
                lost[clip.key] = f"decoder_error: {error}"
        found: dict[str, Logps] = {}
        grown = [tree for clip in fit if clip.key in features for tree in trees(clip, self._video, budget)]
        for made in pack(grown, budget):
            found |= logps_of(made, self._video, features)
        fitted = {pair.pair_id for clip in fit for pair in clip.pairs}
        rows = []
        for clip in clips:
            for pair in clip.pairs:
                content = clip.content_of(pair)
                logps = found.get(content)
                problem = None if logps else lost.get(clip.key) if pair.pair_id in fitted else "too_long"
                rows.append(
                    {
                        "pair_id": pair.pair_id, "content": content, "video_sha256": clip.video_sha256,
                        "failure_mode": pair.failure_mode, "adversary": adversaries.get(pair.pair_id),
                        "logp_chosen": logps and logps.chosen, "logp_rejected": logps and logps.rejected,
                        "problem": problem,
                    }
                )  # fmt: skip
        return rows


def stream_scores(held: HeldOut, config: EvaluateConfig) -> Iterator[list[dict[str, Any]]]:
    """Rows of some clips at a time, by `preference.num_workers` Ray actors."""
    import ray

    wanted = config.preference
    parts = [held.clips[n : n + CLIPS_PER_PART] for n in range(0, len(held.clips), CLIPS_PER_PART)]
    remote = ray.remote(num_cpus=wanted.num_cpus, num_gpus=wanted.num_gpus)(Scorer)
    settings = scoring_config(config)
    actors = [remote.remote(settings) for _ in range(min(wanted.num_workers, len(parts)))]
    adversaries = [
        {pair.pair_id: held.adversaries.get(pair.pair_id) for clip in part for pair in clip.pairs} for part in parts
    ]
    work = list(zip(parts, adversaries, strict=True))
    yield from ray.util.ActorPool(actors).map_unordered(lambda actor, one: actor.score.remote(*one), work)


def less(held: HeldOut, scored: set[tuple[str, str]]) -> HeldOut:
    """`held` without the pairs whose ids and contents are in `scored`."""
    clips = [
        replace(clip, pairs=tuple(pair for pair in clip.pairs if (pair.pair_id, clip.content_of(pair)) not in scored))
        for clip in held.clips
    ]
    return replace(held, clips=tuple(clip for clip in clips if clip.pairs))


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often one model alone finds the chosen answer likelier, by failure mode, and what came in the way."""
    known = [row for row in rows if not row["problem"]]
    modes = sorted({row["failure_mode"] for row in known})
    found = {
        mode: share(
            (row["video_sha256"], row["logp_chosen"] > row["logp_rejected"])
            for row in known
            if mode in ("all", row["failure_mode"])
        ).to_dict()
        for mode in (["all", *modes] if known else [])
    }
    return {"chosen_likelier": found, "problems": dict(Counter(row["problem"] for row in rows if row["problem"]))}
