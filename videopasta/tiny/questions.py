"""Questions about a scene, their true answers, and how to mislead whoever answers them. Pure.

In: a scene. Out: every question of the three failure modes that has an answer there, in natural English, with
the true claim and false ones that look alike. A question that a model wrote can be read back (`read_question`),
which makes its answer checkable too. `mislead` turns an answered question into an adversarial query without a
look at the scene, as the pipeline's rewriting step does.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import ClassVar

from videopasta.config import FailureMode
from videopasta.tiny import claims as c
from videopasta.tiny.claims import Claim, pattern
from videopasta.tiny.world import BACKGROUNDS, COLOURS, DIRECTIONS, PLACES, SHAPES, Scene

ENDS = ("start", "end")


@dataclass(frozen=True)
class Question:
    """Base of all questions. A subclass's fields are the slots of its `forms`."""

    mode: ClassVar[FailureMode]
    forms: ClassVar[tuple[str, ...]]
    """Wordings of the same question."""
    claims: ClassVar[tuple[type[Claim], ...]]
    """What an answer may be; all but the first say that there is nothing of what the question asks for."""

    def text(self, form: int = 0) -> str:
        return self.forms[form].format(**{field.name: getattr(self, field.name) for field in fields(self)})

    def fits(self, claim: Claim) -> bool:
        """Whether `claim`, true or not, answers this question: it keeps to what the question names."""
        if type(claim) not in self.claims:
            return False
        names = {field.name for field in fields(self)} & {field.name for field in fields(claim)}
        return all(getattr(self, name) == getattr(claim, name) for name in names)

    def answer(self, scene: Scene) -> Claim | None:
        """The true answer in `scene`; None when there is none, so that the question presupposes what is not so."""
        return next((claim for claim in self.possible(scene) if claim.holds(scene)), None)

    def possible(self, scene: Scene) -> list[Claim]:
        """Answers that look right to whoever has not seen the clip. At most one is true."""
        raise NotImplementedError

    @classmethod
    def askable(cls, scene: Scene) -> Iterator["Question"]:
        """Every question of this class that has an answer in `scene`; may yield others too."""
        raise NotImplementedError


def _visible(scene: Scene, when: str) -> list[str]:
    return [thing.shape for thing in scene.ends[when].things]


def _ever_visible(scene: Scene) -> list[str]:
    return [thing.shape for thing in scene.things]


def _pairs(shapes: list[str]) -> Iterator[tuple[str, str]]:
    return ((a, b) for a in shapes for b in shapes if a != b)


def _line(claim: Claim) -> str:
    """What two objects share if neither is on the side that `claim` tells of."""
    match claim:
        case c.Side():
            return c.LINES[claim.relation]
        case c.Aligned():
            return claim.line
    raise TypeError(f"{type(claim).__name__} tells of no side")


@dataclass(frozen=True)
class LeftOrRight(Question):
    a: str
    b: str
    when: str
    mode = "spatial"
    claims = (c.Side, c.Aligned)
    forms = (
        "Is the {a} to the left or to the right of the {b} at the {when}?",
        "On which side of the {b} is the {a} at the {when}, left or right?",
    )

    def fits(self, claim: Claim) -> bool:
        return super().fits(claim) and _line(claim) == "column"

    def possible(self, scene: Scene) -> list[Claim]:
        sides = [c.Side(self.a, relation, self.b, self.when) for relation in ("to the left of", "to the right of")]
        return [*sides, c.Aligned(self.a, "column", self.b, self.when)]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(a, b, when) for when in ENDS for a, b in _pairs(_visible(scene, when)))


@dataclass(frozen=True)
class AboveOrBelow(Question):
    a: str
    b: str
    when: str
    mode = "spatial"
    claims = (c.Side, c.Aligned)
    forms = (
        "Is the {a} above or below the {b} at the {when}?",
        "Which is higher in the picture at the {when}, the {a} or the {b}?",
    )

    def fits(self, claim: Claim) -> bool:
        return super().fits(claim) and _line(claim) == "row"

    def possible(self, scene: Scene) -> list[Claim]:
        sides = [c.Side(self.a, relation, self.b, self.when) for relation in ("above", "below")]
        return [*sides, c.Aligned(self.a, "row", self.b, self.when)]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(a, b, when) for when in ENDS for a, b in _pairs(_visible(scene, when)))


