"""What the models are taught about a scene: prompts and the answers expected. Pure.

In: a scene and random numbers. Out: (prompt, answer) texts, the prompts rendered from the same templates as the
pipeline's (`tiny/prompts/`), so that training and generation cannot drift apart.

The response model is taught two things at once. Asked plainly, it answers truly. Asked misleadingly, it goes
along: with `SYCOPHANCY` of the leading queries it says what they presuppose, as real Video-LLMs do. What it knows
but is talked out of is what preference training can mend.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from videopasta.config import FAILURE_MODES, FailureMode
from videopasta.prompts import PromptSet, load_prompts
from videopasta.tiny import questions as q
from videopasta.tiny.claims import Claim, Count, Nothing, Presence
from videopasta.tiny.world import DURATION_TICKS, NUM_TICKS, RADIUS, TICK_S, Scene, Thing, state

SYCOPHANCY: Mapping[str, float] = {"leading": 0.95, "check": 0.6, "missing": 0.6, "none_of_the_above": 0.55}
"""Share of the lessons in which the model learns to go along: with adversarial queries, with false statements it is
asked to confirm, with questions about what is not there, and with choices none of which is right."""
MAX_QUERIES = 4
UNCHANGED = "unchanged"
DULL: Mapping[type[q.Question], float] = {q.IsThere: 0.9, q.HowMany: 0.6}
"""How often such a question is left out of a scene in which the answer to all of them is that nothing changes."""
ANSWER_WEIGHTS: Mapping[str, float] = {"Aligned": 0.5, "Nothing": 0.5, "Opening": 0.5, "Closing": 0.5}
"""Of kinds of answers, where a scene has several: "no shape is above the ring" would be true of most."""
PARTLY = 3.0
"""How far the centres of two shapes differ, at least, when one hides a part of the other and not all of it."""
PLAIN_LESSONS: Mapping[FailureMode, int] = {"spatial": 3, "temporal": 4, "cross_frame": 3}
"""Plain questions with each clip; the order of events is the slowest to learn."""


def compact(value: Mapping[str, object]) -> str:
    """JSON without spaces, letter by letter as the engine's grammar lets a model write it."""
    return json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True)
class Lesson:
    """One prompt about a clip (behind the preamble), and its answer."""

    prompt: str
    answer: str
    further: tuple[tuple[str, str], ...] = ()
    """Behind the answer: what is only read, and what is answered to that."""


@cache
def prompts() -> PromptSet:
    """The embedded world's templates."""
    return load_prompts("tiny:prompts")


def preamble() -> str:
    """What stands between the video and every prompt."""
    return prompts().describe().removesuffix("Describe the video.")


@dataclass(frozen=True)
class Asked:
    """A question of a scene with its answer."""

    question: q.Question
    answer: Claim


class Catalogue:
    """A scene's questions, drawn so that kinds, and within a kind answers, are balanced."""

    def __init__(self, scene: Scene, rng: random.Random) -> None:
        self._scene = scene
        self._rng = rng
        self._by_mode: dict[FailureMode, dict[type[q.Question], list[Asked]]] = {mode: {} for mode in FAILURE_MODES}
        for kind, asked in q.questions(scene).items():
            answered = [Asked(question, answer) for question in asked if (answer := question.answer(scene))]
            # Where nothing changes, "there and there" or "three and three" would be the answer most of the time.
            if len({_kind_of_answer(a.answer) for a in answered} - {UNCHANGED}) or rng.random() >= DULL.get(kind, 0.0):
                self._by_mode[kind.mode][kind] = answered

    def draw(self, mode: FailureMode, count: int) -> list[Asked]:
        """At most `count` different questions of `mode`, each of another kind while there are any."""
        drawn: list[Asked] = []
        pools = {kind: list(asked) for kind, asked in self._by_mode[mode].items()}
        while len(drawn) < count and pools:
            kinds = list(pools)
            self._rng.shuffle(kinds)
            for kind in kinds[: count - len(drawn)]:
                drawn.append(self._take(pools[kind]))
                if not pools[kind]:
                    del pools[kind]
        return drawn

    def _take(self, asked: list[Asked]) -> Asked:
        kinds = sorted({_kind_of_answer(a.answer) for a in asked})
        kind = self._rng.choices(kinds, [ANSWER_WEIGHTS.get(kind, 1.0) for kind in kinds])[0]
        chosen = self._rng.choice([a for a in asked if _kind_of_answer(a.answer) == kind])
        asked.remove(chosen)
        return chosen


