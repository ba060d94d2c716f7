"""What meters and paces say; that Ray shows it is in `cluster/test_dashboards.py`."""

from videopasta.telemetry import Metric, Pace


def test_time_left_is_by_the_last_ones():
    """Ten done at one a second: the rest at that pace."""
    pace = Pace()
    pace.progress(30, 0.0)
    for n in range(10):
        pace.progress(29 - n, 100.0 + n)
    assert pace.eta_s(109.0) == 20.0


def test_time_left_grows_while_nothing_is_done():
    """A stall is no constant promise."""
    pace = Pace()
    pace.progress(10, 0.0)
    for n in range(3):
        pace.progress(9 - n, float(n))
    assert pace.eta_s(2.0) == 7.0
    assert pace.eta_s(20.0) == 70.0


def test_time_left_is_not_known_before_two_are_done():
    """Models load at first. When none is left, it is 0."""
    pace = Pace()
    pace.progress(2, 0.0)
    assert pace.eta_s(9.0) is None
    pace.progress(1, 10.0)
    assert pace.eta_s(11.0) is None
    pace.progress(0, 12.0)
    assert pace.eta_s(50.0) == 0.0


def test_names_in_prometheus_are_rays():
    """A prefix, `_total` for counters, three series of a histogram."""
    assert Metric("counter", "a", "").exported == ("ray_a_total",)
    assert Metric("gauge", "a", "").exported == ("ray_a",)
    assert Metric("histogram", "a", "").exported == ("ray_a_bucket", "ray_a_count", "ray_a_sum")
