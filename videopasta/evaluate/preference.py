"""Log-probs of held-out pairs under a model: what implicit rewards are made of.

In: pairs, and a model. Out: a row a pair in `preference/`. One model alone says whether it finds the chosen answer
likelier than the rejected one; two together (`compare`) give DPO's implicit reward, beta * (log-prob after - before).
The log-probs are those of the trainer's packed pass, which equal the engine's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from videopasta import storage
from videopasta.config import EvaluateConfig, TrainConfig, VllmModel
from videopasta.dpo.data import COLUMNS, Selection, fitting, pair_files, select
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
    rows: list[dict[str, Any]] = []
    for file in pair_files(pairs):
        filesystem, path = storage.resolve(file)
        schema = pq.read_schema(path, filesystem=filesystem)
        columns = [*COLUMNS, *(name for name in ("adversary",) if name in schema.names)]
        rows += pq.read_table(path, filesystem=filesystem, columns=columns).to_pylist()
    seen = scoring_config(config, share=0.0)
    selection = select(rows, seen)
    clips = selection.train
    if unseen_by is not None:
        unseen = _unseen(unseen_by, rows)
        clips = tuple(clip for clip in clips if clip.video_sha256 in unseen)
        if not clips:
            raise UserError(
                f"--unseen-by {unseen_by}: that training held none of the videos of {pairs} out; give the pairs it was "
                "trained on, and train with validation.share above 0"
            )
    adversaries = {row["pair_id"]: row.get("adversary") for row in rows}
    return HeldOut(clips, adversaries, dict(selection.skipped))


def _unseen(training: str, rows: Sequence[dict[str, Any]]) -> set[str]:
    """The videos that a training held out, by the rule that it went by."""
    run = RunFile(training, 1).read()
    if run is None or "pairs" not in run["fingerprint"]:
        raise UserError(f"--unseen-by {training}: no run.json of a training; give the --out of `videopasta train`")
    config = TrainConfig.model_validate(run["fingerprint"]["config"])
    return {clip.video_sha256 for clip in select(rows, config).validation}


def scoring_config(config: EvaluateConfig, *, share: float = 0.0) -> TrainConfig:
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
            "max_answer_tokens": wanted.max_answer_tokens, "decode": config.decode, "validation": {"share": share},
            "vision_cache": wanted.vision_cache, "workers": {"num_gpus": wanted.num_gpus},
            "attention": "flex" if wanted.num_gpus else "tree",
        }
    )  # fmt: skip


def score(clips: Sequence[Clip], adversaries: dict[str, str | None], config: TrainConfig) -> list[dict[str, Any]]:
    """Rows as `PREFERENCE` has them, for all pairs of `clips`; in this process, on its GPU where there is one."""
    from videopasta.dpo import attention, policy
    from videopasta.dpo.features import FeatureSource
    from videopasta.dpo.preparation import logps_of
    from videopasta.dpo.team import Team
    from videopasta.dpo.vision_cache import VisionCache, tower_hash

    team = Team.current(use_gpu=config.workers.num_gpus > 0)
    attention.register()
    video, _ = policy.load_base(config, attention=attention.IMPLEMENTATIONS[config.attention])
    video.model.to(team.device)
    video.model.requires_grad_(False)
    fit = fitting(
        Selection(tuple(clips), ()),
        video,
        max_answer_tokens=config.max_answer_tokens,
        tokens_per_pack=config.tokens_per_pack,
    ).train
    cache = VisionCache(
        policy.folder_of(config), tower_hash(video.model.model.visual), int(config.vision_cache.max_gib * 2**30)
    )
    found: dict[str, Logps] = {}
    lost: dict[str, str] = {}
    with FeatureSource(video, cache, config.decode) as features:
        for clip in fit:
            try:
                features.of(clip)
            except VideoError as error:
                lost[clip.key] = f"video_{error.reason}"
        grown = [tree for clip in fit if clip.key not in lost for tree in trees(clip, video, config.tokens_per_pack)]
        for made in pack(grown, config.tokens_per_pack):
            found |= logps_of(made, video, features)
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


def stream_scores(held: HeldOut, config: EvaluateConfig) -> Any:
    """Rows by part, as Ray tasks finish: the clips divided among `preference.num_workers`."""
    import ray

    wanted = config.preference
    remote = ray.remote(num_cpus=wanted.num_cpus, num_gpus=wanted.num_gpus, max_retries=2)(_score_there)
    parts = [held.clips[n :: wanted.num_workers] for n in range(wanted.num_workers)]
    settings = scoring_config(config)
    waiting = [remote.remote(part, held.adversaries, settings) for part in parts if part]
    while waiting:
        done, waiting = ray.wait(waiting)
        yield from ray.get(done)


def _score_there(
    clips: Sequence[Clip], adversaries: dict[str, str | None], config: TrainConfig
) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(max(1, int(config.workers.num_cpus)))
    return score(clips, adversaries, config)


def less(held: HeldOut, scored: set[str]) -> HeldOut:
    """`held` without the pairs whose contents are in `scored`."""
    clips = [
        replace(clip, pairs=tuple(pair for pair in clip.pairs if clip.content_of(pair) not in scored))
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
