"""What each trainer's rows look like, and that an import reads them back."""

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.exchange.rows import make_row
from videopasta.config import FAILURE_MODES
from videopasta.exchange.formats import (
    EXTRAS,
    FORMATS,
    TEXTS,
    card_header,
    check_span,
    check_texts,
    dataset_info,
    rewritten,
)
from videopasta.exchange.parse import read_row
from videopasta.exchange.rejects import RowError
from videopasta.video import clip_id

VIDEO, FRAMES = "/videos/a.mp4", ("/f/000.png", "/f/001.png")
_JSON = [name for name, form in FORMATS.items() if not form.is_parquet]


def of_theirs(row: dict) -> dict:
    """Without what stands under our own names."""
    return {name: value for name, value in row.items() if name not in EXTRAS}


def test_ms_swift_row():
    """Messages, the rejected response, a list of videos."""
    row = make_row(prompt="Where?", chosen="Left.", rejected="Right.")
    assert of_theirs(FORMATS["ms-swift"].write(row, VIDEO)) == {
        "messages": [{"role": "user", "content": "<video>Where?"}, {"role": "assistant", "content": "Left."}],
        "rejected_response": "Right.",
        "videos": [VIDEO],
    }
    assert FORMATS["ms-swift"].write(row, FRAMES)["videos"] == [list(FRAMES)]


def test_llama_factory_row():
    """A sharegpt conversation, two messages, a list of videos; `dataset_info.json` names the columns."""
    row = make_row(prompt="Where?", chosen="Left.", rejected="Right.")
    made = FORMATS["llama-factory"].write(row, FRAMES)
    assert of_theirs(made) == {
        "conversations": [{"from": "human", "value": "<video>Where?"}],
        "chosen": {"from": "gpt", "value": "Left."},
        "rejected": {"from": "gpt", "value": "Right."},
        "videos": [list(FRAMES)],
        "video_uri": VIDEO,
    }
    info = dataset_info({"train": "train.jsonl"})["videopasta_train"]
    assert info["ranking"]
    assert info["formatting"] == "sharegpt"
    assert set(info["columns"].values()) <= made.keys()


def test_trl_row():
    """Conversations; frames are images, which TRL puts before a prompt of text; a video is a part of the prompt."""
    row = make_row(prompt="Where?", chosen="Left.", rejected="Right.")
    framed, linked = (FORMATS["trl"].write(row, media) for media in (FRAMES, VIDEO))
    assert framed["prompt"] == [{"role": "user", "content": "Where?"}]
    assert framed["images"] == list(FRAMES)
    assert linked["prompt"][0]["content"] == [{"type": "video"}, {"type": "text", "text": "Where?"}]
    assert linked["videos"] == [VIDEO]
    assert framed["chosen"] == [{"role": "assistant", "content": "Left."}]
    assert framed["rejected"] == [{"role": "assistant", "content": "Right."}]


def test_flat_rows():
    """The columns and no others."""
    row = make_row()
    assert list(FORMATS["flat"].write(row, VIDEO)) == ["id", "video", "prompt", "chosen", "rejected"]
    assert list(FORMATS["videopasta-7k"].write(row, VIDEO)) == ["video", "question", "chosen", "rejected", "category"]


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
_MODES = st.sampled_from(FAILURE_MODES)


@pytest.mark.parametrize("name", _JSON)
@settings(deadline=None)  # a busy machine is no failure
@given(_WORDS, _WORDS, _WORDS, _MODES, st.booleans())
def test_what_a_format_carries_comes_back(name: str, prompt: str, chosen: str, rejected: str, mode: str, framed: bool):
    """Through JSON, whatever the texts are; a query without white space around it, as all of ours are."""
    form = FORMATS[name]
    row = make_row(prompt=prompt.strip(), chosen=chosen, rejected=rejected + "!", failure_mode=mode)
    try:
        check_texts(row)
    except RowError:
        return
    if row["chosen"] == row["rejected"]:
        return
    media = FRAMES if framed and form.takes_frames else VIDEO
    draft = read_row(json.loads(json.dumps(form.write(row, media))), default_mode="spatial")
    assert draft.video == VIDEO
    for column in set(form.carries) - {"video_uri", "pair_id"}:
        assert getattr(draft, column) == row[column], column


@pytest.mark.parametrize("column", TEXTS)
@pytest.mark.parametrize("text", ["Is <video> shown?", "<image>", "a<audio>b"])
def test_a_text_that_trainers_would_take_for_a_video_is_rejected(column: str, text: str):
    """They would look for a second video."""
    with pytest.raises(RowError) as error:
        check_texts(make_row(**{column: text}))
    assert (error.value.reason, error.value.column) == ("placeholder", column)


def test_a_part_of_a_video_is_not_shown_as_all_of_it():
    """Whole videos are told by their clip's id, whatever was rounded; others by what is known of their length."""
    sha256 = "a" * 64
    check_span(make_row(start_s=0.0, end_s=7.81))
    part = clip_id(sha256, None, 5.0)
    check_span(make_row(clip_id=part, end_s=5.0, video_info={"duration_s": 5.04}))
    for span in (
        {"end_s": 5.0, "video_info": {"duration_s": 9.0}},
        {"end_s": 5.0},
        {"start_s": 2.0, "end_s": None},
    ):
        with pytest.raises(RowError) as error:
            check_span(make_row(**{"clip_id": part, **span}))
        assert error.value.reason == "span"


def test_prefixes_are_rewritten():
    """The first that fits, once, at the start alone."""
    rules = (("/data/", "s3://b/"), ("/", "/mnt/"), ("s3://b/", "x"))
    assert rewritten("/data/a/data/b.mp4", rules) == "s3://b/a/data/b.mp4"
    assert rewritten("/other.mp4", rules) == "/mnt/other.mp4"
    assert rewritten("a.mp4", rules) == "a.mp4"


def test_card_header_is_yaml_that_names_the_files():
    """Of each split."""
    text = card_header({"train": "train.jsonl", "validation": "data/v-*.parquet"}).split("---")[1]
    (config,) = yaml.safe_load(text)["configs"]
    assert config["data_files"] == [
        {"split": "train", "path": "train.jsonl"}, {"split": "validation", "path": "data/v-*.parquet"},
    ]  # fmt: skip
