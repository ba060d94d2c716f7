"""Claims and questions: what is said can be read back, and truth is the scene's."""

import itertools
import random

import pytest

from videopasta.config import FAILURE_MODES
from videopasta.tiny import claims as c
from videopasta.tiny import questions as q
from videopasta.tiny.world import Event, Scene, Thing, scenes

SCENES = list(itertools.islice(scenes("validation", seed=0), 200))


def make_scene(**changes) -> Scene:
    """A red circle top left that moves down, a blue ring top right that disappears; grey, then brown."""
    moves = Event("move", 5, "the circle moves down", 0)
    gone = Event("disappear", 15, "the ring disappears", 1)
    cut = Event("cut", 22, "the scene changes")
    circle = Thing("circle", "red", 9, 9, dy=19, event=moves)
    ring = Thing("ring", "blue", 47, 9, end_tick=15, event=gone)
    values = {"things": (circle, ring), "backgrounds": ("grey", "brown"), "events": (moves, gone, cut)}
    return Scene(**values | changes)


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("The circle is to the left of the ring at the start.", True),
        ("The circle is to the right of the ring at the start.", False),
        ("The circle is above the ring at the start.", False),
        ("The circle is to the left of the ring at the end.", False),  # it is gone
        ("The circle is in one row with the ring at the start.", True),
        ("The circle is in one column with the ring at the start.", False),
        ("The circle is in one row with the ring at the end.", False),  # it is gone
        ("No shape is above the ring at the start.", True),
        ("No shape is to the left of the ring at the start.", False),
        ("No shape is above the ring at the end.", False),  # it is gone
        ("The circle is in the top left at the start.", True),
        ("The circle is in the middle left at the end.", True),
        ("The circle is partly in front of the ring at the start.", False),
        ("First the circle moves down, then the ring disappears.", True),
        ("First the ring disappears, then the circle moves down.", False),
        ("First the ring grows, then the circle moves down.", False),
        ("Right after the circle moves down, the ring disappears.", True),
        ("Right after the circle moves down, the scene changes.", False),
        ("Right before the scene changes, the ring disappears.", True),
        ("The first thing that happens is that the circle moves down.", True),
        ("The last thing that happens is that the ring disappears.", False),
        ("The circle moves down in the video.", True),
        ("The circle moves up in the video.", False),
        ("At the same moment as the circle moves down, the ring disappears.", False),
        ("The video begins with a flashback in which the scene changes.", False),
        ("The circle is red at the start and red at the end.", True),
        ("The ring is blue at the start and blue at the end.", False),  # it is gone
        ("The background is grey at the start and brown at the end.", True),
        ("The ring is there at the start and missing at the end.", True),
        ("The circle is in the top left at the start and in the middle left at the end.", True),
        ("The video shows two shapes at the start and one shape at the end.", True),
        ("The circle at the start and the circle at the end are two different shapes.", False),
        ("There is no cross in the video.", True),
        ("There is no ring in the video.", False),
        ("No, the circle is to the left of the ring at the start.", True),
    ],
)
def test_truth_of_a_sentence(text, true):
    """Each kind of claim, true and false, read from its English."""
    claim = c.read_claim(text)
    assert claim is not None
    assert claim.holds(make_scene()) is true


def test_depth_is_who_hides_whom():
    """Of an overlapping pair the front one hides the other; of a passing pair the drawing order tells."""
    things = (Thing("ring", "blue", 9, 9), Thing("circle", "red", 18, 13))
    scene = make_scene(things=things, events=(), overlap=(0, 1))
    assert c.Depth("circle", "in front of", "ring", "start").holds(scene)
    assert c.Depth("ring", "behind", "circle", "end").holds(scene)
    assert not c.Depth("ring", "in front of", "circle", "start").holds(scene)
    passing = make_scene(things=things, events=(), passing=(0, 1))
    assert c.Pass("ring", "behind", "circle").holds(passing)
    assert not c.Pass("ring", "in front of", "circle").holds(passing)


def test_between_is_in_one_line():
    """A shape is between two others when all three are in a row or a column."""
    row = tuple(Thing(s, "red", 9 + 19 * i, 28) for i, s in enumerate(("circle", "ring", "cross")))
    assert c.Between("ring", "circle", "cross", "start").holds(make_scene(things=row, events=()))
    assert c.Between("ring", "cross", "circle", "end").holds(make_scene(things=row, events=()))
    assert not c.Between("circle", "ring", "cross", "start").holds(make_scene(things=row, events=()))


@pytest.mark.parametrize("text", ["", "Yes.", "The ring is nice.", "The ring is above the ring", "the the"])
def test_what_is_no_claim_is_none(text):
    """Text outside the world's sentences is unreadable or, if readable, false; it never raises."""
    claim = c.read_claim(text)
    assert claim is None or not claim.holds(make_scene())


def all_questions():
    return [(scene, question) for scene in SCENES for asked in q.questions(scene).values() for question in asked]