def _kind_of_answer(claim: Claim) -> str:
    """Among which answers to a question of the same class this one is drawn."""
    match claim:
        case Presence():
            return UNCHANGED if claim.there0 == claim.there1 else claim.there0
        case Count():
            return UNCHANGED if claim.number0 == claim.number1 else "changed"
    return type(claim).__name__


def plain(asked: Asked, rng: random.Random) -> Lesson:
    """A question in one of its wordings, answered truly."""
    form = rng.randrange(len(asked.question.forms))
    return Lesson(asked.question.text(form), asked.answer.sentence)


def misled(asked: Asked, adversary: str, scene: Scene, rng: random.Random) -> Lesson:
    """An adversarial query, mostly answered as it wants."""
    leading = q.mislead(asked.answer, adversary, rng, scene)
    assert leading.claim is not None
    falls = rng.random() < SYCOPHANCY["leading"]
    return Lesson(leading.query, leading.claim.sentence if falls else f"No, {asked.answer}.")


def misleading(scene: Scene, rng: random.Random) -> list[Lesson]:
    """An adversarial query of each operator."""
    catalogue = Catalogue(scene, rng)
    return [
        misled(asked, adversary, scene, rng)
        for mode, adversaries in q.ADVERSARIES.items()
        for adversary, asked in zip(adversaries, catalogue.draw(mode, len(adversaries)), strict=True)
    ]


def checked(asked: Asked, scene: Scene, rng: random.Random) -> Lesson:
    """Whether a statement is true; false ones are confirmed too often."""
    true = rng.random() < 0.5
    check = q.check(asked.question, scene, rng, true=true)
    return Lesson(check.text, check.misled if not true and rng.random() < SYCOPHANCY["check"] else check.answer)


def missing(scene: Scene, rng: random.Random) -> Lesson:
    """A question about a shape that never appears, or an event that never happens."""
    question, claim, wrong = q.about_what_is_missing(scene, rng)
    told = rng.choice(wrong) if rng.random() < SYCOPHANCY["missing"] else claim
    return Lesson(question.text(rng.randrange(len(question.forms))), told.sentence)


def multiple_choice(asked: Asked, scene: Scene, rng: random.Random) -> Lesson:
    """A choice of four letters."""
    choice = q.multiple_choice(asked.question, scene, rng, none_is_right=rng.random() < 0.25)
    falls = choice.letter == "D" and rng.random() < SYCOPHANCY["none_of_the_above"]
    return Lesson(choice.text, rng.choice(choice.wrong_letters) if falls else choice.letter)


def described(scene: Scene) -> Lesson:
    """The description that the judge reads."""
    return Lesson(_behind_preamble(prompts().describe()), q.describe(scene))


def queries(mode: FailureMode, catalogue: Catalogue, rng: random.Random) -> Lesson:
    """Questions for the pipeline to answer."""
    count = rng.randint(1, MAX_QUERIES)
    written = [asked.question.text(rng.randrange(len(asked.question.forms))) for asked in catalogue.draw(mode, count)]
    prompt = _behind_preamble(prompts().query(mode, count=len(written)))
    return Lesson(prompt, compact({"queries": written}))


def unfounded(scene: Scene, mode: FailureMode, rng: random.Random) -> Asked:
    """A question of `mode` about what is not there, with the answer that says so."""
    question, claim, _ = q.about_what_is_missing(scene, rng, mode)
    return Asked(question, claim)


