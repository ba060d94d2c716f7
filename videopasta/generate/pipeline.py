"""The Ray Data graph of a generation run: one row per clip, frames die with the response stage.

    entries ─ decode ─ query ─ response ─ judge ─► driver: commits shards        (each ─ is an actor pool)

A row is a `Work` and its frames (`clip_stream.py`). Neighbouring roles that name the same model share one pool, and
then one engine answers both. A clip that fails keeps flowing as a `Work` with a `failure`, without frames. The driver
alone writes: results are text, a few hundred kilobytes a clip, and one writer needs no bookkeeping to write each clip
once.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from videopasta.clip_stream import dataset, frames_of, pool_options, row, stream, value_of
from videopasta.config import GenerateConfig, ModelConfig, PlanConfig
from videopasta.engine import Engine, RequestError, Video, start_engine
from videopasta.engine.host import EngineHost, start_attempts
from videopasta.generate.asking import Asker, SeenVideo
from videopasta.generate.judging import vote
from videopasta.generate.queries import write_queries
from videopasta.generate.responses import respond
from videopasta.generate.work import Failure, Work, already_committed, video_tokens
from videopasta.prompts import PromptSet
from videopasta.video import ClipRequest, DecodeWorker, ManifestEntry, VideoError


@dataclass(frozen=True)
class Stage:
    """One pool: the model it hosts and the roles it plays, in order."""

    roles: tuple[str, ...]
    """`query`, `response`, `judge.0`, `judge.1`, ..."""
    model: ModelConfig

    @property
    def sees_video(self) -> bool:
        return any(not role.startswith("judge") for role in self.roles)


def plan_stages(config: GenerateConfig) -> tuple[Stage, ...]:
    """The pools of a run: one per model, neighbours that name the same model in one. Pure."""
    roles: list[tuple[str, ModelConfig]] = [
        ("query", config.query_model),
        ("response", config.response_model),
    ]
    roles += [(f"judge.{i}", model) for i, model in enumerate(config.judge_model)]
    stages: list[Stage] = []
    for role, model in roles:
        if stages and stages[-1].model == model:
            stages[-1] = Stage((*stages[-1].roles, role), model)
        else:
            stages.append(Stage((role,), model))
    return tuple(stages)


def views(config: GenerateConfig) -> dict[str, PlanConfig]:
    """The frame plans that a run asks of every clip, by view. Pure."""
    preferred = {f"preferred.{mode}": getattr(config.plans.preferred, mode) for mode in config.failure_modes}
    return {"query": config.plans.query, **preferred, "adversarial": config.plans.adversarial}


def stream_works(
    entries: Sequence[ManifestEntry],
    config: GenerateConfig,
    prompts: PromptSet,
    committed: frozenset[str] = frozenset(),
    *,
    run: str = "",
) -> Iterator[Work]:
    """Run the graph on the connected Ray cluster; yields each clip's work, finished or failed, unordered.

    A clip whose id is in `committed` ends after decoding as a duplicate: its content was done under another name.
    Ray's metrics and the engines' carry the name `run`.
    """
    data = dataset((Work(entry=entry).model_dump_json() for entry in entries), config.object_store_gib)
    data = data.map_batches(
        DecodeActor,
        fn_constructor_kwargs={"config": config, "committed": committed},
        **pool_options(config.decode_pool),
    )
    last_judge = f"judge.{len(config.judge_model) - 1}"
    attempts = start_attempts()
    for stage in plan_stages(config):
        data = data.map_batches(
            EngineActor if stage.sees_video else JudgeActor,
            fn_constructor_kwargs={
                "stage": stage,
                "config": config,
                "prompts": prompts,
                "last_role": last_judge,
                "attempts": attempts,
                "run": run,
            },
            **pool_options(stage.model.pool),
        )
    data.set_name(run)
    for value in stream(data):
        yield Work.model_validate_json(value)


class DecodeActor:
    """Entry in, `Work` with plans and frames out, by a decoder process that can be killed."""

    def __init__(self, config: GenerateConfig, committed: frozenset[str] = frozenset()) -> None:
        self._config, self._committed = config, committed
        self._views = views(config)
        self._worker = DecodeWorker(config.decode)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in, one row out."""
        work = Work.model_validate_json(value_of(batch))
        started = time.time()
        entry = work.entry
        request = ClipRequest(entry.uris[0], entry.start_s, entry.end_s, self._views, self._config.decode)
        try:
            clip = self._worker.decode(request)
        except VideoError as error:
            failure = Failure(stage="decode", reason=error.reason.value, detail=error.detail)
            return _row(work.having(failure=failure, video_sha256=error.video_sha256))
        except RuntimeError as error:
            # A mistake of ours that this file brings out: a row to report, not the end of everyone's run.
            return _row(work.having(failure=Failure(stage="decode", reason="decoder_error", detail=str(error))))
        sized = ManifestEntry(entry.uris, entry.start_s, entry.end_s, clip.size_bytes)
        work = work.having(
            entry=sized,
            clip_id=clip.clip_id,
            video_sha256=clip.video_sha256,
            start_s=clip.start_s,
            end_s=clip.end_s,
            plans=clip.plans,
            video_info=clip.info.to_dict(),
            seconds={"decode": time.time() - started},
            started_at={"decode": started},
        )
        if work.clip_id in self._committed:
            return _row(already_committed(work))
        return _row(work, clip.frames)