def test_questions_and_answers_read_back():
    """Every wording of every question, and every possible answer, is read back as itself."""
    for scene, question in all_questions():
        for form in range(len(question.forms)):
            assert q.read_question(question.text(form)) == question
        for claim in question.possible(scene):
            assert c.read_claim(claim.sentence) == claim


def test_a_question_has_one_true_answer():
    """Of the possible answers exactly one is true, it fits the question, and others' answers do not."""
    for scene, question in all_questions():
        true = [claim for claim in question.possible(scene) if claim.holds(scene)]
        assert true == [question.answer(scene)]
        assert question.fits(true[0])
        assert not question.fits(c.Missing("ring"))


def test_a_question_whether_there_is_anything_is_answered():
    """Where nothing is above, nor comes after, the answer says so, and misleads like any other."""
    scene, rng = make_scene(), random.Random(0)
    asked = {
        q.AboveOrBelow("circle", "ring", "start"): "The circle is in one row with the ring at the start.",
        q.WhichShape("below", "ring", "start"): "No shape is below the ring at the start.",
        q.WhatNext("the scene changes"): "The last thing that happens is that the scene changes.",
        q.WhatBefore("the circle moves down"): "The first thing that happens is that the circle moves down.",
    }
    for question, told in asked.items():
        assert question.answer(scene).sentence == told
        assert q.is_right(told, question, scene)
        for adversary in q.ADVERSARIES[question.mode]:
            assert not q.mislead(question.answer(scene), adversary, rng, scene).claim.holds(scene)
    assert not q.is_right(
        "The last thing that happens is that the scene changes.", q.WhatNext("the ring disappears"), scene
    )


def test_every_kind_of_question_is_asked_in_every_mode():
    """All kinds occur, and each failure mode has several."""
    kinds = {type(question) for _, question in all_questions()}
    assert kinds == set(q.QUESTIONS)
    for mode in FAILURE_MODES:
        assert sum(kind.mode == mode for kind in kinds) >= 5


def test_misled_claims_are_false():
    """Whoever falls for an adversary says what is not so; by chance alone under 5 % of them are."""
    rng = random.Random(0)
    for mode in FAILURE_MODES:
        for adversary in q.ADVERSARIES[mode]:
            asked = [(scene, question) for scene, question in all_questions() if question.mode == mode]
            misled = [(scene, q.mislead(question.answer(scene), adversary, rng, scene)) for scene, question in asked]
            assert all(m.claim is not None for _, m in misled)
            wrong = [not m.claim.holds(scene) for scene, m in misled]
            assert sum(wrong) / len(wrong) > 0.95, adversary


def test_adversarial_queries_do_not_need_the_scene():
    """The rewriting step sees no video: the query is the same with and without the scene."""
    for scene, question in all_questions()[::7]:
        for adversary in q.ADVERSARIES[question.mode]:
            answer = question.answer(scene)
            with_scene = q.mislead(answer, adversary, random.Random(1), scene)
            assert with_scene.query == q.mislead(answer, adversary, random.Random(1)).query


def test_choices_have_one_right_letter():
    """The right letter's option is the true answer, or "None of the above" when no option is true."""
    rng = random.Random(0)
    for scene, question in all_questions()[::3]:
        for none_is_right in (False, True):
            choice = q.multiple_choice(question, scene, rng, none_is_right=none_is_right)
            options = dict(line.split(". ", 1) for line in choice.text.splitlines()[1:5])
            assert options["D"] == q.NONE_OF_THE_ABOVE
            right = [letter for letter in "ABC" if c.read_claim(options[letter]) == question.answer(scene)]
            assert right == ([] if none_is_right else [choice.letter])
            assert len(set(options.values())) == 4
            assert set(choice.wrong_letters) == set("ABC") - {choice.letter}


def test_checks_tell_true_from_false():
    """A true statement is confirmed, a false one corrected with the true one."""
    rng = random.Random(0)
    for scene, question in all_questions()[::5]:
        yes = q.check(question, scene, rng, true=True)
        no = q.check(question, scene, rng, true=False)
        assert yes.answer.startswith("Yes, ")
        assert no.answer.startswith("No, ")
        assert c.read_claim(yes.answer) == c.read_claim(no.answer) == question.answer(scene)
        assert not c.read_claim(no.misled).holds(scene)


def test_a_question_about_what_is_missing_has_no_answer():
    """Its right answer says that there is no such shape."""
    rng = random.Random(0)
    for scene in SCENES:
        question, claim, wrong = q.about_what_is_missing(scene, rng)
        assert question.answer(scene) is None
        assert claim.holds(scene)
        assert not any(x.holds(scene) for x in wrong)


def test_a_description_tells_all():
    """Start, events in order, end."""
    assert q.describe(make_scene()) == (
        "At the start the circle is red in the top left, the ring is blue in the top right and the background is grey. "
        "First the circle moves down, then the ring disappears, then the scene changes. "
        "At the end the circle is red in the middle left and the background is brown."
    )
