from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from ray.exceptions import RayError

from videopasta import clip_stream
from videopasta.clip_stream import dataset, pool_options, row, stream
from videopasta.config import PoolConfig
from videopasta.errors import UserError


class Reserving:
    """Answers with what it holds."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        import ray

        held = ray.get_runtime_context().get_assigned_resources()
        return row(" ".join(f"{name}={amount:g}" for name, amount in sorted(held.items())))


@pytest.fixture(scope="module")
def ray_with_groups(ray_folder: Path) -> Iterator[None]:
    """A Ray whose one node has a custom resource, and the name that Ray gives a GPU on AWS, which has spaces."""
    import ray

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=str(ray_folder),
        resources={"judge": 1, "accelerator_type:RTX PRO Server 6000": 1},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.mark.parametrize("resources", [{}, {"judge": 0.5}])
def test_actors_of_a_pool_reserve_its_custom_resources(ray_with_groups: None, resources: dict[str, float]):
    """So Ray puts them on nodes that have some, and its autoscaler starts these."""
    pool = PoolConfig(num_cpus=0.5, resources=resources)
    data = dataset(["a", "b"]).map_batches(Reserving, **pool_options(pool))
    assert set(stream(data)) == {"CPU=0.5 judge=0.5" if resources else "CPU=0.5"}


class Mistaken:
    """Finds a mistake when it starts, or with its first clip."""

    def __init__(self, *, at_once: bool) -> None:
        self._error = UserError("model 'x': no such folder;\nname another")
        if at_once:
            raise self._error

    def __call__(self, batch: pa.Table) -> pa.Table:
        raise self._error


@pytest.mark.parametrize("at_once", [True, False])
def test_a_mistake_that_an_actor_finds_is_told_as_one(ray_with_groups: None, at_once: bool):
    """In its own words, without Ray's traceback."""
    pool = pool_options(PoolConfig(num_cpus=0.1))
    data = dataset(["a"]).map_batches(Mistaken, fn_constructor_kwargs={"at_once": at_once}, **pool)
    with pytest.raises(UserError) as told:
        list(stream(data))
    assert str(told.value) == "model 'x': no such folder;\nname another"
    assert type(told.value) is UserError


class Broken:
    """Does what no user can mend."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        raise RuntimeError("a mistake of ours")


def test_a_mistake_of_ours_keeps_its_traceback(ray_with_groups: None):
    """Whoever mends it needs the line."""
    data = dataset(["a"]).map_batches(Broken, **pool_options(PoolConfig(num_cpus=0.1)))
    with pytest.raises(RayError, match=r"(?s)test_clip_stream\.py.*a mistake of ours"):
        list(stream(data))


class Counting:
    """Answers with how many rows it was given."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        return row(f"{batch.num_rows} {batch['value'][0].as_py()}")


def test_more_clips_than_blocks_come_one_by_one_all_the_same(ray_with_groups: None, monkeypatch: pytest.MonkeyPatch):
    """A million blocks would fill the head; a pool behind the first one gets blocks of one row as before."""
    import ray

    monkeypatch.setattr(clip_stream, "BLOCKS", 10)
    context = ray.data.DataContext.get_current()
    monkeypatch.setattr(context, "target_max_block_size", context.target_max_block_size)
    pool = pool_options(PoolConfig(num_cpus=0.1))
    data = dataset(str(number) for number in range(64))
    assert data.num_blocks() == 10
    data = data.map_batches(Counting, **pool).map_batches(Counting, **pool)
    blocks = [block for bundle in data.iter_internal_ref_bundles() for block in ray.get(list(bundle.block_refs))]
    assert [block.num_rows for block in blocks] == [1] * 64
    values = sorted(block["value"][0].as_py() for block in blocks)
    assert values == sorted(f"1 1 {number}" for number in range(64))
