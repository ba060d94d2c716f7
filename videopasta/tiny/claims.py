"""Statements about a scene: as values, as English, and whether they are true. Pure.

In: a scene and a statement. Out: True or False. Every answer of the embedded world is one claim in its one
wording, so an answer of a model can be read back (`read_claim`) and held against the scene: that is the truth
that pairs are audited with.

A claim about an object that is not there is false: "the ring is red" of a scene without a ring.
"""

import re
from dataclasses import dataclass, fields
from typing import ClassVar

from videopasta.tiny.world import BACKGROUNDS, COLOURS, DIRECTIONS, PLACES, SHAPES, Scene

RELATIONS = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}
"""Each with its opposite."""
LINES = {"to the left of": "column", "to the right of": "column", "above": "row", "below": "row"}
"""What two objects share that are on neither side of each other."""
DEPTHS = {"in front of": "behind", "behind": "in front of"}
NUMBERS = ("no shapes", "one shape", "two shapes", "three shapes", "four shapes")
_CLEAR = 8.0
"""By how many units two centres differ before one is said to be left of or above the other."""

_SHAPE = "|".join(SHAPES)
_EVENT = (
    rf"the (?:{_SHAPE}) (?:appears|disappears|moves (?:{'|'.join(DIRECTIONS)})|(?:meets|passes) the (?:{_SHAPE})"
    rf"|turns (?:{'|'.join(COLOURS)})|grows|shrinks|stops shaking)|the scene changes"
)
SLOTS = {
    "a": _SHAPE,
    "b": _SHAPE,
    "c": _SHAPE,
    "relation": "|".join(RELATIONS),
    "line": "row|column",
    "depth": "|".join(DEPTHS),
    "when": "start|end",
    "place": "|".join(PLACES),
    "place0": "|".join(PLACES),
    "place1": "|".join(PLACES),
    "colour": "|".join(COLOURS),
    "colour0": "|".join(COLOURS),
    "colour1": "|".join(COLOURS),
    "ground0": "|".join(BACKGROUNDS),
    "ground1": "|".join(BACKGROUNDS),
    "number0": "|".join(NUMBERS),
    "number1": "|".join(NUMBERS),
    "direction": "|".join(DIRECTIONS),
    "event": _EVENT,
    "event0": _EVENT,
    "event1": _EVENT,
}
"""What may stand in a form's slot."""


def pattern(form: str) -> re.Pattern[str]:
    """`form` as a regular expression, a named group for each slot."""
    parts = re.split(r"\{(\w+)\}", form)
    expression = ""
    seen: set[str] = set()
    for i, part in enumerate(parts):
        if i % 2 == 0:
            expression += re.escape(part)
        else:
            expression += f"(?P={part})" if part in seen else f"(?P<{part}>{SLOTS[part]})"
            seen.add(part)
    return re.compile(expression)


@dataclass(frozen=True)
class Claim:
    """Base of all claims. A subclass's fields are the slots of its `form`."""

    form: ClassVar[str]

    def __str__(self) -> str:
        return self.form.format(**{field.name: getattr(self, field.name) for field in fields(self)})

    @property
    def sentence(self) -> str:
        """As an answer: "The circle is above the ring at the start."."""
        text = str(self)
        return f"{text[0].upper()}{text[1:]}."

    def holds(self, scene: Scene) -> bool:
        """Whether it is true of `scene`."""
        raise NotImplementedError


def _beside(relation: str, dx: float, dy: float) -> bool:
    value = {"to the left of": -dx, "to the right of": dx, "above": -dy, "below": dy}[relation]
    return value > _CLEAR


@dataclass(frozen=True)
class Side(Claim):
    """Left, right, above, below. Of two objects on a diagonal two such claims hold."""

    a: str
    relation: str
    b: str
    when: str
    form = "the {a} is {relation} the {b} at the {when}"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends[self.when]
        a, b = now.find(self.a), now.find(self.b)
        return a is not None and b is not None and _beside(self.relation, a.x - b.x, a.y - b.y)


@dataclass(frozen=True)
class Aligned(Claim):
    """In one row: neither is above the other. In one column: neither is to the left."""

    a: str
    line: str
    b: str
    when: str
    form = "the {a} is in one {line} with the {b} at the {when}"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends[self.when]
        a, b = now.find(self.a), now.find(self.b)
        if a is None or b is None or self.a == self.b:
            return False
        return abs(a.y - b.y if self.line == "row" else a.x - b.x) <= _CLEAR


