import pytest

from videopasta.pairs import pair_id

PARTS = {
    "clip_id": "c1",
    "failure_mode": "spatial",
    "prompt": "Where is the cup?",
    "chosen": "Left.",
    "rejected": "Right.",
    "adversary": "flipped_relation",
    "chosen_plan": "p1",
    "rejected_plan": "p2",
}


def test_id_is_stable():
    """Caches of other runs are keyed by it: this value never changes."""
    assert pair_id(**PARTS) == "794482bf62abb61db40a5850e0ea406f"


@pytest.mark.parametrize("part", PARTS)
def test_id_differs_by_every_part(part: str):
    """Another word, plan or clip is another pair."""
    assert pair_id(**PARTS | {part: PARTS[part] + " "}) != pair_id(**PARTS)


def test_parts_do_not_run_into_each_other():
    """Exchanged or shifted texts are other pairs."""
    assert pair_id(**PARTS | {"chosen": "Right.", "rejected": "Left."}) != pair_id(**PARTS)
    assert pair_id(**PARTS | {"chosen": "a", "rejected": "bc"}) != pair_id(**PARTS | {"chosen": "ab", "rejected": "c"})


def test_id_is_32_hex_digits_of_any_script():
    """Answers need not be English."""
    value = pair_id(**PARTS | {"chosen": "左边的“杯子”"})
    assert len(value) == 32
    assert set(value) <= set("0123456789abcdef")
