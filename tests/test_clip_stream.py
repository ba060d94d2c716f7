from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from videopasta.clip_stream import dataset, pool_options, row, stream
from videopasta.config import PoolConfig


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
