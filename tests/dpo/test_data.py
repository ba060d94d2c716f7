"""Which pairs are trained on: every one left out is counted, and no video stands on both sides."""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.mutants import damage_text
from tests.dpo.trainings import write_rows
from videopasta.config import TrainConfig
from videopasta.config.train import ValidationConfig
from videopasta.dpo.data import COLUMNS, digest, digest_rows, fitting, pair_files, read_pairs, select
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
        ({"chosen_frame_plan": PLAN | {"indices": None}}, "bad_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"indices": [1, 0]}}, "bad_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"indices": [0, 1, 2]}}, "bad_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"timestamps_s": [0.0, None]}}, "bad_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"sampled_fps": float("nan")}}, "bad_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"height": 0}}, "bad_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"backend": "opencv"}}, "bad_frame_plan"),
        ({"chosen_frame_plan": {"indices": [0, 1]}}, "bad_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"more": 1}}, "bad_frame_plan"),
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


_NUMBERS = st.none() | st.integers(-(2**31), 2**31 - 1)
_FLOATS = st.none() | st.floats()
_PLANS = st.fixed_dictionaries(
    {"indices": st.none() | st.lists(_NUMBERS, max_size=4), "timestamps_s": st.none() | st.lists(_FLOATS, max_size=4),
     "sampled_fps": _FLOATS, "height": _NUMBERS, "width": _NUMBERS, "backend": st.sampled_from([None, "pyav", "x"])}
)  # fmt: skip
_TEXTS = st.none() | st.text(st.characters(codec="utf-8"), max_size=5)
_ROWS = st.fixed_dictionaries(
    {name: _TEXTS for name in COLUMNS if name not in ("start_s", "end_s", "failure_mode", "chosen_frame_plan")}
    | {"start_s": _FLOATS, "end_s": _FLOATS, "failure_mode": _TEXTS | st.just("spatial")}
    | {"chosen_frame_plan": st.none() | st.just(PLAN) | _PLANS}
)


@given(st.lists(_ROWS, min_size=1, max_size=6), st.sampled_from(["aligned", "adversarial", "both"]))
@settings(max_examples=60, deadline=None)
def test_any_file_of_the_right_types_is_read(rows, prompts):
    """Nulls, empty texts, plans that are none: each row is trained on or counted, and those used can be named."""
    with TemporaryDirectory() as folder:
        write_rows(rows, Path(folder) / "a.parquet")
        read = read_pairs(pair_files(folder))
    chosen = select(read, make_settings(share=0.0, prompts=prompts))
    used, skipped = sum(len(clip.pairs) for clip in chosen.train), sum(chosen.skipped.values())
    if prompts == "aligned":
        assert used + skipped == len(rows)
    assert used <= (len(rows) - skipped) * 2
    chosen.digest()
    digest_rows(read)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("kind", [pa.binary(), pa.bool_(), pa.list_(pa.bool_()), pa.struct([("a", pa.int8())])])
def test_a_column_of_another_type_is_refused(tmp_path: Path, name: str, kind: pa.DataType):
    """The file and the column are named; nothing is guessed."""
    write_rows([make_row(n) for n in range(3)], tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    table = table.set_column(table.schema.get_field_index(name), name, pa.nulls(3, kind))
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match=rf"a\.parquet: column {name} holds"):
        pair_files(str(tmp_path))


def test_pairs_of_other_writers_are_read(tmp_path: Path):
    """Large strings, dictionaries, 64-bit numbers, whole seconds, a column of nothing but nulls."""
    table = pa.Table.from_pylist([make_row(n, start_s=n, end_s=n + 1, adversarial_query=None) for n in range(3)])
    columns = {name: table[name] for name in table.column_names}
    columns["pair_id"] = columns["pair_id"].dictionary_encode()
    columns["prompt"] = columns["prompt"].cast(pa.large_string())
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    chosen = select(read_pairs(pair_files(str(tmp_path))), make_settings(share=0.0))
    assert sum(len(clip.pairs) for clip in chosen.train) == 3


@given(st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_is_refused_or_read(number: int):
    """Never a traceback."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "a.parquet"
        write_rows([make_row(n) for n in range(6)], file)
        file.write_bytes(damage_text(number, file.read_bytes()))
        with suppress(UserError):
            select(read_pairs(pair_files(folder)), make_settings())


def test_a_digest_is_of_the_set():
    """Order does not matter, content does."""
    assert digest(["a", "b"]) == digest(["b", "a"]) != digest(["a", "c"])