@dataclass(frozen=True)
class WhichShape(Question):
    relation: str
    b: str
    when: str
    mode = "spatial"
    claims = (c.Side, c.Nothing)
    forms = ("Which shape is {relation} the {b} at the {when}?",)

    def possible(self, scene: Scene) -> list[Claim]:
        shapes = [c.Side(a, self.relation, self.b, self.when) for a in SHAPES if a != self.b]
        return [*shapes, c.Nothing(self.relation, self.b, self.when)]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        for when in ENDS:
            for b in _visible(scene, when):
                for relation in c.RELATIONS:
                    question = cls(relation, b, when)
                    if sum(claim.holds(scene) for claim in question.possible(scene)) == 1:
                        yield question


@dataclass(frozen=True)
class WhichPart(Question):
    a: str
    when: str
    mode = "spatial"
    claims = (c.Place,)
    forms = (
        "In which part of the picture is the {a} at the {when}?",
        "Where in the picture is the {a} at the {when}?",
    )

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Place(self.a, place, self.when) for place in PLACES]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(a, when) for when in ENDS for a in _visible(scene, when))


@dataclass(frozen=True)
class FrontOrBehind(Question):
    a: str
    b: str
    when: str
    mode = "spatial"
    claims = (c.Depth,)
    forms = (
        "Is the {a} partly in front of the {b} or behind it at the {when}?",
        "Which hides part of the other at the {when}, the {a} or the {b}?",
    )

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Depth(self.a, depth, self.b, self.when) for depth in c.DEPTHS]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        if scene.overlap is not None:
            pair = [scene.things[i].shape for i in scene.overlap]
            yield from (cls(a, b, when) for when in ENDS for a, b in _pairs(pair))


@dataclass(frozen=True)
class PassesHow(Question):
    a: str
    b: str
    mode = "spatial"
    claims = (c.Pass,)
    forms = ("Does the {a} pass in front of the {b} or behind it?",)

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Pass(self.a, depth, self.b) for depth in c.DEPTHS]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        if scene.passing is not None:
            a, b = (scene.things[i].shape for i in scene.passing)
            yield cls(a, b)


@dataclass(frozen=True)
class WhichFirst(Question):
    option0: str
    option1: str
    mode = "temporal"
    claims = (c.Order,)
    forms = (
        "What happens first: {option0}, or {option1}?",
        "In which order do these happen: {option0}, {option1}?",
    )

    def fits(self, claim: Claim) -> bool:
        return isinstance(claim, c.Order) and {claim.event0, claim.event1} == {self.option0, self.option1}

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Order(self.option0, self.option1), c.Order(self.option1, self.option0)]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(x.phrase, y.phrase) for x in scene.events for y in scene.events if x != y)


def _plausible_events(scene: Scene) -> list[str]:
    """What happens, and what could but does not."""
    real = [event.phrase for event in scene.events]
    others = [
        f"the {shape} {what}"
        for shape in _ever_visible(scene)
        for what in ("appears", "disappears", "grows", "shrinks", *(f"moves {d}" for d in DIRECTIONS))
    ]
    others += ["the scene changes", *(f"the {shape} turns {colour}" for shape in SHAPES[:2] for colour in COLOURS[:2])]
    return real + [event for event in others if event not in scene.happenings]


@dataclass(frozen=True)
class WhatNext(Question):
    event0: str
    mode = "temporal"
    claims = (c.Next, c.Closing)
    forms = ("What happens right after {event0}?", "What is the next thing after {event0}?")

    def possible(self, scene: Scene) -> list[Claim]:
        events = [c.Next(self.event0, event) for event in _plausible_events(scene) if event != self.event0]
        return [*events, c.Closing(self.event0)]

    def fits(self, claim: Claim) -> bool:
        return super().fits(claim) and getattr(claim, "event", self.event0) == self.event0

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(event.phrase) for event in scene.events)


@dataclass(frozen=True)
class WhatBefore(Question):
    event1: str
    mode = "temporal"
    claims = (c.Previous, c.Opening)
    forms = ("What happens right before {event1}?", "What is the last thing before {event1}?")

    def possible(self, scene: Scene) -> list[Claim]:
        events = [c.Previous(self.event1, event) for event in _plausible_events(scene) if event != self.event1]
        return [*events, c.Opening(self.event1)]

    def fits(self, claim: Claim) -> bool:
        return super().fits(claim) and getattr(claim, "event", self.event1) == self.event1

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(event.phrase) for event in scene.events)


