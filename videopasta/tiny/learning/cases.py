"""What the judge is taught: candidates as the pipeline makes them, right and wrong, and the verdict on each. Pure.

In: a scene and random numbers. Out: prompts rendered from the pipeline's templates, and the verdict JSON. The judge
never sees the truth: what it reads of the clip is a description.
"""

import random
from dataclasses import dataclass, replace

from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.tiny import questions as q
from videopasta.tiny.claims import RELATIONS, Missing, Never, Presence, read_claim
from videopasta.tiny.learning import lessons
from videopasta.tiny.learning.lessons import Asked, Catalogue, Lesson, compact, plain, prompts, unfounded
from videopasta.tiny.world import BACKGROUNDS, CELL, COLOURS, SHAPES, Scene

MISSEEN = 0.25
"""How often, in the judge's lessons, an answer comes from a scene with one thing seen wrongly."""
NOT_DESCRIBED = 0.1
"""Share of cases without a description, so that the judge can do without."""
MISSING = 0.1
"""Share of questions about what is not there, or not then: query writers err, too."""


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
    truth: str | None
    """The right answer, or what is wrong with the question; None where there is neither."""
    preferred_true: bool
    adversarial_false: bool

    @property
    def right(self) -> bool:
        return self.preferred_true and self.adversarial_false


def case(scene: Scene, rng: random.Random) -> Case:
    """A candidate as the pipeline makes them, right most of the time."""
    mode = rng.choice(FAILURE_MODES)
    is_missing = rng.random() < MISSING
    asked = unanswerable(scene, mode, rng) if is_missing else Catalogue(scene, rng).draw(mode, 1)[0]
    preferred = asked.answer
    # Of what is not there the response model nearly always tells something all the same.
    if is_missing or rng.random() < MISSEEN:
        seen = asked.question.answer(misseen(scene, rng))
        preferred = seen or rng.choice([preferred, *asked.question.possible(scene)])
    if rng.random() < 0.1:
        preferred = rng.choice([claim for claim in asked.question.possible(scene) if claim != asked.answer])
    adversary = rng.choice(q.ADVERSARIES[mode])
    # The rewriter starts from what the response model believed, right or wrong.
    answers = asked.question.fits(preferred) or isinstance(preferred, Missing | Never | Presence)
    believed = preferred if answers else rng.choice(asked.question.possible(scene))
    misled_claim = q.mislead(believed, adversary, rng, scene).claim
    assert misled_claim is not None
    adversarial = misled_claim.sentence
    resists = rng.random()
    if resists < 0.12:
        adversarial = f"No, {asked.answer}."
    elif resists < 0.2:
        adversarial = Catalogue(scene, rng).draw(mode, 1)[0].answer.sentence
    return judged_case(
        scene,
        asked.question,
        asked.question.text(rng.randrange(len(asked.question.forms))),
        mode,
        preferred.sentence,
        adversarial,
        None if rng.random() < NOT_DESCRIBED else q.describe(scene),
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
    misled, preferred_true = read_claim(adversarial), q.is_right(preferred, question, scene)
    truth = read_claim(preferred) if preferred_true else question.answer(scene) or q.denial(question, scene)
    return Case(
        mode,
        query,
        preferred,
        adversarial,
        description,
        truth.sentence if truth else None,
        preferred_true,
        misled is not None and not misled.holds(scene),
    )


def unanswerable(scene: Scene, mode: FailureMode, rng: random.Random) -> Asked:
    """A question of `mode` about what is not there, or not at that end, with the claim that says so."""
    gone = [x.shape for x in scene.things if sum(bool(now.find(x.shape)) for now in scene.ends.values()) == 1]
    if mode == "temporal" or not gone or rng.random() < 0.3:
        return unfounded(scene, mode, rng)
    a = rng.choice(gone)
    when = next(end for end, now in scene.ends.items() if now.find(a) is None)
    questions: list[q.Question] = [q.WhichColours(a), q.FromWhereToWhere(a)]
    if mode == "spatial":
        b = rng.choice([shape for shape in SHAPES if shape != a])
        pair = rng.choice(((a, b), (b, a)))
        questions = [q.WhichPart(a, when), q.WhichShape(rng.choice(tuple(RELATIONS)), a, when)]
        questions += [q.LeftOrRight(*pair, when), q.AboveOrBelow(*pair, when)]
    question = rng.choice(questions)
    claim = q.denial(question, scene)
    assert claim is not None
    return Asked(question, claim)


def verdict(one: Case) -> Lesson:
    """A case and the verdict expected, as the pipeline asks for it.

    The reason is the true answer, which a right description gives: the verdict is then a comparison. Without a
    description, or where nothing is true, the reason only says whether A is right.
    """
    prompt = prompts().judge(
        one.failure_mode,
        query=one.query,
        preferred=one.preferred,
        adversarial=one.adversarial,
        description=one.description,
    )
    opinion = "A is right." if one.preferred_true else "A is not right."
    answer = {
        "reason": (one.description and one.truth) or opinion,
        "genuine": one.adversarial_false,
        "targeted": one.adversarial_false,
        "distinct": one.preferred != one.adversarial,
        "preferred_ok": one.preferred_true,
        "confidence": 90 if one.description else 70,
    }
    return Lesson(prompt, compact(answer))


def reading(scene: Scene, rng: random.Random, count: int = 8) -> Lesson:
    """Up to `count` questions, each answered from the description before the next is read.

    Of all kinds, some of them about what is not there; or on places, or on neighbours in space and time: that
    nothing is there is learned only where many such questions come together.
    """
    kind = rng.choice(("all", "places", "neighbours"))
    taught = {"all": _mixed, "places": lessons.comparisons, "neighbours": lessons.neighbours}[kind](scene, rng)
    turns = [(f"\nQuestion: {one.prompt}\nA:", f" {one.answer}") for one in rng.sample(taught, min(count, len(taught)))]
    return Lesson(q.describe(scene), "", tuple(turns))


def _mixed(scene: Scene, rng: random.Random) -> list[Lesson]:
    catalogue = Catalogue(scene, rng)
    asked = [a for mode in FAILURE_MODES for a in (*catalogue.draw(mode, 3), unanswerable(scene, mode, rng))]
    return [plain(a, rng) for a in asked]
