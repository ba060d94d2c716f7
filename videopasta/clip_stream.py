"""Clips on Ray Data: one row per clip, a frozen value as JSON beside its decoded frames.

    value ─ actor pool ─ actor pool ─► driver

A row is `value` (JSON of whatever the pipeline carries) and `frames` (raw bytes per distinct frame plan). Blocks hold
one row: a clip never waits for its neighbours, and neither do its frames. Only what waits for the first pool may lie in
larger ones, of `BLOCKS` in all: each costs the driver milliseconds and 70 KB, which a million of them cannot have.
What the values are, and what the actors do, is the pipelines' part (`generate/pipeline.py`, `evaluate/pipeline.py`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from videopasta.config.models import PoolConfig
from videopasta.ray_session import user_error_in
from videopasta.video import FramePlan

BLOCKS = 2500
"""Of a dataset, at most: with more clips than that, an actor of the first pool takes several with a call."""
ROW = pa.schema(
    [
        pa.field("value", pa.string()),
        pa.field("frame_keys", pa.list_(pa.string())),
        pa.field("frames", pa.list_(pa.large_binary())),  # one buffer per key: T * H * W * 3 bytes
    ]
)


def dataset(values: Iterable[str], object_store_gib: float | None = None) -> Any:
    """A dataset of `values`, without frames yet.

    Args:
        values: JSON, one a clip.
        object_store_gib: cap on the frames that wait between two pools, over the cluster; none: Ray's own.
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # progress is told by clips, not by blocks
    if object_store_gib is not None:
        limit = int(object_store_gib * 2**30)
        context.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=limit)
    rows = [row(value) for value in values]
    size = max(1, math.ceil(len(rows) / BLOCKS))
    if size > 1:
        # Every row that comes out of a pool is a block again. `repartition` would do that too, but its tasks ask for a
        # whole CPU, which a small machine never has beside the pools.
        context.target_max_block_size = 1
    return ray.data.from_arrow([pa.concat_tables(rows[i : i + size]) for i in range(0, len(rows), size)])


def pool_options(pool: PoolConfig) -> dict[str, Any]:
    """Arguments of `map_batches` for an actor that takes one row at a time."""
    import ray

    return {
        "batch_size": 1,
        "batch_format": "pyarrow",
        "zero_copy_batch": True,
        "num_cpus": pool.num_cpus,
        "num_gpus": pool.num_gpus,
        "memory": pool.memory_gib * 2**30 or None,
        "resources": pool.resources or None,
        "compute": ray.data.ActorPoolStrategy(
            min_size=pool.min_size,
            max_size=pool.max_size,
            # Ray adds an actor only while the others have 1.75 times their share queued.
            max_tasks_in_flight_per_actor=2 * pool.clips_in_flight,
            max_concurrent_calls_per_actor=pool.clips_in_flight,
        ),
    }


def stream(data: Any) -> Iterator[str]:
    """Run the graph; each clip's value as it comes out, unordered.

    Raises:
        UserError: an actor found a mistake that the user can mend.
    """
    from ray.exceptions import RayError

    try:
        for batch in data.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from batch["value"].to_pylist()
    except RayError as error:
        raise user_error_in(error) or error from None


def row(value: str, frames: Mapping[str, np.ndarray] | None = None) -> pa.Table:
    """A batch of one."""
    frames = frames or {}
    buffers = [array.tobytes() for array in frames.values()]
    return pa.table({"value": [value], "frame_keys": [list(frames)], "frames": [buffers]}, schema=ROW)


def value_of(batch: pa.Table) -> str:
    """The value of a batch of one."""
    value: str = batch["value"][0].as_py()
    return value


def frames_of(batch: pa.Table, plans: Iterable[FramePlan]) -> dict[str, np.ndarray]:
    """The frames of a batch of one, by the key of their plan: read-only views of Ray's shared memory."""
    shapes = {plan.key: (plan.num_frames, plan.height, plan.width, 3) for plan in plans}
    keys = batch["frame_keys"][0].as_py()
    buffers = batch["frames"][0].values
    return {key: np.frombuffer(buffers[i].as_buffer(), np.uint8).reshape(shapes[key]) for i, key in enumerate(keys)}