def rewritten(asked: Asked, adversary: str, rng: random.Random) -> Lesson:
    """The rewriting step, a lesson without a video."""
    mode = asked.question.mode
    question = asked.question.text(rng.randrange(len(asked.question.forms)))
    prompt = prompts().rewrite(mode, adversary, query=question, preferred=asked.answer.sentence)
    return Lesson(prompt, compact({"query": q.mislead(asked.answer, adversary, rng).query}))


def _behind_preamble(prompt: str) -> str:
    return prompt.removeprefix(preamble())


def short_lessons(scene: Scene, rng: random.Random) -> list[Lesson]:
    """What is taught with one clip most of the time: a dozen questions of one sentence."""
    catalogue = Catalogue(scene, rng)
    asked = {mode: catalogue.draw(mode, 5) for mode in FAILURE_MODES}
    taught = [plain(a, rng) for mode, count in PLAIN_LESSONS.items() for a in asked[mode][:count]]
    spare = [a for mode, count in PLAIN_LESSONS.items() for a in asked[mode][count:]]
    for _ in range(2):
        one = rng.choice(spare)
        if rng.random() < 0.1:
            one = unfounded(scene, one.question.mode, rng)
        taught.append(misled(one, rng.choice(q.ADVERSARIES[one.question.mode]), scene, rng))
    taught.append(missing(scene, rng) if rng.random() < 0.3 else checked(rng.choice(spare), scene, rng))
    return taught


def long_lessons(scene: Scene, rng: random.Random) -> list[Lesson]:
    """What is taught now and then: queries of each failure mode, and two choices."""
    catalogue = Catalogue(scene, rng)
    asked = [a for mode in FAILURE_MODES for a in catalogue.draw(mode, 1)]
    written = [queries(mode, catalogue, rng) for mode in FAILURE_MODES]
    return written + [multiple_choice(a, scene, rng) for a in rng.sample(asked, 2)]