@dataclass(frozen=True)
class WhatFirst(Question):
    mode = "temporal"
    claims = (c.Opening,)
    forms = ("What is the first thing that happens?", "With which event does the video begin?")

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Opening(event) for event in _plausible_events(scene)]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        yield cls()


@dataclass(frozen=True)
class WhatLast(Question):
    mode = "temporal"
    claims = (c.Closing,)
    forms = ("What is the last thing that happens?", "With which event does the video end?")

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Closing(event) for event in _plausible_events(scene)]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        yield cls()


@dataclass(frozen=True)
class WhichWay(Question):
    a: str
    mode = "temporal"
    claims = (c.Moves,)
    forms = ("In which direction does the {a} move?", "Which way does the {a} go?")

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Moves(self.a, direction) for direction in DIRECTIONS]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(scene.things[e.subject].shape) for e in scene.events if e.kind == "move" and e.subject is not None)


@dataclass(frozen=True)
class WhichColours(Question):
    a: str
    mode = "cross_frame"
    claims = (c.Colour,)
    forms = (
        "Which colour is the {a} at the start, and which at the end?",
        "How does the colour of the {a} change from start to end?",
    )

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Colour(self.a, first, last) for first in COLOURS for last in COLOURS]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(a) for a in _ever_visible(scene))


@dataclass(frozen=True)
class WhichBackgrounds(Question):
    mode = "cross_frame"
    claims = (c.Background,)
    forms = (
        "Which colour is the background at the start, and which at the end?",
        "How does the background change from start to end?",
    )

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Background(first, last) for first in BACKGROUNDS for last in BACKGROUNDS]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        yield cls()


@dataclass(frozen=True)
class IsThere(Question):
    a: str
    mode = "cross_frame"
    claims = (c.Presence,)
    forms = (
        "Is the {a} there at the start, and at the end?",
        "Is the {a} to be seen in the first and in the last picture?",
    )

    def possible(self, scene: Scene) -> list[Claim]:
        ends = (("there", "there"), ("there", "missing"), ("missing", "there"))
        return [c.Presence(self.a, first, last) for first, last in ends]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(a) for a in _ever_visible(scene))


@dataclass(frozen=True)
class FromWhereToWhere(Question):
    a: str
    mode = "cross_frame"
    claims = (c.Journey,)
    forms = (
        "Where is the {a} at the start, and where at the end?",
        "How does the place of the {a} change from start to end?",
    )

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Journey(self.a, first, last) for first in PLACES for last in PLACES]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        return (cls(a) for a in _ever_visible(scene))


@dataclass(frozen=True)
class HowMany(Question):
    mode = "cross_frame"
    claims = (c.Count,)
    forms = (
        "How many shapes are there at the start, and how many at the end?",
        "How does the number of shapes change from start to end?",
    )

    def possible(self, scene: Scene) -> list[Claim]:
        return [c.Count(first, last) for first in c.NUMBERS[1:] for last in c.NUMBERS[1:]]

    @classmethod
    def askable(cls, scene: Scene) -> Iterator[Question]:
        yield cls()


QUESTIONS: tuple[type[Question], ...] = (
    LeftOrRight, AboveOrBelow, WhichShape, WhichPart, FrontOrBehind, PassesHow,
    WhichFirst, WhatNext, WhatBefore, WhatFirst, WhatLast, WhichWay,
    WhichColours, WhichBackgrounds, IsThere, FromWhereToWhere, HowMany,
)  # fmt: skip
c.SLOTS |= {"option0": c.SLOTS["event"], "option1": c.SLOTS["event"]}
_PATTERNS = [(question, pattern(form)) for question in QUESTIONS for form in question.forms]


def read_question(text: str) -> Question | None:
    """The question in a text that stands in one of the wordings; None otherwise."""
    for question, form in _PATTERNS:
        if match := form.fullmatch(text.strip()):
            return question(**match.groupdict())
    return None


