"""The embedded world: short scenes of coloured shapes with events, and what is true of them. Pure and seeded.

In: a seed and a split. Out: a `Scene`, a frozen value from which the state at any moment follows: what stands
where, in which colour and size, in front of what, on which background. Rendering is `render`, language is
`claims` and `questions`.

The picture is 3x3 cells. A scene has two or three objects of different shapes; each has at most one event, the
scene may change once. Events do not overlap in time, so their order is never in doubt. Times are in ticks of a
quarter of a second: a 32-frame plan of a clip sees every tick once.

Splits are disjoint by combination: the shapes and first colours of all of a clip's objects decide in which split it
belongs, so no training clip has the cast of a test clip.
"""

import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

SHAPES = ("circle", "square", "triangle", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
BACKGROUNDS = ("black", "grey", "brown", "navy")
PLACES = (
    "top left", "top middle", "top right",
    "middle left", "centre", "middle right",
    "bottom left", "bottom middle", "bottom right",
)  # fmt: skip
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

NUM_TICKS = 32
TICK_S = 0.25
CELL = 19.0
SIZE = 3 * CELL
"""Side of the picture in world units."""
RADIUS, SMALL, LARGE = 7.0, 5.0, 8.5
OVERLAP = (8.5, 2.5)
"""Offset of the object in front from the one that it partly hides."""
TOUCH = 5.0
"""How far beyond its cell an object moves to touch another."""
SHAKE = 2.5

Cell = tuple[int, int]
"""Column and row, 0 to 2; also a step from one cell to another."""
Split = Literal["train", "validation", "test"]
EventKind = Literal["appear", "disappear", "move", "meet", "pass", "colour", "size", "stop", "cut"]
DURATION_TICKS: dict[EventKind, int] = {"move": 4, "meet": 4, "pass": 6}
"""Others happen at once."""
_FIRST_PAIR, _LAST_PAIR, _MIN_GAP, _MIN_REST = 1, 14, 3, 1
"""When the first event may begin and the last end, and what lies between two, in pairs of ticks."""


@dataclass(frozen=True)
class Event:
    """Something that happens, told in `phrase`."""

    kind: EventKind
    tick: int
    """When it begins."""
    phrase: str
    """In the present tense, as in "the circle moves left"."""
    subject: int | None = None
    """Index of the object; None: the scene."""

    @property
    def end_tick(self) -> int:
        return self.tick + DURATION_TICKS.get(self.kind, 0)


@dataclass(frozen=True)
class Thing:
    """An object's whole life."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float = RADIUS
    last_colour: str | None = None
    """The colour after its `colour` event."""
    dx: float = 0.0
    dy: float = 0.0
    """By how much its `move`, `meet` or `pass` event moves it."""
    last_radius: float | None = None
    first_tick: int = 0
    end_tick: int | None = None
    """When it is gone; None: it stays."""
    event: Event | None = None


@dataclass(frozen=True)
class Scene:
    """A clip's truth."""

    things: tuple[Thing, ...]
    """Drawn in this order: later ones are in front."""
    backgrounds: tuple[str, str]
    """Before and after the cut; equal when there is none."""
    events: tuple[Event, ...]
    """In order of time."""
    overlap: tuple[int, int] | None = None
    """Indices of the object behind and the one in front that partly hides it, from the start."""
    passing: tuple[int, int] | None = None
    """Indices of the object that passes and the one that it passes."""
    simultaneous: tuple[Event, ...] = ()
    """What happens in the very moment of a cut: one object replaced by another."""

    @functools.cached_property
    def ends(self) -> dict[str, "State"]:
        """The states that questions ask about, by the words that name them. A shaking object counts as still."""
        still = replace(
            self,
            things=tuple(
                replace(thing, event=None) if thing.event is not None and thing.event.kind == "stop" else thing
                for thing in self.things
            ),
        )
        return {"start": state(still, 0), "end": state(still, NUM_TICKS - 1)}

    @functools.cached_property
    def happenings(self) -> dict[str, Event]:
        """All that happens, by phrase."""
        return {event.phrase: event for event in (*self.events, *self.simultaneous)}


@dataclass(frozen=True)
class Seen:
    """An object at one moment."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    @property
    def cell(self) -> tuple[int, int]:
        """Column and row, 0 to 2."""
        return int(self.x // CELL), int(self.y // CELL)

    @property
    def place(self) -> str:
        column, row = self.cell
        return PLACES[3 * row + column]


@dataclass(frozen=True)
class State:
    """The picture at one moment."""

    background: str
    things: tuple[Seen, ...]
    """The visible objects, back to front."""
    tick: int = 0
    """How far the timeline along the bottom has grown."""

    def find(self, shape: str) -> Seen | None:
        return next((thing for thing in self.things if thing.shape == shape), None)


def state(scene: Scene, tick: float) -> State:
    """What is to be seen at `tick`, 0 <= tick < NUM_TICKS; between whole ticks while something moves."""
    cut = next((event.tick for event in scene.events if event.kind == "cut"), NUM_TICKS)
    seen = []
    for thing in scene.things:
        if not thing.first_tick <= tick < (NUM_TICKS if thing.end_tick is None else thing.end_tick):
            continue
        x, y, colour, radius = thing.x, thing.y, thing.colour, thing.radius
        event = thing.event
        if event is not None and event.kind in DURATION_TICKS:
            part = min(max((tick - event.tick) / DURATION_TICKS[event.kind], 0.0), 1.0)
            x, y = x + part * thing.dx, y + part * thing.dy
        elif event is not None and tick >= event.tick:
            colour, radius = thing.last_colour or colour, thing.last_radius or radius
        if event is not None and event.kind == "stop" and tick < event.tick:
            x += SHAKE if int(tick) % 2 else -SHAKE
        seen.append(Seen(thing.shape, colour, x, y, radius))
    return State(scene.backgrounds[int(tick >= cut)], tuple(seen), int(tick))


def split_of(things: tuple[Thing, ...]) -> Split:
    """8 of 10 combinations of shapes and first colours are for training, one each for validation and test."""
    combination = sorted(f"{thing.colour} {thing.shape}" for thing in things)
    bucket = hashlib.sha256(",".join(combination).encode()).digest()[0] % 10
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def sample_scene(rng: random.Random, split: Split) -> Scene:
    """One scene of `split`."""
    while True:
        scene = _propose(rng)
        if scene is not None and split_of(scene.things) == split:
            return scene


def scenes(split: Split, seed: int) -> Iterator[Scene]:
    """Scenes without end. Equal seeds give equal scenes; another split gives others even with the same seed."""
    rng = random.Random(f"{split} {seed}")
    while True:
        yield sample_scene(rng, split)


def _propose(rng: random.Random) -> Scene | None:
    """A scene, or None where chance left no room for its events."""
    # Passing and meeting need a partner in the right cell, overlapping a second object: they are chosen first.
    first: EventKind | None = rng.choices((None, "pass", "meet"), (6, 3, 1))[0]
    draft = _Draft(rng)
    while first is not None and not draft.plan_event(first, 0):
        draft = _Draft(rng)
    if first is None and rng.random() < 0.45:
        draft.overlap_two()
    has_cut = rng.random() < 0.5
    draft.plan_events(rng.choice((2, 3, 3)) - has_cut)
    return draft.finish(has_cut=has_cut)


class _Draft:
    """A scene in the making. Nothing ever overlaps but the pair that does from the start, and who passes whom."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        num = rng.choice((2, 3, 3))
        shapes, colours = rng.sample(SHAPES, num + 1), rng.sample(COLOURS, num + 1)
        self._cells: list[Cell] = rng.sample([(column, row) for column in range(3) for row in range(3)], num)
        self._things = [
            Thing(shape, colour, CELL * (column + 0.5), CELL * (row + 0.5))
            for shape, colour, (column, row) in zip(shapes, colours, self._cells, strict=False)
        ]
        self._understudy = shapes[num], colours[num]
        self._colours = set(colours)
        self._taken = set(self._cells)
        """Cells that something stands in or crosses at any time."""
        self._planned: list[tuple[EventKind, int | None, str]] = []
        self._partners: set[int] = set()
        """Objects that are met or passed: where they stand and as what they are, so nothing happens to them."""
        self._overlap: tuple[int, int] | None = None
        self._passing: tuple[int, int] | None = None

    def overlap_two(self) -> None:
        """Move one object over part of another, where there is room beside that."""
        behind, front = self._rng.choice(((0, 1), (1, 0)))
        self._taken.discard(self._cells[front])
        column, row = self._cells[behind]
        ways = [
            (x, y)
            for x in (-1, 1)
            for y in (-1, 1)
            if self._is_free((column + x, row)) and self._is_free((column, row + y))
        ]
        if not ways:
            self._taken.add(self._cells[front])
            return
        x, y = self._rng.choice(ways)
        dx, dy = OVERLAP if self._rng.random() < 0.5 else OVERLAP[::-1]
        thing = self._things[behind]
        self._things[front] = replace(self._things[front], x=thing.x + x * dx, y=thing.y + y * dy)
        self._cells[front] = self._cells[behind]
        # The pair takes more room than its cell.
        self._taken |= {(column + x, row), (column, row + y)}
        self._overlap = (behind, front)

    def plan_events(self, count: int) -> None:
        """At most `count` events, each of another object, of random kinds for which there is room."""
        for i in self._rng.sample(range(len(self._things)), len(self._things)):
            if len(self._planned) >= count:
                break
            if i in self._partners or any(subject == i for _, subject, _ in self._planned):
                continue
            weights = dict(_KIND_WEIGHTS)
            if self._overlap is not None and i in self._overlap:
                weights = {"colour": 1}
                if self._rng.random() < 0.5:
                    continue
            while weights:
                kind = self._rng.choices(list(weights), list(weights.values()))[0]
                if self.plan_event(kind, i):
                    break
                del weights[kind]

    def plan_event(self, kind: EventKind, i: int) -> bool:
        """Whether there is room for it."""
        what = self._act(kind, i)
        if what is not None:
            self._planned.append((kind, i, f"the {self._things[i].shape} {what}"))
        return what is not None

    def _act(self, kind: EventKind, i: int) -> str | None:
        """Make the object ready for its event; the end of the event's phrase, or None where there is no room."""
        thing = self._things[i]
        match kind:
            case "move":
                ways = [n for n, step in DIRECTIONS.items() if self._is_free(_add(self._cells[i], step))]
                if not ways:
                    return None
                name = self._rng.choice(ways)
                step = DIRECTIONS[name]
                self._taken.add(_add(self._cells[i], step))
                self._things[i] = replace(thing, dx=CELL * step[0], dy=CELL * step[1])
                return f"moves {name}"
            case "meet" | "pass":
                return self._approach(kind, i)
            case "colour":
                free = [colour for colour in COLOURS if colour not in self._colours]
                if not free:
                    return None
                colour = self._rng.choice(free)
                self._colours.add(colour)
                self._things[i] = replace(thing, last_colour=colour)
                return f"turns {colour}"
            case "size":
                grows = self._rng.random() < 0.5
                first, last = (SMALL, LARGE) if grows else (LARGE, SMALL)
                self._things[i] = replace(thing, radius=first, last_radius=last)
                return "grows" if grows else "shrinks"
            case "stop":
                return "stops shaking"
        return f"{kind}s"

    def _approach(self, kind: EventKind, i: int) -> str | None:
        """Go up to another object, or past it."""
        ways = []
        for j in range(len(self._things)):
            if j == i or (self._overlap and j in self._overlap) or any(subject == j for _, subject, _ in self._planned):
                continue
            for step in DIRECTIONS.values():
                one = _add(self._cells[i], step)
                two = _add(one, step)
                goal, free = (two, one) if kind == "meet" else (one, two)
                if self._cells[j] == goal and self._is_free(free):
                    ways.append((j, step, free))
        if not ways:
            return None
        j, step, free = self._rng.choice(ways)
        self._partners.add(j)
        self._taken.add(free)
        length = CELL + TOUCH if kind == "meet" else 2 * CELL
        self._things[i] = replace(self._things[i], dx=length * step[0], dy=length * step[1])
        if kind == "pass":
            self._passing = (i, j)
        return f"{'meets' if kind == 'meet' else 'passes'} the {self._things[j].shape}"

    def _is_free(self, cell: Cell) -> bool:
        return all(0 <= value <= 2 for value in cell) and cell not in self._taken

    def finish(self, *, has_cut: bool) -> Scene | None:
        """The scene, its events in a random order; None when they are fewer than two or take too long."""
        rng = self._rng
        if has_cut:
            self._planned.append(("cut", None, "the scene changes"))
        if len(self._planned) < 2:
            return None
        rng.shuffle(self._planned)
        ticks = _ticks(rng, [kind for kind, _, _ in self._planned])
        if ticks is None:
            return None
        events = [Event(kind, tick, phrase, i) for (kind, i, phrase), tick in zip(self._planned, ticks, strict=True)]
        for event in events:
            if event.subject is not None:
                self._things[event.subject] = replace(
                    self._things[event.subject],
                    event=event,
                    first_tick=event.tick if event.kind == "appear" else 0,
                    end_tick=event.tick if event.kind == "disappear" else None,
                )
        background = other = rng.choice(BACKGROUNDS)
        simultaneous: list[Event] = []
        if has_cut:
            other = rng.choice([b for b in BACKGROUNDS if b != background])
            cut = next(event.tick for event in events if event.kind == "cut")
            simultaneous = self._replace_one(cut) if rng.random() < 0.4 else []
        return self._in_order_of_depth(events, simultaneous, (background, other))

    def _replace_one(self, tick: int) -> list[Event]:
        """An object to which nothing else happens is gone after the cut, and another stands in its place."""
        busy = {*self._partners, *(self._overlap or ()), *(subject for _, subject, _ in self._planned)}
        idle = [i for i in range(len(self._things)) if i not in busy]
        if not idle:
            return []
        old = self._rng.choice(idle)
        thing = self._things[old]
        shape, colour = self._understudy
        self._things[old] = replace(thing, end_tick=tick)
        self._things.append(Thing(shape, colour, thing.x, thing.y, first_tick=tick))
        return [
            Event("disappear", tick, f"the {thing.shape} disappears", old),
            Event("appear", tick, f"the {shape} appears", len(self._things) - 1),
        ]

    def _in_order_of_depth(self, events: list[Event], simultaneous: list[Event], backgrounds: tuple[str, str]) -> Scene:
        """Who passes behind is drawn first, who passes in front last; the overlapping pair as it lies."""
        order = list(range(len(self._things)))
        if self._passing is not None:
            order.remove(self._passing[0])
            order.insert(0 if self._rng.random() < 0.5 else len(order), self._passing[0])
        if self._overlap is not None:
            behind, front = (order.index(i) for i in self._overlap)
            if behind > front:
                order[behind], order[front] = order[front], order[behind]
        things = [self._things[i] for i in order]
        at = {old: new for new, old in enumerate(order)}

        def placed(event: Event) -> Event:
            return event if event.subject is None else replace(event, subject=at[event.subject])

        return Scene(
            things=tuple(replace(t, event=placed(t.event) if t.event else None) for t in things),
            backgrounds=backgrounds,
            events=tuple(map(placed, events)),
            overlap=(at[self._overlap[0]], at[self._overlap[1]]) if self._overlap else None,
            passing=(at[self._passing[0]], at[self._passing[1]]) if self._passing else None,
            simultaneous=tuple(map(placed, simultaneous)),
        )


_KIND_WEIGHTS: dict[EventKind, int] = {
    "colour": 2, "size": 2, "appear": 2, "disappear": 2, "move": 4, "meet": 2, "stop": 2,
}  # fmt: skip
"""How often each is tried."""


def _add(cell: Cell, step: Cell) -> Cell:
    return cell[0] + step[0], cell[1] + step[1]


def _ticks(rng: random.Random, kinds: list[EventKind]) -> list[int] | None:
    """When each event begins: in order, with rests between them, always in the second frame of a pair.

    Qwen2.5-VL sees frames in pairs. What changes at once is then to be seen within one pair of the dense plan; in a
    sparse plan it may fall between two.
    """
    durations = [-(-DURATION_TICKS.get(kind, 0) // 2) for kind in kinds]
    steps = [max(_MIN_GAP, duration + _MIN_REST) for duration in durations]
    slack = _LAST_PAIR - _FIRST_PAIR - sum(steps[:-1]) - durations[-1]
    if slack < 0:
        return None
    offsets = sorted(rng.randint(0, slack) for _ in kinds)
    return [2 * (_FIRST_PAIR + sum(steps[:k]) + offset) + 1 for k, offset in enumerate(offsets)]
