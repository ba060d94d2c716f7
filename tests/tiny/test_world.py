"""Scenes: seeded, disjoint splits, and events that can be seen."""

import itertools
import random

import pytest

from videopasta.tiny.world import DURATION_TICKS, NUM_TICKS, Scene, scenes, split_of, state

SCENES = list(itertools.islice(scenes("train", seed=0), 300))


def combination(scene: Scene) -> frozenset[str]:
    return frozenset(f"{thing.colour} {thing.shape}" for thing in scene.things)


def test_equal_seeds_give_equal_scenes():
    """The stream of scenes depends on split and seed alone."""
    assert list(itertools.islice(scenes("train", seed=0), 300)) == SCENES
    assert list(itertools.islice(scenes("train", seed=1), 300)) != SCENES


def test_splits_share_no_combination():
    """A combination of coloured shapes belongs to one split."""
    seen = {
        split: {combination(scene) for scene in itertools.islice(scenes(split, seed=3), 400)}
        for split in ("train", "validation", "test")
    }
    for one, other in itertools.combinations(seen.values(), 2):
        assert not one & other
    assert all(split_of(scene.things) == "train" for scene in SCENES)


def test_every_kind_of_event_happens():
    """Appear, disappear, move, meet, pass, colour, size, stop and cut are all in a few hundred scenes."""
    assert {event.kind for scene in SCENES for event in scene.events} == {
        "appear", "disappear", "move", "meet", "pass", "colour", "size", "stop", "cut",
    }  # fmt: skip
    assert any(scene.overlap for scene in SCENES)
    assert any(scene.simultaneous for scene in SCENES)


def test_events_are_in_order_and_apart():
    """One event has ended two ticks before the next begins; all end before the clip does."""
    for scene in SCENES:
        assert 2 <= len(scene.events) <= 3
        for one, other in itertools.pairwise(scene.events):
            assert other.tick - one.end_tick >= 2
        assert scene.events[0].tick > 1
        assert all(event.tick % 2 for event in scene.events)
        assert scene.events[-1].end_tick < NUM_TICKS


def test_an_object_has_one_shape_of_its_own():
    """Shapes name objects: no scene has two of one shape."""
    for scene in SCENES:
        shapes = [thing.shape for thing in scene.things]
        assert len(set(shapes)) == len(shapes)


def test_every_event_changes_the_picture():
    """What stands where before and after an event differs."""
    for scene in SCENES:
        for event in scene.events:
            after = min(event.end_tick + 1, NUM_TICKS - 1)
            before = range(event.tick - 2, event.tick)
            assert all(shown(scene, tick) != shown(scene, after) for tick in before), event


def shown(scene: Scene, tick: int) -> tuple:
    """What is to be seen but for the timeline."""
    now = state(scene, tick)
    return now.background, now.things


def test_objects_stay_in_the_picture_and_apart():
    """Nothing leaves the picture, and nothing overlaps but who is meant to."""
    for scene in SCENES:
        meant = {frozenset(pair) for pair in (scene.overlap, scene.passing) if pair}
        for tick in range(NUM_TICKS):
            now = state(scene, tick).things
            assert all(4 < thing.x < 52 and 4 < thing.y < 52 for thing in now), scene
            for one, other in itertools.combinations(now, 2):
                indices = {i for i, thing in enumerate(scene.things) if thing.shape in (one.shape, other.shape)}
                if indices not in meant:
                    assert max(abs(one.x - other.x), abs(one.y - other.y)) > 10, (scene, tick)


def test_motion_takes_its_time():
    """A moving object is between its places while its event lasts, and at rest before and after."""
    for scene in SCENES:
        for event in scene.events:
            if event.kind not in DURATION_TICKS or event.subject is None:
                continue
            thing = scene.things[event.subject]
            places = [
                (seen.x, seen.y)
                for tick in (event.tick, (event.tick + event.end_tick) / 2, event.end_tick)
                if (seen := state(scene, tick).find(thing.shape))
            ]
            assert places[0] == (thing.x, thing.y)
            assert places[1] == pytest.approx((thing.x + thing.dx / 2, thing.y + thing.dy / 2))
            assert places[2] == (thing.x + thing.dx, thing.y + thing.dy)


def test_sampling_draws_from_the_given_generator_only():
    """The global random state is neither read nor moved."""
    random.seed(5)
    before = random.getstate()
    next(scenes("test", seed=2))
    assert random.getstate() == before