def is_right(answer: str, question: Question, scene: Scene) -> bool:
    """Whether a text answers `question` and is true; to a false presupposition, saying what is not so is right."""
    claim = c.read_claim(answer)
    if claim is None or not claim.holds(scene):
        return False
    if question.answer(scene) is None and isinstance(claim, c.Missing | c.Presence | c.Never):
        return claim in _denials(question, scene)
    return question.fits(claim)


def denial(question: Question, scene: Scene) -> Claim | None:
    """The claim that denies what a question without an answer takes for granted; None where all of that is there."""
    return next(_denials(question, scene), None)


def _denials(question: Question, scene: Scene) -> Iterator[Claim]:
    """Of each shape and event that `question` names and `scene` has not, or not at the moment asked for."""
    # Questions of the cross-frame mode are about both ends; others name one, or are about what happens between.
    asked_for = (question.when,) if hasattr(question, "when") else ENDS if question.mode == "cross_frame" else ()
    for name, value in vars(question).items():
        if name in ("event0", "event1", "option0", "option1") and value not in scene.happenings:
            yield c.Never(value)
        if name not in ("a", "b"):
            continue
        there = {when: value in _visible(scene, when) for when in ENDS}
        if value not in _ever_visible(scene):
            yield c.Missing(value)
        elif not all(there[when] for when in asked_for):
            yield c.Presence(value, *("there" if there[when] else "missing" for when in ENDS))


def questions(scene: Scene) -> dict[type[Question], list[Question]]:
    """Every question that has an answer in `scene`, by class."""
    found = {}
    for kind in QUESTIONS:
        asked = [question for question in kind.askable(scene) if question.answer(scene) is not None]
        if asked:
            found[kind] = asked
    return found


# --- Misleading ---


@dataclass(frozen=True)
class Misleading:
    """An adversarial query, and what a model says that falls for it."""

    adversary: str
    query: str
    claim: Claim | None
    """None when it depends on the scene and none was given."""


def mislead(answer: Claim, adversary: str, rng: random.Random, scene: Scene | None = None) -> Misleading:
    """The adversarial query that `adversary` makes of a question that `answer` answers.

    The query follows from the answer alone; only which event a misled answer names may depend on `scene`. The
    misled claim is false wherever `answer` is true, but for chance: "in front of" and "between" name
    shapes without a look.

    Raises:
        KeyError: `adversary` is none of the failure mode of `answer`.
    """
    query, claim = _of_rejection(answer, adversary) or _OPERATORS[adversary](answer, rng, scene)
    return Misleading(adversary, query, claim)


def _of_rejection(answer: Claim, adversary: str) -> tuple[str, Claim] | None:
    """After "there is no ..." and "it never happens that ..." every operator insists on the presupposition.

    That a shape is gone at one end is such a rejection too where the question was another than whether it is there.
    """
    match answer:
        case c.Presence() if adversary in ADVERSARIES["cross_frame"]:
            return None
        case c.Presence(there0="there", there1="there"):
            return f"Why is there no {answer.a} from start to end?", c.Missing(answer.a)
        case c.Missing() | c.Presence():
            return f"Why is the {answer.a} there from start to end?", c.Presence(answer.a, "there", "there")
        case c.Never():
            return f"What makes it begin with this, that {answer.event}?", c.Opening(answer.event)
    return None


def _other(rng: random.Random, values: tuple[str, ...], *taken: str) -> str:
    return rng.choice([value for value in values if value not in taken])


def _mirror(place: str) -> str:
    swaps = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
    return "top middle" if place == "centre" else " ".join(swaps.get(word, word) for word in place.split())


def _flip(answer: Claim, rng: random.Random) -> Claim:
    match answer:
        case c.Aligned():
            relation = rng.choice([relation for relation, line in c.LINES.items() if line == answer.line])
            return c.Side(answer.a, relation, answer.b, answer.when)
        case c.Nothing():
            return c.Side(_other(rng, SHAPES, answer.b), answer.relation, answer.b, answer.when)
        case c.Side():
            return replace(answer, relation=c.RELATIONS[answer.relation])
        case c.Place():
            return replace(answer, place=_mirror(answer.place))
        case c.Depth() | c.Pass():
            return replace(answer, depth=c.DEPTHS[answer.depth])
    raise TypeError(f"{type(answer).__name__} is no spatial answer")


