"""The vision cache: what is put comes back, another tower's never does, and it stays within its bounds."""

import os
from pathlib import Path

import pytest
import torch

from videopasta.dpo.vision_cache import VisionCache, tower_hash

BYTES = 4 * 1000


def features(value: float) -> torch.Tensor:
    return torch.full((100, 10), float(value))


def never() -> torch.Tensor:
    raise AssertionError("computed although it is there")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_computed_once(tmp_path: Path, dtype):
    """The second reader, also in another process's cache object, gets the first one's numbers and type."""
    made = torch.randn(7, 3).to(dtype)
    assert VisionCache(tmp_path, "tower", 10**9).get("clip", lambda: made).dtype == dtype
    assert torch.equal(VisionCache(tmp_path, "tower", 10**9).get("clip", never), made)


def test_another_tower_is_another_key(tmp_path: Path):
    """Features of other weights are not found, whatever the clip."""
    VisionCache(tmp_path, "one", 10**9).get("clip", lambda: features(1))
    assert VisionCache(tmp_path, "two", 10**9).get("clip", lambda: features(2))[0, 0] == 2


def test_the_longest_unread_go_first(tmp_path: Path):
    """At its bound the cache deletes what was not read for longest, and what was read again stays."""
    cache = VisionCache(tmp_path, "tower", 3 * BYTES + 1000)
    for n in range(3):
        before = set(tmp_path.iterdir())
        cache.get(f"clip{n}", lambda n=n: features(n))
        (made,) = set(tmp_path.iterdir()) - before
        os.utime(made, (n, n))
    cache.get("clip0", never)
    cache.get("clip3", lambda: features(3))
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    for n in (0, 2, 3):
        assert cache.get(f"clip{n}", never)[0, 0] == n
    assert cache.get("clip1", lambda: features(7))[0, 0] == 7


def test_features_too_large_for_the_cache_are_still_given(tmp_path: Path):
    """A bound below one clip costs speed, not correctness."""
    cache = VisionCache(tmp_path, "tower", 10)
    assert cache.get("clip0", lambda: features(0))[0, 0] == 0
    assert cache.get("clip1", lambda: features(1))[0, 0] == 1
    assert len(list(tmp_path.glob("*"))) == 1


def test_the_tower_hash_is_of_values_and_type():
    """One changed number, or another type, gives another hash; a copy gives the same."""
    torch.manual_seed(0)
    tower = torch.nn.Linear(3, 2)
    before = tower_hash(tower)
    assert tower_hash(tower.to(torch.float32)) == before
    assert tower_hash(torch.nn.Linear(3, 2).to(torch.bfloat16)) != before
    with torch.no_grad():
        tower.bias[0] += 1
    assert tower_hash(tower) != before
