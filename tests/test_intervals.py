import math

import numpy as np

from videopasta.intervals import difference, ratio, share


def test_share_and_its_interval():
    """The share is exact, and its interval holds it."""
    found = share([(f"clip {n}", n % 4 != 0) for n in range(40)])
    assert (found.value, found.count) == (0.75, 40)
    assert found.low < 0.75 < found.high


def test_interval_is_over_clips():
    """Ten equal rows of a clip say no more than one."""
    once = share([(f"clip {n}", n % 2 == 0) for n in range(20)])
    tenfold = share([(f"clip {n}", n % 2 == 0) for n in range(20) for _ in range(10)])
    assert (once.low, once.high) == (tenfold.low, tenfold.high)


def test_interval_covers_the_truth():
    """Of 200 samples of 40 clips with five rows each, about 95 % of the intervals hold the true share."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        by_clip = rng.beta(3, 2, 40)
        found = share((str(n), bool(rng.random() < p)) for n, p in enumerate(by_clip) for _ in range(5))
        hits += found.low <= 0.6 <= found.high
    assert 180 <= hits <= 198


def test_difference_is_paired():
    """The same rows before and after: a change of all rows by as much has no spread, however they differ."""
    rows = [(f"clip {n}", float(n), n + 2.0) for n in range(10)]
    found = difference(rows)
    assert (found.before, found.after) == (4.5, 6.5)
    assert (found.change.value, found.change.low, found.change.high) == (2.0, 2.0, 2.0)


def test_nothing_is_not_a_number():
    """No rows give no share, and JSON gets nulls."""
    assert math.isnan(share([]).value)
    assert math.isnan(ratio([("a", 1.0, 0.0)]).value)
    assert difference([]).to_dict()["before"] is None