class EngineActor:
    """Hosts one model and plays its roles on each clip, many clips at a time."""

    def __init__(
        self, stage: Stage, config: GenerateConfig, prompts: PromptSet, last_role: str, attempts: Any, run: str
    ) -> None:
        self._stage, self._config, self._prompts, self._last_role = stage, config, prompts, last_role
        start = partial(start_engine, stage.model, video=stage.sees_video)
        labels = {"run": run, "roles": " + ".join(stage.roles)}
        self._host = EngineHost(start, stage.model.pool, attempts, labels=labels)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in, one row out; the frames stay until the response is there."""
        work = Work.model_validate_json(value_of(batch))
        frames = frames_of(batch, work.plans.values())
        if work.failure is None:
            work = await self._play(work, frames)
        keep_frames = work.failure is None and self._stage.roles[-1] == "query"
        return _row(work, frames if keep_frames else {})

    async def _play(self, work: Work, frames: dict[str, np.ndarray]) -> Work:
        roles = self._stage.roles
        play = partial(
            play_roles, work, frames, roles, prompts=self._prompts, config=self._config, last_role=self._last_role
        )
        try:
            # Not the clip's id: the same content under another name is another row.
            key = f"{roles[0]} {work.entry.uris[0]} {work.entry.start_s} {work.entry.end_s}"
            return await self._host.do(key, lambda engine: play(engine=engine))
        except RequestError as error:
            stage = roles[0].partition(".")[0]
            return work.having(failure=Failure(stage=stage, reason=error.reason, detail=error.detail))


class JudgeActor(EngineActor):
    """The same, under a name of its own in Ray's dashboard."""


async def play_roles(
    work: Work,
    frames: dict[str, np.ndarray],
    roles: Sequence[str],
    engine: Engine,
    prompts: PromptSet,
    config: GenerateConfig,
    *,
    last_role: str,
) -> Work:
    """Take one clip through `roles` on one engine. A request at fault fails the clip, not the run."""
    for role in roles:
        if work.failure:
            break
        started = time.time()
        asker = Asker(engine, role, run_seed=config.seed, clip_id=work.clip_id or "")
        step = _step(role, asker, seen_videos(work, frames), prompts, config, last=role == last_role)
        try:
            work = await step(work)
        except RequestError as error:
            failure = Failure(stage=role.partition(".")[0], reason=error.reason, detail=error.detail)
            work = work.having(failure=failure)
        work = work.having(
            models=work.models | {role: asker.model},
            calls=work.calls + asker.calls(),
            seconds=work.seconds | {role: time.time() - started},
            started_at=work.started_at | {role: started},
        )
    return work


def _step(
    role: str,
    asker: Asker,
    videos: dict[str, SeenVideo],
    prompts: PromptSet,
    config: GenerateConfig,
    *,
    last: bool,
) -> Callable[[Work], Awaitable[Work]]:
    if role == "query":
        return partial(write_queries, asker=asker, videos=videos, prompts=prompts, config=config)
    if role == "response":
        return partial(respond, asker=asker, videos=videos, prompts=prompts, config=config)
    return partial(vote, asker=asker, prompts=prompts, config=config, last=last)


def seen_videos(work: Work, frames: dict[str, np.ndarray]) -> dict[str, SeenVideo]:
    """The clip's videos by view, for those whose frames are still here."""
    return {
        view: SeenVideo(
            Video(frames[plan.key], plan.sampled_fps, f"{work.video_sha256}-{plan.key}"),
            plan.key,
            video_tokens(plan),
        )
        for view, plan in work.plans.items()
        if plan.key in frames
    }


def _row(work: Work, frames: Mapping[str, np.ndarray] | None = None) -> pa.Table:
    return row(work.model_dump_json(), frames)