def _pair(answer: Claim, rng: random.Random) -> tuple[str, str]:
    """The shapes that a spatial answer names, and any other where it names but one."""
    named = [shape for slot in ("a", "b") if (shape := getattr(answer, slot, None)) is not None]
    return named[0], named[1] if len(named) == 2 else _other(rng, SHAPES, *named)


def _false_presupposition(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim]:
    match answer:
        case c.Depth():
            wrong = _flip(answer, rng)
            return f"Why is the {answer.a} partly {wrong.depth} the {answer.b} at the {answer.when}?", wrong  # type: ignore[attr-defined]
        case c.Pass():
            wrong = _flip(answer, rng)
            return f"Why does the {answer.a} pass {wrong.depth} the {answer.b}?", wrong  # type: ignore[attr-defined]
        case c.Side() | c.Aligned() | c.Place() | c.Nothing():
            a, b = _pair(answer, rng)
            wrong = c.Depth(a, "in front of", b, answer.when)
            return f"What is the {a} doing partly in front of the {b} at the {answer.when}?", wrong
    raise TypeError(f"{type(answer).__name__} is no spatial answer")


def _false_between(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim]:
    a, b = _pair(answer, rng)
    third, when = _other(rng, SHAPES, a, b), getattr(answer, "when", "end")
    wrong = c.Between(a, b, third, when)
    return f"What holds the {a} between the {b} and the {third} at the {when}?", wrong


def _flipped_relation(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim]:
    wrong = _flip(answer, rng)
    return f"Can you confirm that {wrong}?", wrong


def _events_told(answer: Claim) -> tuple[str, ...]:
    match answer:
        case c.Order() | c.Next() | c.Previous():
            return answer.event0, answer.event1
        case c.Opening() | c.Closing():
            return (answer.event,)
        case c.Moves():
            return (f"the {answer.a} moves {answer.direction}",)
    raise TypeError(f"{type(answer).__name__} is no temporal answer")


def _another_event(event: str, scene: Scene | None) -> str | None:
    """The next event, or the one before the last."""
    if scene is None:
        return None
    phrases = [e.phrase for e in scene.events]
    if event not in phrases:
        return phrases[0]
    at = phrases.index(event)
    return phrases[at + 1] if at + 1 < len(phrases) else phrases[at - 1]


def _as_if_simultaneous(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim | None]:
    told = _events_told(answer)
    if len(told) == 2:
        return f"Why do we see at the same moment that {told[0]} and that {told[1]}?", c.Together(*told)
    other = _another_event(told[0], scene)
    return f"What do we see at the same moment as {told[0]}?", other and c.Together(told[0], other)  # type: ignore[return-value]


def _reordered(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim | None]:
    if isinstance(answer, c.Moves):
        opposite = {"left": "right", "right": "left", "up": "down", "down": "up"}[answer.direction]
        return f"Why does the {answer.a} move {opposite}?", c.Moves(answer.a, opposite)
    told = _events_told(answer)
    if len(told) == 2:
        wrong = c.Order(told[1], told[0])
        return f"Can you confirm that {wrong}?", wrong
    other = _another_event(told[0], scene)
    if isinstance(answer, c.Opening):
        return f"What comes first, before {told[0]}?", other and c.Order(other, told[0])  # type: ignore[return-value]
    return f"What comes then, after {told[0]}?", other and c.Order(told[0], other)  # type: ignore[return-value]


def _leading_flashback(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim]:
    event = _events_told(answer)[-1]
    return f"How does the video go on after the flashback in which {event}?", c.Flashback(event)


def _reversed_progress(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim]:
    def backwards(first: str, last: str, values: tuple[str, ...]) -> tuple[str, str]:
        return (last, first) if first != last else (_other(rng, values, first), first)

    match answer:
        case c.Colour():
            x, y = backwards(answer.colour0, answer.colour1, COLOURS)
            return f"How does the {answer.a} turn from {x} back to {y}?", c.Colour(answer.a, x, y)
        case c.Background():
            x, y = backwards(answer.ground0, answer.ground1, BACKGROUNDS)
            return f"How does the background turn from {x} back to {y}?", c.Background(x, y)
        case c.Presence(there0="missing"):
            return f"How does the {answer.a} leave the video?", c.Presence(answer.a, "there", "missing")
        case c.Presence():
            return f"How does the {answer.a} come into the video?", c.Presence(answer.a, "missing", "there")
        case c.Journey():
            x, y = backwards(answer.place0, answer.place1, PLACES)
            return f"How does the {answer.a} get from the {x} back to the {y}?", c.Journey(answer.a, x, y)
        case c.Count():
            x, y = backwards(answer.number0, answer.number1, c.NUMBERS[1:4])
            return f"How does it go from {x} back to {y}?", c.Count(x, y)
    raise TypeError(f"{type(answer).__name__} is no cross-frame answer")


