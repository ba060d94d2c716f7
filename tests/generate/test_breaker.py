import pytest

from videopasta.config.generate import BreakerConfig
from videopasta.errors import UserError
from videopasta.generate.breaker import Breaker
from videopasta.generate.work import Failure


def failed(reason: str = "missing", stage: str = "decode") -> Failure:
    return Failure(stage=stage, reason=reason, detail=f"/mnt/a.mp4: {reason}")


def make_breaker() -> Breaker:
    return Breaker(BreakerConfig(window=10, max_failed_share=0.5))


def test_one_reason_for_most_of_the_window_stops_the_run():
    """With the reason, an example and the fix; not before the window is full."""
    breaker = make_breaker()
    for _ in range(9):
        breaker.add(failed())
    with pytest.raises(
        UserError, match=r"10 of the last 10 .* missing \(decode; the last: /mnt/a.mp4.*--retry-quarantined"
    ):
        breaker.add(failed())


def test_half_of_the_window_is_borne():
    """More than the share is too much, the share is not."""
    breaker = make_breaker()
    for _ in range(50):
        breaker.add(failed())
        breaker.add(None)


def test_many_reasons_are_no_single_cause():
    """Bad videos fail for reasons of their own."""
    breaker = make_breaker()
    for number in range(60):
        breaker.add(failed(("missing", "corrupt", "truncated")[number % 3]))


def test_content_that_is_there_already_is_no_failure():
    """A second folder of copies goes through."""
    breaker = make_breaker()
    for _ in range(60):
        breaker.add(failed("duplicate", stage="commit"))


def test_clips_long_ago_do_not_count():
    """A run that began badly and was mended in its course goes on."""
    breaker = make_breaker()
    for _ in range(5):
        breaker.add(failed())
    for _ in range(10):
        breaker.add(None)
    for _ in range(5):
        breaker.add(failed())
