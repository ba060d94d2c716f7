"""Rows of others: each is a pair, or an error that says what is wrong."""

from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.rows import make_row
from videopasta.exchange.formats import FORMATS
from videopasta.exchange.parse import CHOSEN, MODE, PROMPT, REJECTED, VIDEO, Draft, read_row
from videopasta.exchange.rejects import RowError

FLAT = {"video": "a.mp4", "prompt": "Where?", "chosen": "Left.", "rejected": "Right.", "category": "spatial"}


def renamed(row: dict, old: str, new: str) -> dict:
    return {new if name == old else name: value for name, value in row.items()}


@pytest.mark.parametrize(
    ("old", "new"),
    [*product(["video"], VIDEO), *product(["prompt"], PROMPT), *product(["chosen"], CHOSEN),
     *product(["rejected"], REJECTED), *product(["category"], MODE)],
)  # fmt: skip
def test_every_alias_is_read(old: str, new: str):
    """As sets in the wild name their columns."""
    assert read_row(renamed(FLAT, old, new)) == Draft("a.mp4", "Where?", "Left.", "Right.", "spatial")


@pytest.mark.parametrize(
    ("value", "mode"),
    [("Spatial Misalignment", "spatial"), ("TEMPORAL", "temporal"), ("cross-frame", "cross_frame"),
     ("Cross Frame Disconnection", "cross_frame"), ("crossframe", "cross_frame")],
)  # fmt: skip
def test_failure_modes_are_read_however_they_are_written(value: str, mode: str):
    """Case, spaces, hyphens, more words behind."""
    assert read_row(FLAT | {"category": value}).failure_mode == mode


def turn(role: str, content: object) -> dict:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [turn("user", "<video>\nWhere?")], "chosen": [turn("assistant", "Left.")],
         "rejected": [turn("assistant", "Right.")]},
        {"chosen": [turn("user", "Where?"), turn("assistant", "Left.")],
         "rejected": [turn("user", "Where?"), turn("assistant", "Right.")]},
        {"prompt": [turn("user", [{"type": "video"}, {"type": "text", "text": "Where?"}])],
         "chosen": [turn("assistant", [{"type": "text", "text": "Left."}])], "rejected": "Right."},
        {"messages": [turn("user", "<video>Where?"), turn("assistant", "Left.")],
         "rejected_messages": [turn("user", "<video>Where?"), turn("assistant", "Right.")]},
        {"messages": [turn("user", "<video>Where?")], "chosen": "Left.", "rejected_response": "Right."},
        {"conversations": [{"from": "human", "value": "<video>Where?"}], "chosen": {"from": "gpt", "value": "Left."},
         "rejected": {"from": "gpt", "value": "Right."}},
        {"prompt": "Where? <video>", "chosen": "Left.", "rejected": "Right."},
    ],
)  # fmt: skip
def test_conversations_are_read(row: dict):
    """TRL with and without a prompt apart, ms-swift, LLaMA-Factory; the place of the video is not part of the query."""
    draft = read_row(row | {"videos": ["a.mp4"]}, "temporal")
    assert draft == Draft("a.mp4", "Where?", "Left.", "Right.", "temporal")


PLAN = make_row()["chosen_frame_plan"]