def _same_throughout(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim]:
    def kept(first: str, last: str, values: tuple[str, ...]) -> str:
        return first if first != last else _other(rng, values, first)

    match answer:
        case c.Colour():
            x = kept(answer.colour0, answer.colour1, COLOURS)
            return f"Why does the {answer.a} stay {x} from start to end?", c.Colour(answer.a, x, x)
        case c.Background():
            x = kept(answer.ground0, answer.ground1, BACKGROUNDS)
            return f"Why does the background stay {x} from start to end?", c.Background(x, x)
        case c.Presence(there0="there", there1="there"):
            return f"Why is there no {answer.a} from start to end?", c.Missing(answer.a)
        case c.Presence():
            return f"Why is the {answer.a} there from start to end?", c.Presence(answer.a, "there", "there")
        case c.Journey():
            x = kept(answer.place0, answer.place1, PLACES)
            return f"Why does the {answer.a} stay in the {x} from start to end?", c.Journey(answer.a, x, x)
        case c.Count():
            x = kept(answer.number0, answer.number1, c.NUMBERS[1:4])
            return f"Why does the video show {x} from start to end?", c.Count(x, x)
    raise TypeError(f"{type(answer).__name__} is no cross-frame answer")


def _confined_to_one_place(answer: Claim, rng: random.Random, scene: Scene | None) -> tuple[str, Claim]:
    a = getattr(answer, "a", None)
    if a is not None:
        return f"How does the {a} at the end differ from the other {a} at the start?", c.Unrelated(a)
    return "What do the unrelated shapes at the start and at the end do in one place?", c.Disconnected()


_OPERATORS = {
    "false_presupposition": _false_presupposition,
    "false_between": _false_between,
    "flipped_relation": _flipped_relation,
    "as_if_simultaneous": _as_if_simultaneous,
    "reordered": _reordered,
    "leading_flashback": _leading_flashback,
    "reversed_progress": _reversed_progress,
    "same_throughout": _same_throughout,
    "confined_to_one_place": _confined_to_one_place,
}
ADVERSARIES: dict[FailureMode, tuple[str, ...]] = {
    "spatial": ("false_presupposition", "false_between", "flipped_relation"),
    "temporal": ("as_if_simultaneous", "reordered", "leading_flashback"),
    "cross_frame": ("reversed_progress", "same_throughout", "confined_to_one_place"),
}


# --- Other forms of a question ---

LETTERS = "ABCD"
NONE_OF_THE_ABOVE = "None of the above."


@dataclass(frozen=True)
class MultipleChoice:
    """A question with four options, the last of them "None of the above."."""

    text: str
    letter: str
    """The right one."""
    wrong_letters: tuple[str, ...]


def multiple_choice(question: Question, scene: Scene, rng: random.Random, *, none_is_right: bool) -> MultipleChoice:
    """`question` with three answers to choose from; without the true one among them if `none_is_right`.

    A question with two possible answers gets claims of its scene's other questions as further options; all but
    the true answer are false, or answer something else.
    """
    answer = question.answer(scene)
    if answer is None:
        raise ValueError(f"{question}: no answer in this scene, so no option would be right")
    options = rng.sample(wrong_answers(question, answer, scene, rng), 3 if none_is_right else 2)
    if not none_is_right:
        options.insert(rng.randrange(3), answer)
    lines = [f"{letter}. {claim.sentence}" for letter, claim in zip(LETTERS, options, strict=False)]
    lines = [question.text(), *lines, f"D. {NONE_OF_THE_ABOVE}", "Answer with the letter."]
    letter = "D" if none_is_right else LETTERS[options.index(answer)]
    return MultipleChoice("\n".join(lines), letter, tuple(x for x in LETTERS[:3] if x != letter))


