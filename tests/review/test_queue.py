import pytest

from videopasta.review.queue import Entry, Filters, next_open, place


def make_entry(pair_id: str, **others: object) -> Entry:
    values = {
        "failure_mode": "spatial", "adversary": "flipped_relation", "accepted": True, "drop_reason": None,
        "confidence": 0.9, "agreement": 1.0,
    }  # fmt: skip
    return Entry(pair_id, **values | others)  # type: ignore[arg-type]


ENTRIES = [
    make_entry("sure"),
    make_entry("unsure", confidence=0.2),
    make_entry("split", agreement=0.6),
    make_entry("temporal", failure_mode="temporal", adversary="reordered"),
    make_entry("dropped", accepted=False, drop_reason="judge_not_genuine", confidence=0.7),
    make_entry("guarded", accepted=False, drop_reason="length_ratio", confidence=None, agreement=None),
]


def ids(filters: Filters, *decided: str) -> list[str]:
    return [entry.pair_id for entry in filters.select(ENTRIES, decided)]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), ["unsure", "split", "sure", "temporal"]),
        (Filters(order="stored"), ["sure", "unsure", "split", "temporal"]),
        (Filters(shown="dropped"), ["dropped", "guarded"]),
        (Filters(shown="all"), ["unsure", "split", "dropped", "sure", "temporal", "guarded"]),
        (Filters(failure_mode="temporal"), ["temporal"]),
        (Filters(adversary="reordered"), ["temporal"]),
        (Filters(shown="all", max_confidence=0.7), ["unsure", "dropped"]),
        (Filters(disagreed=True), ["split"]),
    ],
)
def test_filters_keep_what_they_name_least_sure_first(filters: Filters, expected: list[str]):
    """A candidate that no judge saw comes last, and has no confidence to pass a limit with."""
    assert ids(filters) == expected


def test_undecided_leaves_out_what_anybody_decided():
    """And only then."""
    assert ids(Filters(undecided=True), "split", "sure") == ["unsure", "temporal"]
    assert "split" in ids(Filters(), "split", "sure")


def test_place_names_the_neighbours():
    """At both ends there is one; who no longer passes is sent to the start."""
    queue = Filters().select(ENTRIES, ())
    assert (place("unsure", queue).previous, place("unsure", queue).following) == (None, "split")
    assert (place("temporal", queue).number, place("temporal", queue).following) == (4, None)
    assert (place("dropped", queue).number, place("dropped", queue).following) == (None, "unsure")


def test_next_open_goes_round_once():
    """From where one is, past what is decided, to the start again; at the end there is none."""
    queue = Filters().select(ENTRIES, ())
    assert next_open(queue, None, {"unsure"}) == "split"
    assert next_open(queue, "sure", {"sure", "temporal"}) == "unsure"
    assert next_open(queue, "sure", {"unsure", "split", "sure", "temporal"}) is None
