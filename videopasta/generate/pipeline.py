"""The Ray Data graph of a generation run: one row per clip, frames die with the response stage.

    entries ─ decode ─ query ─ response ─ judge ─► driver: commits shards        (each ─ is an actor pool)

A row is `work` (JSON of `Work`) and `frames` (raw bytes per distinct frame plan). Neighbouring roles that
name the same model share one pool, and then one engine answers both. A clip that fails keeps flowing as a
`Work` with a `failure`, without frames. The driver alone writes: results are text, a few hundred kilobytes a
clip, and one writer needs no bookkeeping to write each clip once.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from videopasta.config import GenerateConfig, ModelConfig, PlanConfig
from videopasta.config.models import PoolConfig
from videopasta.engine import Engine, RequestError, Video, start_engine
from videopasta.generate.asking import Asker, SeenVideo
from videopasta.generate.judging import vote
from videopasta.generate.queries import write_queries
from videopasta.generate.responses import respond
from videopasta.generate.work import Failure, Work, already_committed, video_tokens
from videopasta.prompts import PromptSet
from videopasta.video import ClipRequest, DecodeWorker, ManifestEntry, VideoError

ROW = pa.schema(
    [
        pa.field("work", pa.string()),
        pa.field("frame_keys", pa.list_(pa.string())),
        pa.field("frames", pa.list_(pa.large_binary())),  # one buffer per key: T * H * W * 3 bytes
    ]
)


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
) -> Iterator[Work]:
    """Run the graph on the connected Ray cluster; yields each clip's work, finished or failed, unordered.

    A clip whose id is in `committed` ends after decoding as a duplicate: its content was done under another name.
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # progress is told by clips, not by blocks
    if config.object_store_gib is not None:
        limit = int(config.object_store_gib * 2**30)
        context.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=limit)
    # Blocks of one row, or a clip would wait for its neighbours, and its frames with it. `repartition` would
    # make them too, but its tasks ask for a whole CPU, which a small machine never has beside the pools.
    dataset: ray.data.Dataset = ray.data.from_arrow([_row(Work(entry=entry)) for entry in entries])
    dataset = dataset.map_batches(
        DecodeActor,
        fn_constructor_kwargs={"config": config, "committed": committed},
        **_pool_options(config.decode_pool),
    )
    last_judge = f"judge.{len(config.judge_model) - 1}"
    for stage in plan_stages(config):
        dataset = dataset.map_batches(
            EngineActor,
            fn_constructor_kwargs={
                "stage": stage,
                "config": config,
                "prompts": prompts,
                "last_role": last_judge,
            },
            **_pool_options(stage.model.pool),
        )
    batches: Any = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
    for batch in batches:
        for text in batch["work"].to_pylist():
            yield Work.model_validate_json(text)


def _pool_options(pool: PoolConfig) -> dict[str, Any]:
    import ray

    return {
        "batch_size": 1,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
        "memory": pool.memory_gib * 2**30 or None,
        "compute": ray.data.ActorPoolStrategy(
            min_size=pool.min_size,
            max_size=pool.max_size,
            # Ray adds an actor only while the others have 1.75 times their share queued.
            max_tasks_in_flight_per_actor=2 * pool.clips_in_flight,
            max_concurrent_calls_per_actor=pool.clips_in_flight,
        ),
    }


class DecodeActor:
    """Entry in, `Work` with plans and frames out, by a decoder process that can be killed."""

    def __init__(self, config: GenerateConfig, committed: frozenset[str] = frozenset()) -> None:
        self._config, self._committed = config, committed
        self._views = views(config)
        self._worker = DecodeWorker(config.decode)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in, one row out."""
        work = Work.model_validate_json(batch["work"][0].as_py())
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

    def __init__(self, stage: Stage, config: GenerateConfig, prompts: PromptSet, last_role: str) -> None:
        self._stage, self._config, self._prompts, self._last_role = stage, config, prompts, last_role
        self._engine: Engine = start_engine(stage.model, video=stage.sees_video)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """One row in, one row out; the frames stay until the response is there."""
        work, frames = _read_row(batch)
        work = await play_roles(
            work,
            frames,
            self._stage.roles,
            self._engine,
            self._prompts,
            self._config,
            last_role=self._last_role,
        )
        keep_frames = work.failure is None and self._stage.roles[-1] == "query"
        return _row(work, frames if keep_frames else {})


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


def _row(work: Work, frames: dict[str, np.ndarray] | None = None) -> pa.Table:
    frames = frames or {}
    buffers = [array.tobytes() for array in frames.values()]
    return pa.table({"work": [work.model_dump_json()], "frame_keys": [list(frames)], "frames": [buffers]}, schema=ROW)


def _read_row(batch: pa.Table) -> tuple[Work, dict[str, np.ndarray]]:
    """The row of a batch of one; the arrays are read-only views of Ray's shared memory."""
    work = Work.model_validate_json(batch["work"][0].as_py())
    shapes = {plan.key: (plan.num_frames, plan.height, plan.width, 3) for plan in work.plans.values()}
    keys = batch["frame_keys"][0].as_py()
    values = batch["frames"][0].values
    return work, {
        key: np.frombuffer(values[i].as_buffer(), np.uint8).reshape(shapes[key]) for i, key in enumerate(keys)
    }