@dataclass(frozen=True)
class Nothing(Claim):
    """One side of an object is free."""

    relation: str
    b: str
    when: str
    form = "no shape is {relation} the {b} at the {when}"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends[self.when]
        b = now.find(self.b)
        return b is not None and not any(_beside(self.relation, a.x - b.x, a.y - b.y) for a in now.things)


@dataclass(frozen=True)
class Place(Claim):
    """Where in the picture."""

    a: str
    place: str
    when: str
    form = "the {a} is in the {place} at the {when}"

    def holds(self, scene: Scene) -> bool:
        a = scene.ends[self.when].find(self.a)
        return a is not None and a.place == self.place


@dataclass(frozen=True)
class Depth(Claim):
    """Which of two objects hides part of the other. Objects that do not overlap are neither."""

    a: str
    depth: str
    b: str
    when: str
    form = "the {a} is partly {depth} the {b} at the {when}"

    def holds(self, scene: Scene) -> bool:
        if scene.overlap is None:
            return False
        behind, front = (scene.things[i].shape for i in scene.overlap)
        now = scene.ends[self.when]
        if now.find(behind) is None or now.find(front) is None:
            return False
        return (self.a, self.b) == ((front, behind) if self.depth == "in front of" else (behind, front))


@dataclass(frozen=True)
class Pass(Claim):
    """On which side of another object one passes, seen from the camera."""

    a: str
    depth: str
    b: str
    form = "the {a} passes {depth} the {b}"

    def holds(self, scene: Scene) -> bool:
        if scene.passing is None:
            return False
        mover, other = scene.passing
        if (self.a, self.b) != (scene.things[mover].shape, scene.things[other].shape):
            return False
        return (mover > other) == (self.depth == "in front of")


@dataclass(frozen=True)
class Between(Claim):
    """In a row or a column, with one of the others on either side."""

    a: str
    b: str
    c: str
    when: str
    form = "the {a} is between the {b} and the {c} at the {when}"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends[self.when]
        a, b, c = (now.find(shape) for shape in (self.a, self.b, self.c))
        if a is None or b is None or c is None:
            return False
        columns, rows = zip(*((thing.x, thing.y) for thing in (a, b, c)), strict=True)
        return any(
            max(across) - min(across) < _CLEAR and min(along[1:]) + _CLEAR < along[0] < max(along[1:]) - _CLEAR
            for along, across in ((columns, rows), (rows, columns))
        )


@dataclass(frozen=True)
class Order(Claim):
    """One event before another."""

    event0: str
    event1: str
    form = "first {event0}, then {event1}"

    def holds(self, scene: Scene) -> bool:
        events = scene.happenings
        if self.event0 not in events or self.event1 not in events:
            return False
        return events[self.event0].tick < events[self.event1].tick


@dataclass(frozen=True)
class Next(Claim):
    """The event that follows another, with none between."""

    event0: str
    event1: str
    form = "right after {event0}, {event1}"

    def holds(self, scene: Scene) -> bool:
        return _adjacent(scene, self.event0, self.event1)


@dataclass(frozen=True)
class Previous(Claim):
    """The event that comes before another, with none between."""

    event1: str
    event0: str
    form = "right before {event1}, {event0}"

    def holds(self, scene: Scene) -> bool:
        return _adjacent(scene, self.event0, self.event1)


def _adjacent(scene: Scene, first: str, second: str) -> bool:
    events = scene.happenings
    if first not in events or second not in events:
        return False
    ticks = sorted({event.tick for event in events.values()})
    return ticks.index(events[second].tick) == ticks.index(events[first].tick) + 1


@dataclass(frozen=True)
class Opening(Claim):
    """The first event."""

    event: str
    form = "the first thing that happens is that {event}"

    def holds(self, scene: Scene) -> bool:
        events = scene.happenings
        return self.event in events and events[self.event].tick == scene.events[0].tick


@dataclass(frozen=True)
class Closing(Claim):
    """The last event."""

    event: str
    form = "the last thing that happens is that {event}"

    def holds(self, scene: Scene) -> bool:
        events = scene.happenings
        return self.event in events and events[self.event].tick == scene.events[-1].tick


@dataclass(frozen=True)
class Moves(Claim):
    """The way an object goes."""

    a: str
    direction: str
    form = "the {a} moves {direction} in the video"

    def holds(self, scene: Scene) -> bool:
        return f"the {self.a} moves {self.direction}" in scene.happenings