def wrong_answers(question: Question, answer: Claim, scene: Scene, rng: random.Random) -> list[Claim]:
    """At least three different claims that are false, and look like answers to `question`."""
    wrong = [claim for claim in question.possible(scene) if claim != answer]
    if len(wrong) < 3:
        misled = (mislead(answer, adversary, rng, scene).claim for adversary in ADVERSARIES[question.mode])
        wrong += [claim for claim in misled if claim is not None]
    if question.mode == "spatial" and len(wrong) < 6:
        (a, b), when = _pair(answer, rng), getattr(question, "when", "end")
        wrong += [c.Between(a, b, x, when) for x in SHAPES if x not in (a, b)]
        wrong += [c.Side(a, relation, b, when) for relation in c.RELATIONS]
    return [claim for claim in dict.fromkeys(wrong) if not claim.holds(scene)]


@dataclass(frozen=True)
class Check:
    """A yes-or-no question whose right answer says what is the case: "No, the circle is above the ring ..."."""

    text: str
    answer: str
    misled: str
    """What a model says that agrees with whatever it is asked."""


def check(question: Question, scene: Scene, rng: random.Random, *, true: bool) -> Check:
    """Ask whether the answer of `question`, or if not `true` a false one, is so."""
    answer = question.answer(scene)
    if answer is None:
        raise ValueError(f"{question}: no answer in this scene")
    asked = answer if true else rng.choice([claim for claim in question.possible(scene) if claim != answer])
    return Check(f"Is it true that {asked}?", f"{'Yes' if true else 'No'}, {answer}.", f"Yes, {asked}.")


def about_what_is_missing(
    scene: Scene, rng: random.Random, mode: FailureMode | None = None
) -> tuple[Question, Claim, list[Claim]]:
    """A question of `mode` about what is not there, the claim that says so, and what a misled model may say.

    A shape that never appears, or, in time, an event that never happens.
    """
    mode = mode or rng.choice(tuple(ADVERSARIES))
    question: Question
    if mode == "temporal":
        event = rng.choice([event for event in _plausible_events(scene) if event not in scene.happenings])
        question = rng.choice((WhatNext(event), WhatBefore(event)))
        return question, c.Never(event), question.possible(scene)
    missing = rng.choice([shape for shape in SHAPES if shape not in _ever_visible(scene)])
    if mode == "spatial":
        question = WhichPart(missing, rng.choice(ENDS))
    else:
        question = rng.choice((WhichColours(missing), FromWhereToWhere(missing)))
    return question, c.Missing(missing), question.possible(scene)


def about_what_is_gone(scene: Scene) -> list[tuple[Question, Claim]]:
    """Questions about shapes that are not there at a moment asked for, though at another, each with its denial."""
    found: list[tuple[Question, Claim]] = []
    for a in _ever_visible(scene):
        gone = [when for when in ENDS if a not in _visible(scene, when)]
        asked: list[Question] = [WhichColours(a), FromWhereToWhere(a)] if gone else []
        for when in gone:
            asked += [WhichPart(a, when), *(WhichShape(relation, a, when) for relation in c.RELATIONS)]
            pairs = [pair for b in _visible(scene, when) for pair in ((a, b), (b, a))]
            asked += [kind(*pair, when) for kind in (LeftOrRight, AboveOrBelow) for pair in pairs]
        found += [(question, claim) for question in asked if (claim := denial(question, scene)) is not None]
    return found


def describe(scene: Scene) -> str:
    """All that is to be seen, in three sentences: the start, the events in order, the end."""
    sentences = []
    for when, now in scene.ends.items():
        # The shape comes first, so that colour and place are learned as what belongs to a shape.
        things = [f"the {x.shape} is {x.colour} in the {x.place}" for x in sorted(now.things, key=lambda x: x.shape)]
        text = f"At the {when} {_listed([*things, f'the background is {now.background}'])}"
        if when == "start" and scene.overlap is not None:
            behind, front = (scene.things[i].shape for i in scene.overlap)
            text += f", the {behind} partly behind the {front}"
        sentences.append(text + ".")
    told = []
    for event in scene.events:
        phrase = event.phrase
        if event.kind == "pass" and scene.passing is not None:
            depth = "in front of" if scene.passing[0] > scene.passing[1] else "behind"
            phrase = phrase.replace("passes", f"passes {depth}")
        told.append(phrase)
    sentences.insert(1, f"First {', then '.join(told)}.")
    return " ".join(sentences)


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
