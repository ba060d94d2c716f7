"""Which pairs are trained on: every one left out is counted, and no video stands on both sides."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dpo.trainings import write_rows
from videopasta.config import TrainConfig
from videopasta.config.train import ValidationConfig
from videopasta.dpo.data import digest, fitting, pair_files, select
from videopasta.errors import UserError

PLAN = {
    "indices": [0, 1], "timestamps_s": [0.0, 1.0], "sampled_fps": 1.0, "height": 28, "width": 28, "backend": "pyav",
}  # fmt: skip


def make_row(number: int, *, video: int | None = None, **others) -> dict:
    video = number // 3 if video is None else video
    return {
        "pair_id": f"p{number}", "video_uri": f"/v/{video}.mp4", "start_s": None, "end_s": None,
        "video_sha256": f"sha{video}", "failure_mode": ("spatial", "temporal", "cross_frame")[number % 3],
        "prompt": f"What is {number}?", "chosen": f"It is {number}.", "rejected": f"It is not {number}.",
        "adversarial_query": f"Why is it not {number}?", "chosen_frame_plan": PLAN,
    } | others  # fmt: skip


def make_settings(*, share: float = 0.25, **others) -> TrainConfig:
    return TrainConfig(validation=ValidationConfig(share=share), **others)


def test_videos_are_held_out_not_pairs():
    """A quarter of the videos with all their pairs; the same ones whatever the rows' order."""
    rows = [make_row(n) for n in range(60)]
    chosen = select(rows, make_settings())
    train, unseen = ({clip.video_sha256 for clip in side} for side in (chosen.train, chosen.validation))
    assert (len(train), len(unseen)) == (15, 5)
    assert not train & unseen
    assert select(rows[::-1], make_settings()) == chosen
    assert select(rows, make_settings(seed=1)).validation != chosen.validation


def test_few_videos_still_leave_one_to_train_on():
    """With two videos one is held out however small the share; of one, or with a share of 0, none is."""
    assert len(select([make_row(n) for n in range(6)], make_settings(share=0.01)).validation) == 1
    assert select([make_row(n) for n in range(3)], make_settings()).validation == ()
    assert select([make_row(n) for n in range(60)], make_settings(share=0.0)).validation == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": None}, "empty_text"),
        ({"chosen": "  "}, "empty_text"),
        ({"video_sha256": None}, "empty_text"),
        ({"failure_mode": "other"}, "unknown_failure_mode"),
        ({"rejected": "It is 7."}, "equal_answers"),
        ({"chosen_frame_plan": None}, "no_frame_plan"),
        ({"pair_id": "p1"}, "duplicate"),
    ],
)
def test_a_bad_row_is_counted(change, reason):
    """Under its reason; the others are trained on."""
    rows = [make_row(n, **(change if n == 7 else {})) for n in range(12)]
    chosen = select(rows, make_settings())
    assert chosen.skipped == Counter({reason: 1})
    assert sum(len(clip.pairs) for clip in (*chosen.train, *chosen.validation)) == 11


@pytest.mark.parametrize(
    ("prompts", "asked"),
    [
        ("aligned", ["What is 0?"]),
        ("adversarial", ["Why is it not 0?"]),
        ("both", ["What is 0?", "Why is it not 0?"]),
    ],
)
def test_answers_follow_the_query_that_is_wanted(prompts, asked):
    """Behind both queries a pair is two, with ids of their own; without an adversarial query it is left as it is."""
    (clip,) = select([make_row(0)], make_settings(prompts=prompts)).train
    assert [pair.prompt for pair in clip.pairs] == asked
    assert len({pair.pair_id for pair in clip.pairs}) == len(asked)
    if prompts == "both":
        (clip,) = select([make_row(0, adversarial_query=None)], make_settings(prompts=prompts)).train
        assert len(clip.pairs) == 1


class Letters:
    """An encoder with a token a letter, and videos of 20."""

    def prefix(self, plan):
        return list(range(20)), None

    def query(self, prompt):
        return tuple(map(ord, prompt))

    def answer(self, text):
        return tuple(map(ord, text))


def test_what_is_too_long_is_left_out_whole():
    """An answer over its limit, and a pair over the pack; nothing is cut."""
    rows = [make_row(0), make_row(1, chosen="x" * 60), make_row(2, prompt="y" * 90)]
    fits = fitting(select(rows, make_settings()), Letters(), max_answer_tokens=50, tokens_per_pack=100)
    assert fits.skipped == Counter({"answer_too_long": 1, "exceeds_pack": 1})
    assert [pair.pair_id for clip in fits.train for pair in clip.pairs] == ["p0"]


def test_pairs_are_found_and_files_that_are_none_refused(tmp_path: Path):
    """A file, a folder, the output of a generate run; reference log-probs beside the pairs are no pairs."""
    rows = [make_row(n) for n in range(3)]
    write_rows(rows, tmp_path / "out/pairs/part-0.parquet")
    write_rows(rows, tmp_path / "plain/a.parquet")
    write_rows(rows, tmp_path / "plain/reference/key/part-0.parquet")
    assert pair_files(str(tmp_path / "out")) == [str(tmp_path / "out/pairs/part-0.parquet")]
    assert pair_files(str(tmp_path / "plain")) == [str(tmp_path / "plain/a.parquet")]
    assert pair_files(str(tmp_path / "plain/a.parquet")) == [str(tmp_path / "plain/a.parquet")]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="no Parquet files"):
        pair_files(str(tmp_path / "none"))
    pq.write_table(pa.table({"pair_id": ["a"]}), tmp_path / "none/b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet: no column video_uri, .*pairs need pair_id"):
        pair_files(str(tmp_path / "none"))


def test_a_digest_is_of_the_set():
    """Order does not matter, content does."""
    assert digest(["a", "b"]) == digest(["b", "a"]) != digest(["a", "c"])
