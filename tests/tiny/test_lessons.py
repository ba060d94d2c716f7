"""What the response model is taught is so: in single pictures, and in whole clips."""

import random
from dataclasses import replace
from itertools import islice

from videopasta.tiny import questions as q
from videopasta.tiny.learning.lessons import absences, fates, moment
from videopasta.tiny.world import Scene, scenes, state

CHOSEN = list(islice(scenes("train", seed=6), 300))


def without_shaking(scene: Scene, tick: int):
    """The picture at `tick`, with what shakes held still until it stops, and no timeline."""
    still = tuple(
        replace(thing, event=None) if thing.event is not None and thing.event.kind == "stop" else thing
        for thing in scene.things
    )
    return replace(state(replace(scene, things=still), tick), tick=0)


def test_what_happens_in_a_moment_is_seen_in_its_two_frames():
    """Both frames of a pair differ when, and only when, its lessons tell of an event; but a shape may stop shaking."""
    rng, told = random.Random(0), 0
    for scene in CHOSEN:
        first, second = moment(scene, rng)
        assert (first % 2, second) == (0, first + 1)
        answers = [lesson.answer for lesson in fates(scene, (first, second))]
        events = [a for a in answers if not a.startswith("Nothing") and "stops shaking" not in a]
        assert bool(events) == (without_shaking(scene, first) != without_shaking(scene, second))
        told += any(not a.startswith("Nothing") for a in answers)
    assert told > 150


def test_a_clips_fates_name_every_event_and_its_second():
    """All that happens is told once, by its subject; the others are told that nothing happens."""
    for scene in CHOSEN:
        answers = [lesson.answer for lesson in fates(scene)]
        events = [answer for answer in answers if not answer.startswith("Nothing")]
        assert len(events) == len(scene.happenings)
        assert len(answers) == len(scene.things) + 1
        for event in scene.happenings.values():
            sentence = f"{event.phrase[0].upper()}{event.phrase[1:]} at second {event.tick // 4}."
            assert sentence in events


def test_who_asks_about_what_is_gone_is_told_so():
    """Such questions have no answer but a denial that is right; beside them stand others about what is there."""
    rng, denied, answered = random.Random(0), 0, 0
    for scene in CHOSEN:
        for lesson in absences(scene, rng):
            question = q.read_question(lesson.prompt)
            assert q.is_right(lesson.answer, question, scene)
            denied += question.answer(scene) is None
            answered += question.answer(scene) is not None
    assert denied > 300
    assert answered > denied / 2
