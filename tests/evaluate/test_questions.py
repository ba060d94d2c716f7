import json
import math
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.chaos.mutants import damage_text
from tests.evaluate.answerers import make_questions
from videopasta.errors import UserError
from videopasta.evaluate.grading import is_right_letter, read_letter
from videopasta.evaluate.questions import (
    NONE_OF_THE_ABOVE,
    from_candidates,
    read_questions,
    write_questions,
)
from videopasta.tiny.questionnaire import from_scenes
from videopasta.tiny.world import scenes


def make_row(*, query: str = "Where is the cat?", adversary: str = "one", accepted: bool = True, **rest) -> dict:
    return {
        "clip_id": "c", "video_info": {"duration_s": 8.0},
        "video_uri": "/v.mp4", "video_sha256": "a" * 64, "start_s": None, "end_s": None,
        "failure_mode": "spatial", "prompt": query, "chosen": "On the mat.", "rejected": f"Wrong {adversary}.",
        "adversary": adversary, "adversarial_query": f"Why {adversary}?", "accepted": accepted,
    } | rest  # fmt: skip


def by_kind(questions) -> dict:
    found: dict = {}
    for question in questions:
        found.setdefault(question.kind, []).append(question)
    return found


def test_every_adversarial_question_has_one_plain_twin():
    """Each query gives one answerable question, and all others about it share its query_id."""
    questions = make_questions()
    plain = [one.query_id for one in questions if one.kind == "answerable"]
    assert len(plain) == len(set(plain))
    assert {one.query_id for one in questions} == set(plain)


def test_the_right_option_is_there_only_where_the_question_is_answerable():
    """Of an adversarial question the last option is right, and the true answer is none of them."""
    for one in make_questions():
        assert one.options[-1] == NONE_OF_THE_ABOVE
        assert len(set(one.options)) == len(one.options)
        if one.kind == "answerable":
            assert one.options[one.right] == one.reference
        else:
            assert one.right == len(one.options) - 1
            assert one.reference not in one.options


def test_a_false_premise_can_be_chosen():
    """The answer that the misleading query asks for is among its options."""
    for one in make_questions():
        if one.kind == "false_premise":
            assert one.misled in one.options


def test_right_letters_are_spread():
    """Answerable questions have the right option at each place but the last, each in a fifth of them at least."""
    places = [one.right for one in make_questions(num_clips=60) if one.kind == "answerable"]
    for place in range(3):
        assert places.count(place) > len(places) / 5


def test_same_seed_same_questions():
    """What is drawn about the same clips depends on the seed alone."""
    clips = [(f"/{n}.mp4", f"{n:064x}", scene) for n, scene in enumerate(islice(scenes("test", 0), 6))]
    once, again, other = (from_scenes(clips, per_mode=2, seed=seed) for seed in (3, 3, 4))
    assert once == again
    assert once != other


def test_candidates_give_each_kind_with_judged_answers_only():
    """Three accepted adversaries: one plain twin, one question without a right option, three false premises."""
    rows = [make_row(adversary=name) for name in ("one", "two", "three")]
    found = by_kind(from_candidates([*rows, make_row(adversary="four", accepted=False)], per_mode=5))
    assert {kind: len(some) for kind, some in found.items()} == {
        "answerable": 1, "none_of_the_above": 1, "false_premise": 3,
    }  # fmt: skip
    assert "Wrong four." not in str(found)
    assert set(found["none_of_the_above"][0].options) == {"Wrong one.", "Wrong two.", "Wrong three.", NONE_OF_THE_ABOVE}


def test_a_span_is_kept_and_a_whole_video_has_none():
    """Candidates have the span that was found, also of whole videos."""
    whole, part = ({"start_s": 0.0, "end_s": 8.0}, {"start_s": 2.0, "end_s": 8.0})
    spans = {(one.start_s, one.end_s) for one in from_candidates([make_row(**whole)], per_mode=1)}
    assert spans == {(None, None)}
    assert {(one.start_s, one.end_s) for one in from_candidates([make_row(**part)], per_mode=1)} == {(2.0, 8.0)}


def test_one_wrong_answer_is_too_few_for_options():
    """A query with one accepted adversary is asked openly only."""
    found = by_kind(from_candidates([make_row()], per_mode=5))
    assert found.keys() == {"answerable", "false_premise"}
    assert all(not one.options and one.right is None for some in found.values() for one in some)


def test_queries_with_most_adversaries_come_first():
    """`per_mode` keeps those that can be asked in most ways."""
    rich = [make_row(query="Rich?", adversary=name) for name in ("one", "two", "three")]
    questions = from_candidates([make_row(query="Poor?"), *rich], per_mode=1)
    assert {one.query for one in questions} == {"Rich?"}


def test_questions_survive_their_file(tmp_path: Path):
    """What is written is read, from the file and from its folder."""
    questions = make_questions(num_clips=2)
    file = write_questions(questions, str(tmp_path / "q"))
    assert read_questions(file) == read_questions(str(tmp_path / "q")) == questions


def test_names_with_odd_ends_of_lines_survive_their_file(tmp_path: Path):
    """A line ends where JSON lines end, not where Unicode does."""
    questions = [one.model_copy(update={"video_uri": "/a\u2028b\x85c.mp4"}) for one in make_questions(num_clips=1)]
    assert read_questions(write_questions(questions, str(tmp_path))) == questions


_LINE = json.loads(make_questions(num_clips=1)[0].model_dump_json())
_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=9)


@given(
    st.dictionaries(st.sampled_from([*_LINE, "more"]), _VALUES | st.lists(_VALUES, max_size=6), max_size=3),
    st.none() | st.integers(0, 10**6),
)
@settings(max_examples=200, deadline=None)
def test_any_line_is_a_question_or_told(changes, number):
    """Other values under any key, other bytes anywhere: what is read can be asked with its options and graded."""
    content = json.dumps(_LINE | changes).encode()
    with TemporaryDirectory() as folder:
        (Path(folder) / "questions.jsonl").write_bytes(content if number is None else damage_text(number, content))
        try:
            (one, *_) = read_questions(folder)
        except UserError:
            return
    one.as_choice().encode()
    assert is_right_letter(read_letter("B", one), one) in (True, False)
    assert len(one.letters) == len(one.options)
    assert all(math.isfinite(at) for at in (one.start_s, one.end_s) if at is not None)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such file"),
        ("", "no questions in it"),
        ('{"kind": "odd"}\n', "line 1"),
        (json.dumps(_LINE | {"options": ["a"] * 5}), "5 options, more than 4 letters"),
        (json.dumps(_LINE | {"right": 4}), "right=4 is none of 4 options"),
        (json.dumps(_LINE | {"start_s": float("nan")}), "line 1: start_s"),
    ],
)
def test_bad_file_is_named(content: str | None, complaint: str, tmp_path: Path):
    """What is wrong, in which file and line."""
    file = tmp_path / "questions.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=complaint):
        read_questions(str(file))


def test_questions_are_json_lines(tmp_path: Path):
    """A question a line, for whoever reads them otherwise."""
    questions = make_questions(num_clips=1)
    write_questions(questions, str(tmp_path))
    lines = (tmp_path / "questions.jsonl").read_text().splitlines()
    assert [json.loads(line)["question_id"] for line in lines] == [one.question_id for one in questions]
