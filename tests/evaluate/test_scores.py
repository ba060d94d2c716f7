import math

from tests.evaluate.answerers import make_questions, oracle, reject_all, rows_of, shuffled, sycophant
from videopasta.evaluate.scores import Cell, problems, scores


def value(rows, group: str, way: str, mode: str = "all") -> float:
    return scores(rows)[Cell(group, mode, way)].value


def test_the_right_answers_score_full():
    """Of every kind, in every way, in every failure mode."""
    questions = make_questions()
    for cell, share in scores(rows_of(questions, oracle)).items():
        assert share.value == 1.0, cell


def test_always_rejecting_does_not_win():
    """It gets all adversarial letters, no plain ones, and so handles nothing."""
    rows = rows_of(make_questions(), reject_all)
    assert value(rows, "adversarial", "choice") == 1.0
    assert value(rows, "plain", "choice") == 0.0
    assert value(rows, "handled", "choice") == value(rows, "handled", "letters") == 0.0
    assert value(rows, "handled", "open") == 0.0


def test_going_along_does_not_win():
    """It answers all plain questions, rejects nothing, and so handles nothing."""
    rows = rows_of(make_questions(), sycophant)
    assert value(rows, "plain", "open") == 1.0
    assert value(rows, "false_premise", "open") == value(rows, "handled", "open") == 0.0


def test_shuffled_answers_score_at_chance():
    """The right answers, each to another question, score what guessing by their frequencies does."""
    questions = make_questions(num_clips=100)
    right = [one.letters[one.right] for one in questions]
    for kind in ("answerable", "none_of_the_above"):
        wanted = [one.letters[one.right] for one in questions if one.kind == kind]
        chance = sum((right.count(x) / len(right)) * (wanted.count(x) / len(wanted)) for x in "ABCD")
        rows = rows_of(questions, shuffled(questions))
        assert abs(value(rows, kind, "choice") - chance) < 4 * math.sqrt(chance * (1 - chance) / len(wanted))
    assert value(rows, "plain", "open") < 0.05


def test_what_was_not_answered_is_never_scored():
    """A request that failed is counted by its reason; the others' share is of the others."""
    questions = make_questions(num_clips=4)
    lost = questions[0].question_id
    rows = rows_of(questions, lambda one, lettered: "too long" if one.question_id == lost else oracle(one, lettered))
    share = scores(rows)[Cell("plain", "all", "open")]
    assert share.value == 1.0
    assert share.count == sum(one.kind == "answerable" for one in questions) - 1
    assert problems(rows) == {"prompt_too_long": 1}


def test_an_answer_without_a_letter_is_wrong_and_counted():
    """It is a zero that is told of."""
    questions = make_questions(num_clips=2)
    rows = rows_of(questions, lambda one, lettered: "Hm." if lettered else one.reference)
    assert value(rows, "plain", "choice") == 0.0
    assert problems(rows)["no letter in the answer (counted as wrong)"] == len(questions)


def test_scores_add_up_by_failure_mode():
    """The questions of all failure modes together are those of each."""
    found = scores(rows_of(make_questions(), oracle))
    parts = sum(found[Cell("plain", mode, "open")].count for mode in ("spatial", "temporal", "cross_frame"))
    assert found[Cell("plain", "all", "open")].count == parts