@dataclass(frozen=True)
class Together(Claim):
    """Two events at once: true only of what happens in a cut."""

    event0: str
    event1: str
    form = "at the same moment as {event0}, {event1}"

    def holds(self, scene: Scene) -> bool:
        events = scene.happenings
        if self.event0 not in events or self.event1 not in events or self.event0 == self.event1:
            return False
        return events[self.event0].tick == events[self.event1].tick


@dataclass(frozen=True)
class Flashback(Claim):
    """An event told as a memory. The world has no flashbacks: never true."""

    event: str
    form = "the video begins with a flashback in which {event}"

    def holds(self, scene: Scene) -> bool:
        return False


@dataclass(frozen=True)
class Colour(Claim):
    """An object's colour at both ends."""

    a: str
    colour0: str
    colour1: str
    form = "the {a} is {colour0} at the start and {colour1} at the end"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends
        first, last = now["start"].find(self.a), now["end"].find(self.a)
        return first is not None and last is not None and (first.colour, last.colour) == (self.colour0, self.colour1)


@dataclass(frozen=True)
class Background(Claim):
    """The background at both ends."""

    ground0: str
    ground1: str
    form = "the background is {ground0} at the start and {ground1} at the end"

    def holds(self, scene: Scene) -> bool:
        return scene.backgrounds == (self.ground0, self.ground1)


@dataclass(frozen=True)
class Presence(Claim):
    """Whether an object is to be seen at both ends."""

    a: str
    there0: str
    there1: str
    form = "the {a} is {there0} at the start and {there1} at the end"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends
        return all(
            (now[when].find(self.a) is not None) == (there == "there")
            for when, there in (("start", self.there0), ("end", self.there1))
        )


@dataclass(frozen=True)
class Journey(Claim):
    """An object's place at both ends."""

    a: str
    place0: str
    place1: str
    form = "the {a} is in the {place0} at the start and in the {place1} at the end"

    def holds(self, scene: Scene) -> bool:
        return Place(self.a, self.place0, "start").holds(scene) and Place(self.a, self.place1, "end").holds(scene)


@dataclass(frozen=True)
class Count(Claim):
    """How many objects at both ends."""

    number0: str
    number1: str
    form = "the video shows {number0} at the start and {number1} at the end"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends
        return tuple(NUMBERS[len(now[when].things)] for when in ("start", "end")) == (self.number0, self.number1)


@dataclass(frozen=True)
class Unrelated(Claim):
    """One object taken for two. The world has one object of a shape: never true."""

    a: str
    form = "the {a} at the start and the {a} at the end are two different shapes"

    def holds(self, scene: Scene) -> bool:
        return False


@dataclass(frozen=True)
class Disconnected(Claim):
    """No object seen at both ends."""

    form = "the shapes at the start have nothing to do with those at the end"

    def holds(self, scene: Scene) -> bool:
        now = scene.ends
        return not {thing.shape for thing in now["start"].things} & {thing.shape for thing in now["end"].things}


@dataclass(frozen=True)
class Missing(Claim):
    """An object that never appears."""

    a: str
    form = "there is no {a} in the video"

    def holds(self, scene: Scene) -> bool:
        return all(thing.shape != self.a for thing in scene.things)


@dataclass(frozen=True)
class Never(Claim):
    """An event that does not happen."""

    event: str
    form = "it never happens that {event}"

    def holds(self, scene: Scene) -> bool:
        return self.event not in scene.happenings


SLOTS |= {"there0": "there|missing", "there1": "there|missing"}
CLAIMS: tuple[type[Claim], ...] = (
    Side, Aligned, Nothing, Place, Depth, Pass, Between,
    Order, Next, Previous, Opening, Closing, Moves, Together, Flashback,
    Colour, Background, Presence, Journey, Count, Unrelated, Disconnected, Missing, Never,
)  # fmt: skip
_PATTERNS = [(claim, pattern(claim.form)) for claim in CLAIMS]


def read_claim(text: str) -> Claim | None:
    """The claim that an answer makes, behind a "Yes," or "No," and with or without a full stop; None: no claim."""
    text = re.sub(r"^(yes|no), ", "", text.strip().rstrip(".").lower())
    for claim, form in _PATTERNS:
        if match := form.fullmatch(text):
            return claim(**match.groupdict())
    return None
