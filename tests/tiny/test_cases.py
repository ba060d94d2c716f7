"""What the judge is taught: its lessons are true of what they are about."""

import json
import random
from collections import Counter
from itertools import islice

from videopasta.config import FAILURE_MODES
from videopasta.tiny.claims import Missing, Presence
from videopasta.tiny.learning import cases
from videopasta.tiny.questions import WhichWay, denial, is_right, read_question
from videopasta.tiny.world import SHAPES, scenes

CHOSEN = list(islice(scenes("train", seed=5), 200))


def test_questions_are_answered_from_the_description():
    """Each question can be read back, and its answer, or what it says is not there, is right in the scene."""
    rng = random.Random(0)
    for scene in CHOSEN:
        for read, answered in cases.reading(scene, rng).further:
            question = read_question(read.strip().removeprefix("Question: ").removesuffix("\nA:"))
            assert question is not None
            assert is_right(answered, question, scene)


def test_made_up_cases_are_right_and_wrong():
    """Both answers of a made-up case are wrong now and then, and its verdict says which."""
    rng, outcomes = random.Random(0), Counter()
    for scene in CHOSEN:
        one = cases.case(scene, rng)
        told = json.loads(cases.verdict(one).answer)
        assert told["preferred_ok"] == one.preferred_true == is_right(one.preferred, read_question(one.query), scene)
        assert told["genuine"] == one.adversarial_false
        outcomes[one.preferred_true, one.adversarial_false] += 1
    assert len(outcomes) == 4
    assert 0.4 < outcomes[True, True] / outcomes.total() < 0.9


def test_what_a_question_takes_for_granted_is_denied():
    """A question about what is not there has no answer; the claim that says so is true and counts as right."""
    rng, denied = random.Random(0), Counter()
    for scene in CHOSEN:
        for mode in FAILURE_MODES:
            asked = cases.unanswerable(scene, mode, rng)
            assert asked.question.answer(scene) is None
            assert is_right(asked.answer.sentence, asked.question, scene)
            denied[type(asked.answer).__name__] += 1
    assert set(denied) == {"Missing", "Presence", "Never"}


def test_only_what_a_question_takes_for_granted_is_denied():
    """That a shape is there at one end only is no answer to which way it goes, nor to how it passes another."""
    denied = Counter()
    for scene in CHOSEN:
        for a in SHAPES:
            question = WhichWay(a)
            if question.answer(scene) is None:
                denied[type(denial(question, scene))] += 1
                gone = Presence(a, "there", "missing")
                assert not is_right(gone.sentence, question, scene)
    assert set(denied) == {Missing, type(None)}


def test_reasons_are_true():
    """The reason of a verdict on a described clip is a right answer to the query."""
    rng = random.Random(0)
    for scene in CHOSEN:
        one = cases.case(scene, rng)
        reason = json.loads(cases.verdict(one).answer)["reason"]
        assert one.truth is not None
        if one.description is not None:
            assert reason == one.truth
            assert is_right(reason, read_question(one.query), scene)