@pytest.mark.parametrize(
    ("change", "reason", "column"),
    [
        ({"video": None}, "no_video", None),
        ({"video": 7}, "no_text", "video"),
        ({"video": "a\0b"}, "no_video", "video"),
        ({"video": ["a.mp4", "b.mp4"]}, "not_one_video", "video"),
        ({"video": [["f/0.png", "f/1.png"]]}, "frames_without_video", "video"),
        ({"video": {"bytes": "text", "path": None}}, "no_video", "video"),
        ({"video": "s3://key:secret@bucket/a.mp4"}, "secret", "video"),
        ({"prompt": None}, "no_prompt", None),
        ({"prompt": " \n"}, "empty_text", "prompt"),
        ({"prompt": "<video>"}, "empty_text", "prompt"),
        ({"prompt": {"a": 1}}, "no_messages", "prompt"),
        ({"prompt": [turn("system", "Be short."), turn("user", "Where?")]}, "not_one_query", "prompt"),
        ({"prompt": [turn("user", "A?"), turn("assistant", "B."), turn("user", "C?")]}, "not_one_query", "prompt"),
        ({"prompt": [turn("user", 3)]}, "no_text", "prompt"),
        ({"prompt": ["Where?"]}, "no_messages", "prompt"),
        ({"prompt": [{"content": "Where?"}]}, "no_messages", "prompt"),
        ({"chosen": None}, "no_chosen", None),
        ({"chosen": ""}, "empty_text", "chosen"),
        ({"chosen": "\ud800"}, "not_unicode", "chosen"),
        ({"rejected": []}, "no_messages", "rejected"),
        ({"rejected": 1.5}, "no_text", "rejected"),
        ({"rejected": "Left."}, "equal_answers", "rejected"),
        ({"category": None}, "no_failure_mode", None),
        ({"category": "colour"}, "unknown_failure_mode", "category"),
        ({"category": 3}, "unknown_failure_mode", "category"),
        ({"start_s": "soon"}, "bad_span", "start_s"),
        ({"end_s": float("nan")}, "bad_span", "end_s"),
        ({"start_s": -1}, "bad_span", "start_s"),
        ({"end_s": True}, "bad_span", "end_s"),
        ({"video_sha256": "abc"}, "bad_sha256", "video_sha256"),
        ({"chosen_frame_plan": "1, 2"}, "bad_frame_plan", "chosen_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"indices": [0, 10, 5, 30]}}, "bad_frame_plan", "chosen_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"indices": [0, 10, 20, 2**40]}}, "bad_frame_plan", "chosen_frame_plan"),
        ({"chosen_frame_plan": PLAN | {"height": 56.5}}, "bad_frame_plan", "chosen_frame_plan"),
        ({"rejected_frame_plan": PLAN | {"width": 10**400}}, "bad_frame_plan", "rejected_frame_plan"),
    ],
)  # fmt: skip
def test_a_bad_row_says_what_is_wrong(change: dict, reason: str, column: str | None):
    """Reason, column, value, and how to mend it."""
    with pytest.raises(RowError) as error:
        read_row(FLAT | change)
    assert (error.value.reason, error.value.column) == (reason, column)
    assert error.value.fix


def test_a_secret_in_a_uri_is_not_repeated():
    """Rejects are written down."""
    with pytest.raises(RowError) as error:
        read_row(FLAT | {"video": "https://host/a.mp4?X-Amz-Signature=abcdef"})
    assert "abcdef" not in str(error.value.args)


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "type", "text", "bytes", "path"]), inner)
        | st.dictionaries(st.sampled_from(list(PLAN)), inner)
    ),
    max_leaves=8,
)
_COLUMNS = ["messages", "conversations", "rejected_messages", "start_s", "end_s", "clip_id", "video_sha256",
            "chosen_frame_plan", "rejected_frame_plan", "adversary", "adversarial_query",
            *VIDEO, *PROMPT, *CHOSEN, *REJECTED, *MODE]  # fmt: skip
_SOUND = [FLAT, *(form.write(make_row(), "a.mp4") for form in FORMATS.values())]


@given(st.sampled_from(_SOUND), st.dictionaries(st.sampled_from(_COLUMNS), _VALUES, max_size=4))
@settings(max_examples=400, deadline=None)
def test_any_row_is_a_pair_or_an_error(row: dict, changes: dict):
    """Never anything else, and a pair is one that can be stored."""
    with suppress(RowError):
        draft = read_row(row | changes, "spatial")
        for text in (draft.prompt, draft.chosen, draft.rejected, draft.adversary):
            assert text.strip()
            text.encode()


@settings(deadline=None)
@given(st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5))
def test_any_object_is_a_pair_or_an_error(value: object):
    """Of other files altogether."""
    with suppress(RowError):
        read_row(value if isinstance(value, dict) else {"a": value})
