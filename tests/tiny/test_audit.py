"""The audit: what counts as right, and what the shares are."""

import hashlib
from pathlib import Path

import pytest

from tests.tiny.test_language import make_scene
from videopasta.errors import UserError
from videopasta.tiny import audit
from videopasta.tiny.truth import read_truth, write_clips
from videopasta.tiny.world import scenes


def make_row(**changes):
    row = {
        "video_sha256": "v",
        "failure_mode": "temporal",
        "adversary": "reordered",
        "prompt": "What happens right after the circle moves down?",
        "chosen": "Right after the circle moves down, the ring disappears.",
        "rejected": "First the ring disappears, then the circle moves down.",
        "accepted": True,
        "verdict": {"genuine": True},
        "drop_reason": None,
    }
    return row | changes


@pytest.mark.parametrize(
    ("changes", "preferred_true", "adversarial_false"),
    [
        ({}, True, True),
        ({"chosen": "Right after the circle moves down, the scene changes."}, False, True),
        ({"chosen": "First the circle moves down, then the ring disappears."}, False, True),  # true, but no answer
        ({"rejected": "First the circle moves down, then the ring disappears."}, True, False),
        ({"rejected": "No, first the circle moves down, then the ring disappears."}, True, False),
        ({"rejected": "Something else."}, True, False),
        ({"prompt": "Is it nice?"}, False, True),
        (
            {
                "prompt": "Where in the picture is the cross at the start?",
                "chosen": "There is no cross in the video.",
                "rejected": "The cross is in the centre at the start.",
            },
            True,
            True,
        ),
        ({"prompt": "Where in the picture is the cross at the start?", "chosen": "There is no ring."}, False, True),
    ],
)
def test_what_is_right(changes, preferred_true, adversarial_false):
    """True and to the point on one side, false on the other; unreadable is right on neither."""
    checked = audit.check_row(make_row(**changes), make_scene())
    assert (checked.preferred_true, checked.adversarial_false) == (preferred_true, adversarial_false)


def test_shares_of_a_known_run():
    """Five judged candidates: two right ones kept, one wrong one kept, two right ones refused."""
    wrong = {"chosen": "Right after the circle moves down, the scene changes."}
    rows = [
        make_row(),
        make_row(),
        make_row(**wrong),
        make_row(accepted=False, drop_reason="judge_not_genuine"),
        make_row(accepted=False, verdict=None, drop_reason="judge_unreadable"),
        make_row(accepted=False, verdict=None, **wrong),
        make_row(video_sha256="unknown"),
    ]
    result = audit.audit(rows, {"v": make_scene()})
    assert result.num_unknown == 1
    assert result.num_clips == 1
    assert result.kept_right["all"].value == pytest.approx(2 / 3)
    assert result.judge["precision"].value == pytest.approx(2 / 3)
    assert result.judge["recall"].value == pytest.approx(2 / 4)
    assert result.judge["f1"].value == pytest.approx(4 / 7)
    assert result.judge["base_rate"].value == pytest.approx(4 / 5)
    assert result.preferred_true["all"].value == pytest.approx(4 / 6)
    assert result.adversarial_true["temporal/reordered"].value == 0
    assert result.unreadable_queries.value == 0


def test_intervals_are_over_clips():
    """Rows of one clip hang together: many rows of few clips make a wide interval."""
    wrong = {"chosen": "Nothing."}
    truth = {f"v{i}": make_scene() for i in range(4)}
    few = [make_row(video_sha256=f"v{i}", **(wrong if i == 0 else {})) for i in range(4) for _ in range(100)]
    share = audit.audit(few, truth).kept_right["all"]
    assert share.value == pytest.approx(0.75)
    assert share.low <= 0.25
    assert share.high == 1.0


def test_no_rows_are_no_number():
    """A share of nothing is shown as a dash, not as zero."""
    assert str(audit.audit([], {}).kept_right["all"]) == "-"
    assert audit.tables(audit.audit([], {}))


def test_truth_is_found_by_content(tmp_path: Path):
    """The written scenes come back under the hashes of the files; the same scenes give the same bytes."""
    stream = scenes("test", seed=0)
    chosen = [next(stream) for _ in range(3)]
    write_clips(chosen, tmp_path / "one")
    write_clips(chosen, tmp_path / "two")
    truth = read_truth(tmp_path / "one")
    assert truth == read_truth(tmp_path / "two" / "truth.jsonl")
    for number, scene in enumerate(chosen):
        content = (tmp_path / "one" / f"clip_{number:03d}.mp4").read_bytes()
        assert truth[hashlib.sha256(content).hexdigest()] == scene


def test_a_broken_truth_names_its_line(tmp_path: Path):
    """What is missing or cannot be read is said with its place."""
    with pytest.raises(UserError, match=r"truth.jsonl: no such file"):
        read_truth(tmp_path)
    (tmp_path / "truth.jsonl").write_text('{"sha256": "x"}\n')
    with pytest.raises(UserError, match="line 1"):
        read_truth(tmp_path)
