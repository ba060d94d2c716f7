"""What the judge is taught: candidates as the pipeline makes them, right and wrong, and the verdict on each. Pure.

In: a scene and random numbers. Out: prompts rendered from the pipeline's templates, and the verdict JSON. The judge
never sees the truth: what it reads of the clip is a description, in which, as in the answers, things are sometimes
seen wrongly.
"""

import random
from dataclasses import dataclass, replace

from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.tiny import questions as q
from videopasta.tiny.claims import Claim, read_claim
from videopasta.tiny.learning.lessons import Asked, Catalogue, Lesson, compact, prompts, rejected
from videopasta.tiny.world import BACKGROUNDS, CELL, COLOURS, Scene

MISSEEN = 0.25
"""How often, in the judge's lessons, an answer or a description comes from a scene with one thing seen wrongly."""
RIGHT, WRONG = " right", " not"
"""Of a statement: tokens of their own."""
MISSING = 0.08
"""Share of questions about what is not there: query writers err, too."""


def misseen(scene: Scene, rng: random.Random) -> Scene:
    """`scene` with one mistake, such as the response model makes: a colour, a place, an order, a background."""
    i = rng.randrange(len(scene.things))
    thing = scene.things[i]
    kind = rng.choice(("colour", "last_colour", "place", "order", "background"))
    if kind == "order":
        one, other = rng.sample(scene.events, 2)
        ticks = {one.phrase: other.tick, other.phrase: one.tick}
        events = sorted((replace(e, tick=ticks.get(e.phrase, e.tick)) for e in scene.events), key=lambda e: e.tick)
        return replace(scene, events=tuple(events))
    if kind == "background":
        first, last = scene.backgrounds
        wrong = rng.choice([b for b in BACKGROUNDS if b not in scene.backgrounds])
        at_start = (wrong, wrong if first == last else last)
        return replace(scene, backgrounds=at_start if rng.random() < 0.5 else (first, wrong))
    if kind == "place":
        x, y = (CELL * (rng.randrange(3) + 0.5) for _ in range(2))
        seen = replace(thing, x=x, y=y, dx=0.0, dy=0.0)
    else:
        colour = rng.choice([c for c in COLOURS if c not in (thing.colour, thing.last_colour)])
        at_end = kind == "last_colour" and thing.last_colour is not None
        seen = replace(thing, last_colour=colour) if at_end else replace(thing, colour=colour)
    return replace(scene, things=(*scene.things[:i], seen, *scene.things[i + 1 :]))


@dataclass(frozen=True)
class Case:
    """A candidate before the judge, and the truth about it."""

    failure_mode: FailureMode
    query: str
    preferred: str
    adversarial: str
    description: str | None
    preferred_true: bool
    adversarial_false: bool

    @property
    def right(self) -> bool:
        return self.preferred_true and self.adversarial_false


def case(scene: Scene, rng: random.Random) -> Case:
    """A candidate as the pipeline makes them, right most of the time."""
    mode = rng.choice(FAILURE_MODES)
    asked = rejected(scene, mode, rng) if rng.random() < MISSING else Catalogue(scene, rng).draw(mode, 1)[0]
    preferred, other = asked.answer, misseen(scene, rng)
    if rng.random() < MISSEEN:
        preferred = asked.question.answer(other) or rng.choice(asked.question.possible(scene))
    if rng.random() < 0.1:
        preferred = rng.choice([claim for claim in asked.question.possible(scene) if claim != asked.answer])
    adversary = rng.choice(q.ADVERSARIES[mode])
    # The rewriter starts from what the response model believed, right or wrong.
    misled_claim = q.mislead(preferred, adversary, rng, scene).claim
    assert misled_claim is not None
    adversarial = misled_claim.sentence
    resists = rng.random()
    if resists < 0.12:
        adversarial = f"No, {asked.answer}."
    elif resists < 0.2:
        adversarial = Catalogue(scene, rng).draw(mode, 1)[0].answer.sentence
    description = None
    if rng.random() < 0.85:
        seen = rng.choice((other, misseen(scene, rng))) if rng.random() < MISSEEN else scene
        description = q.describe(seen)
    return judged_case(
        scene,
        asked.question,
        asked.question.text(rng.randrange(len(asked.question.forms))),
        mode,
        preferred.sentence,
        adversarial,
        description,
    )


def judged_case(
    scene: Scene,
    question: q.Question,
    query: str,
    mode: FailureMode,
    preferred: str,
    adversarial: str,
    description: str | None,
) -> Case:
    """A candidate with the truth about its two answers."""
    misled = read_claim(adversarial)
    return Case(
        mode,
        query,
        preferred,
        adversarial,
        description,
        q.is_right(preferred, question, scene),
        misled is not None and not misled.holds(scene),
    )


def verdict(one: Case) -> Lesson:
    """A case and the verdict expected, as the pipeline asks for it."""
    prompt = prompts().judge(
        one.failure_mode,
        query=one.query,
        preferred=one.preferred,
        adversarial=one.adversarial,
        description=one.description,
    )
    reasons = {
        (True, True): "A is right, B is not.",
        (True, False): "B is right too.",
        (False, True): "A is not right.",
        (False, False): "A is not right, B is.",
    }
    answer = {
        "genuine": one.adversarial_false,
        "targeted": one.adversarial_false,
        "distinct": one.preferred != one.adversarial,
        "preferred_ok": one.preferred_true,
        "confidence": 90 if one.description else 70,
        "reason": reasons[one.preferred_true, one.adversarial_false],
    }
    return Lesson(prompt, compact(answer))


def reading(scene: Scene, rng: random.Random, count: int = 6) -> Lesson:
    """`count` questions, each answered from the description before the next is read."""
    turns = [
        (f"\nQuestion: {one.question.text(rng.randrange(len(one.question.forms)))}\nA:", f" {one.answer.sentence}")
        for one in _asked(scene, rng, count)
    ]
    return Lesson(q.describe(scene), "", tuple(turns))


def checking(scene: Scene, rng: random.Random, count: int = 8) -> Lesson:
    """`count` statements, half of them false, each held against the description: what judging is made of."""
    turns = []
    for asked in _asked(scene, rng, count):
        true = rng.random() < 0.5
        claim = asked.answer if true else _false(asked, scene, rng)
        turns.append((f"\n{rng.choice('AB')}: {claim.sentence}", RIGHT if true else WRONG))
    return Lesson(q.describe(scene), "", tuple(turns))


def _asked(scene: Scene, rng: random.Random, count: int) -> list[Asked]:
    catalogue = Catalogue(scene, rng)
    return rng.sample([a for mode in FAILURE_MODES for a in catalogue.draw(mode, count)], count)


def _false(asked: Asked, scene: Scene, rng: random.Random) -> Claim:
    """A false answer, such as an adversary wants or anything that looks alike."""
    adversary = rng.choice(q.ADVERSARIES[asked.question.mode])
    wanted = q.mislead(asked.answer, adversary, rng, scene).claim
    if wanted is not None and not wanted.holds(scene) and rng.random() < 0.5:
        return wanted
    return rng.choice([claim for claim in asked.question.possible(scene) if claim != asked.answer])
