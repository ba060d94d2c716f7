"""What the judge is taught: its lessons are true of what they are about."""

import json
import random
from collections import Counter
from itertools import islice

from videopasta.tiny.claims import read_claim
from videopasta.tiny.learning import cases
from videopasta.tiny.questions import is_right, read_question
from videopasta.tiny.world import scenes

CHOSEN = list(islice(scenes("train", seed=5), 200))


def test_statements_are_marked_by_the_truth():
    """Each statement is a claim that holds in the scene when, and only when, the answer to it says that it is right."""
    rng, marks = random.Random(0), Counter()
    for scene in CHOSEN:
        for read, mark in cases.checking(scene, rng).further:
            claim = read_claim(read.strip().removeprefix("A: ").removeprefix("B: "))
            assert claim is not None
            assert mark == (cases.RIGHT if claim.holds(scene) else cases.WRONG)
            marks[mark] += 1
    assert 0.4 < marks[cases.RIGHT] / marks.total() < 0.6


def test_questions_are_answered_from_the_description():
    """Each question can be read back, and its answer is right in the scene."""
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