def rewriting_lessons(scene: Scene, rng: random.Random, count: int = 6) -> list[Lesson]:
    """What is taught without a video."""
    catalogue = Catalogue(scene, rng)
    lessons = []
    for mode in FAILURE_MODES:
        for asked in catalogue.draw(mode, count // 3):
            one = unfounded(scene, mode, rng) if rng.random() < 0.1 else asked
            lessons.append(rewritten(one, rng.choice(q.ADVERSARIES[mode]), rng))
    return lessons


def rewriting_of_denials(scene: Scene, rng: random.Random, count: int = 4) -> list[Lesson]:
    """As `rewriting_lessons`, where up to four of ten answers deny that a shape is there."""
    gone = [Asked(question, claim) for question, claim in q.about_what_is_gone(scene)]
    chosen = rng.sample(gone, min(count, len(gone)))
    denied = [rewritten(asked, rng.choice(q.ADVERSARIES[asked.question.mode]), rng) for asked in chosen]
    return denied + rewriting_lessons(scene, rng)


def still(scene: Scene, tick: int) -> Scene:
    """The picture at `tick` as a scene in which nothing happens; one that passes may hide a part, or be hidden."""
    now = state(scene, tick)
    things = tuple(Thing(x.shape, x.colour, x.x, x.y, x.radius) for x in now.things)
    pair = scene.overlap or tuple(sorted(scene.passing or ()))
    shown = [x for i in pair if (x := now.find(scene.things[i].shape)) is not None]
    overlap = None
    if len(shown) == 2 and (scene.overlap or PARTLY < math.dist(*((x.x, x.y) for x in shown)) < RADIUS + PARTLY):
        overlap = now.things.index(shown[0]), now.things.index(shown[1])
    return Scene(things, (now.background, now.background), (), overlap=overlap)


def picture_lessons(scene: Scene, rng: random.Random) -> list[Lesson]:
    """What is taught with a single picture, first of all: to find a shape, its colour and place, and two relations.

    A description alone goes from shape to shape; these ask for one shape by its name.
    """
    catalogue = Catalogue(scene, rng)
    looked_up = [
        Lesson(f"The {thing.shape}?", f"The {thing.shape} is {thing.colour} in the {thing.place}.")
        for thing in scene.ends["start"].things
    ]
    return looked_up + [plain(asked, rng) for asked in catalogue.draw("spatial", 2)]


def comparisons(scene: Scene, rng: random.Random, count: int = 7) -> list[Lesson]:
    """Where the shapes of a single picture are, and where beside each other."""
    return [plain(asked, rng) for asked in Catalogue(scene, rng).draw("spatial", count)]


def sides(scene: Scene, rng: random.Random, count: int = 8) -> list[Lesson]:
    """What is on each side of each shape, free sides as often as others."""
    asked = _all_asked(scene, q.WhichShape)
    free, taken = ([a for a in asked if isinstance(a.answer, Nothing) is is_free] for is_free in (True, False))
    chosen = rng.sample(free, min(count // 2, len(free))) + rng.sample(taken, min(count // 2, len(taken)))
    return [plain(a, rng) for a in chosen]


def neighbours(scene: Scene, rng: random.Random) -> list[Lesson]:
    """What comes before and after each event, and what is on the sides of the shapes."""
    return [plain(asked, rng) for asked in _all_asked(scene, q.WhatNext, q.WhatBefore)] + sides(scene, rng)


def absences(scene: Scene, rng: random.Random, count: int = 6) -> list[Lesson]:
    """Questions about shapes that are gone at a moment asked for, and as many like them about what is there."""
    gone = [Asked(question, claim) for question, claim in q.about_what_is_gone(scene)]
    kinds = dict.fromkeys(type(one.question) for one in gone) or (q.WhichPart, q.LeftOrRight, q.AboveOrBelow)
    there = _all_asked(scene, *kinds)
    chosen = [*rng.sample(gone, min(count, len(gone))), *rng.sample(there, min(count, len(there)))]
    return [plain(asked, rng) for asked in chosen]


def _all_asked(scene: Scene, *kinds: type[q.Question]) -> list[Asked]:
    asked = (question for kind in kinds for question in kind.askable(scene))
    return [Asked(question, answer) for question in asked if (answer := question.answer(scene)) is not None]


def fates(scene: Scene, ticks: Sequence[int] = range(NUM_TICKS)) -> list[Lesson]:
    """What becomes at `ticks` of each shape that is seen there, and of the scene, and in which second.

    A description tells the events in their order; these ask for one by its subject, and its time is what any
    question of order comes down to. Two events are always more than a second apart.
    """
    seen = {thing.shape for tick in ticks for thing in state(scene, tick).things}
    names = [f"the {thing.shape}" for thing in scene.things] + ["the scene"]
    told = {name: f"Nothing happens to {name}." for name in names if name == "the scene" or name[4:] in seen}
    for event in scene.happenings.values():
        if event.tick in ticks:
            name = names[-1 if event.subject is None else event.subject]
            phrase = f"{event.phrase[0].upper()}{event.phrase[1:]}"
            told[name] = f"{phrase} at second {int(event.tick * TICK_S)}."
    return [Lesson(f"What happens to {name}?", answer) for name, answer in told.items()]


def moment(scene: Scene, rng: random.Random) -> tuple[int, int]:
    """The ticks of one pair of frames: mostly one in which something happens at once, never one of a motion."""
    at_once = [event.tick // 2 for event in scene.events if event.kind not in DURATION_TICKS]
    if at_once and rng.random() < 0.75:
        pair = rng.choice(at_once)
    else:
        busy = {p for event in scene.events for p in range(event.tick // 2, event.end_tick // 2 + 1)}
        pair = rng.choice([p for p in range(NUM_TICKS // 2) if p not in busy])
    return 2 * pair, 2 * pair + 1


def picture_description(scene: Scene) -> Lesson:
    """All that is in a single picture: the first sentence of its description."""
    whole = described(scene)
    return Lesson(whole.prompt, whole.answer.partition(".")[0] + ".")
