import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.answers import answer_texts
from tests.evaluate.answerers import make_questions
from videopasta.evaluate.grading import by_truth, grading_prompt, is_right_letter, likeliest, read_grade, read_letter

QUESTION = next(one for one in make_questions(num_clips=1) if one.kind == "answerable")


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("b", "B"), ("B.", "B"), ("(C)", "C"), ("**D**", "D"), ("A) The circle", "A"),
        ("The answer is C.", "C"), ("Answer: B", "B"), ("Option D", "D"), ("The correct answer is A.", "A"),
        ("B\nbecause it is so", "B"), ("B is correct.", "B"), ("Option C is right", "C"), ("B because it is", "B"),
        ("I think the answer is B", "B"), ("C The circle", "C"),
        ("A, B", None), ("A or B.", None), ("B and C are right", None), ("The answer is A. Or is the answer B?", None),
        ("A circle moves.", None), ("", None), ("I do not know.", None), ("E", None), ("Because", None),
    ],
)  # fmt: skip
def test_letter_is_read(text: str, letter: str | None):
    """A letter counts where it stands as one; an article or another word is none."""
    assert read_letter(text, QUESTION) == letter


@given(st.text(st.characters()) | st.text("ABCDE .,()or\n*"))
def test_any_text_names_an_option_or_none(text: str):
    """Whatever a model answers."""
    assert read_letter(text, QUESTION) in (None, *QUESTION.letters)


@given(answer_texts("right", "reason"))
def test_any_grade_is_a_verdict_or_none(text: str):
    """Whatever JSON or garbage a grader writes, with a reason that a row holds."""
    right, why = read_grade(text)
    assert right in (True, False, None)
    assert why.isprintable()


def test_option_is_read_by_its_words():
    """An answer that repeats one option names it; one that repeats two names none."""
    first, second = QUESTION.options[:2]
    assert read_letter(f"I think {first}", QUESTION) == "A"
    assert read_letter(f"{first} {second}", QUESTION) is None
    assert read_letter(f"It is not so that {first}", QUESTION) is None


def test_the_longer_option_is_meant_where_one_holds_the_other():
    """Its words hold the shorter one's."""
    nested = QUESTION.model_copy(update={"options": ("A dog.", "A dog and a cat.", "A cow.", "None of the above.")})
    assert read_letter("A dog and a cat", nested) == "B"
    assert read_letter("a dog", nested) == "A"


def test_likeliest_letter():
    """The highest of the log-probs that are known; none where none is, or two are equal."""
    assert likeliest((-3.0, None, -1.0, -2.0), QUESTION) == "C"
    assert likeliest((None, None, None, None), QUESTION) is None
    assert likeliest((-1.0, -3.0, -2.0, -1.0), QUESTION) is None


def test_no_letter_is_not_right():
    """It is counted, and it is no right answer."""
    assert not is_right_letter(None, QUESTION)


def test_truth_decides_over_open_answers():
    """The true answer is right however the query misleads, the misled one is wrong; without truth nothing is known."""
    for one in make_questions(num_clips=5):
        if one.is_open:
            assert by_truth(one.reference, one) is True
        if one.misled:
            assert by_truth(one.misled, one) is False
    assert by_truth(QUESTION.reference, QUESTION.model_copy(update={"truth": None})) is None


def test_grader_is_told_what_it_needs():
    """The query, the true answer and the answer to grade; of a misleading question also what is wrong about it."""
    false_premise = next(one for one in make_questions(num_clips=1) if one.kind == "false_premise")
    text = grading_prompt("It is blue.", false_premise)
    for part in (false_premise.query, false_premise.text, false_premise.misled, false_premise.reference, "It is blue."):
        assert part in text
    assert "misleadingly" not in grading_prompt("It is blue.", QUESTION)


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ('{"reason": "says so", "right": true}', (True, "says so")),
        ('```json\n{"reason": "", "right": false}\n```', (False, "")),
        ('{"right": "yes"}', (None, "grader_unreadable")),
        ("right", (None, "grader_unreadable")),
    ],
)
def test_grade_is_read(text: str, grade: tuple):
    """A verdict is a boolean; anything else is none, and named."""
    assert read_grade(text) == grade
