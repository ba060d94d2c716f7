"""The embedded world: short scenes of coloured shapes with events, and what is true of them. Pure and seeded.

In: a seed and a split. Out: a `Scene`, a frozen value from which the state at any moment follows: what stands
where, in which colour and size, in front of what, on which background. Rendering is `render`, language is
`claims` and `questions`.

The picture is 3x3 cells. A scene has two or three objects of different shapes; each has at most one event, the
scene may change once. Events do not overlap in time, so their order is never in doubt. Times are in ticks of a
quarter of a second: a 32-frame plan of a clip sees every tick once.

Splits are disjoint by combination: the objects' shapes and first colours decide in which split a scene belongs,
so a test clip shows combinations that no training clip has.
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
SIZE = 56.0
"""Side of the picture in world units; the models see it at one pixel per unit."""
CELL = 19.0
RADIUS, SMALL, LARGE = 7.0, 5.0, 8.5
OVERLAP = (9.0, 4.0)
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
_FIRST_TICK, _LAST_TICK, _MIN_GAP, _MIN_REST = 3, 29, 5, 2


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
        return round((self.x - 9) / CELL), round((self.y - 9) / CELL)

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
    return State(scene.backgrounds[int(tick >= cut)], tuple(seen))


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


def _centre(cell: Cell) -> tuple[float, float]:
    return 9 + CELL * cell[0], 9 + CELL * cell[1]


def _propose(rng: random.Random) -> Scene | None:
    num = rng.choice((2, 3, 3))
    shapes, colours = rng.sample(SHAPES, num + 1), rng.sample(COLOURS, num + 1)
    cells = rng.sample([(column, row) for column in range(3) for row in range(3)], num)
    things = [Thing(shape, colour, *_centre(cell)) for shape, colour, cell in zip(shapes, colours, cells, strict=False)]
    taken = set(cells)
    overlap = _overlap(rng, things, cells, taken) if rng.random() < 0.35 else None

    has_cut = rng.random() < 0.5
    bound = set(overlap or ())
    actors = [i for i in range(num) if i not in bound or rng.random() < 0.5]
    rng.shuffle(actors)
    wanted = rng.choice((2, 3, 3)) - has_cut
    planned: list[tuple[EventKind, int | None, str]] = []
    passing = None
    # A thing that goes, comes or is passed stays out of the others' ways, and keeps still itself.
    still: set[int] = set(bound)
    for i in actors:
        if len(planned) == wanted:
            break
        kinds: list[EventKind] = ["colour", "size", "appear", "disappear"]
        if i not in still:
            kinds += ["move", "move", "meet", "meet", "meet", "pass", "pass", "pass", "pass", "stop"]
        if i in bound:
            kinds = ["colour"]
        kind = rng.choice(kinds)
        phrase = f"the {things[i].shape} "
        if kind == "move":
            ways = [
                (name, step)
                for name, step in DIRECTIONS.items()
                if _inside(cells[i], step) and _add(cells[i], step) not in taken
            ]
            if not ways:
                continue
            name, step = rng.choice(ways)
            things[i] = replace(things[i], dx=CELL * step[0], dy=CELL * step[1])
            taken.add(_add(cells[i], step))
            phrase += f"moves {name}"
        elif kind in ("meet", "pass"):
            partners = [
                (j, step)
                for j in range(num)
                for step in DIRECTIONS.values()
                if j != i
                and j not in bound
                and not any(p[1] == j for p in planned)
                and _free_way(kind, cells[i], cells[j], step, taken)
            ]
            if not partners:
                continue
            j, step = rng.choice(partners)
            still.update((i, j))
            length = CELL + TOUCH if kind == "meet" else 2 * CELL
            things[i] = replace(things[i], dx=length * step[0], dy=length * step[1])
            taken |= {_add(cells[i], step), _add(_add(cells[i], step), step)}
            phrase += f"{'meets' if kind == 'meet' else 'passes'} the {things[j].shape}"
            actors = [k for k in actors if k != j]
            if kind == "pass":
                passing = (i, j)
            # The partner is met where it stands, and as what it was: it has no event.
            planned.append((kind, i, phrase))
            continue
        elif kind == "colour":
            free = [c for c in COLOURS if c not in colours]
            if not free:
                continue
            things[i] = replace(things[i], last_colour=rng.choice(free))
            colours.append(things[i].last_colour or "")
            phrase += f"turns {things[i].last_colour}"
        elif kind == "size":
            grows = rng.random() < 0.5
            small, large = (SMALL, LARGE) if grows else (LARGE, SMALL)
            things[i] = replace(things[i], radius=small, last_radius=large)
            phrase += "grows" if grows else "shrinks"
        elif kind == "stop":
            phrase += "stops shaking"
        else:
            phrase += f"{kind}s"
        still.add(i)
        planned.append((kind, i, phrase))
    if has_cut:
        planned.append(("cut", None, "the scene changes"))
    if len(planned) < 2:
        return None
    rng.shuffle(planned)
    ticks = _ticks(rng, [kind for kind, _, _ in planned])
    if ticks is None:
        return None
    events = tuple(
        Event(kind, tick, phrase, subject) for (kind, subject, phrase), tick in zip(planned, ticks, strict=True)
    )
    for event in events:
        if event.subject is not None:
            i = event.subject
            things[i] = replace(
                things[i],
                event=event,
                first_tick=event.tick if event.kind == "appear" else 0,
                end_tick=event.tick if event.kind == "disappear" else None,
            )
    background = rng.choice(BACKGROUNDS)
    other = rng.choice([b for b in BACKGROUNDS if b != background]) if has_cut else background
    simultaneous: tuple[Event, ...] = ()
    idle = [i for i in range(num) if things[i].event is None and i not in bound and (not passing or i not in passing)]
    met = {thing.shape for thing in things for event in events if event.kind == "meet" and thing.shape in event.phrase}
    idle = [i for i in idle if things[i].shape not in met]
    if has_cut and idle and rng.random() < 0.4:
        cut = next(event.tick for event in events if event.kind == "cut")
        i = rng.choice(idle)
        new = Thing(shapes[num], colours[num], things[i].x, things[i].y, first_tick=cut)
        things[i] = replace(things[i], end_tick=cut)
        simultaneous = (
            Event("disappear", cut, f"the {things[i].shape} disappears", i),
            Event("appear", cut, f"the {new.shape} appears", len(things)),
        )
        things.append(new)
    # Who passes behind is drawn first, who passes in front last; nothing else ever overlaps but the pair.
    order = list(range(len(things)))
    if passing is not None:
        order.remove(passing[0])
        order.insert(0 if rng.random() < 0.5 else len(order), passing[0])
    if overlap is not None and order.index(overlap[0]) > order.index(overlap[1]):
        a, b = order.index(overlap[0]), order.index(overlap[1])
        order[a], order[b] = order[b], order[a]
    at = {old: new for new, old in enumerate(order)}

    def moved(event: Event) -> Event:
        return event if event.subject is None else replace(event, subject=at[event.subject])

    return Scene(
        things=tuple(
            replace(things[i], event=moved(event) if (event := things[i].event) is not None else None) for i in order
        ),
        backgrounds=(background, other),
        events=tuple(moved(event) for event in events),
        overlap=(at[overlap[0]], at[overlap[1]]) if overlap else None,
        passing=(at[passing[0]], at[passing[1]]) if passing else None,
        simultaneous=tuple(moved(event) for event in simultaneous),
    )


def _overlap(rng: random.Random, things: list[Thing], cells: list[Cell], taken: set[Cell]) -> tuple[int, int]:
    """Move the second object over the first."""
    behind, front = rng.sample(range(2), 2)
    taken.discard(cells[front])
    cells[front] = cells[behind]
    dx, dy = OVERLAP if rng.random() < 0.5 else OVERLAP[::-1]
    x, y = things[behind].x, things[behind].y
    # Towards the picture's middle, or either way from there.
    dx, dy = (
        -offset if centre > SIZE / 2 or (centre == SIZE / 2 and rng.random() < 0.5) else offset
        for offset, centre in ((dx, x), (dy, y))
    )
    things[front] = replace(things[front], x=x + dx, y=y + dy)
    # The pair takes more room than its cell.
    column, row = cells[behind]
    taken |= {(column + (dx > 0) - (dx < 0), row), (column, row + (dy > 0) - (dy < 0))}
    return behind, front


def _add(cell: Cell, step: Cell) -> tuple[int, int]:
    return cell[0] + step[0], cell[1] + step[1]


def _inside(cell: Cell, step: Cell) -> bool:
    return all(0 <= value <= 2 for value in _add(cell, step))


def _free_way(kind: EventKind, start: Cell, partner: Cell, step: Cell, taken: set[Cell]) -> bool:
    one, two = _add(start, step), _add(_add(start, step), step)
    if not all(0 <= value <= 2 for value in two):
        return False
    if kind == "meet":
        return partner == two and one not in taken
    return partner == one and two not in taken


def _ticks(rng: random.Random, kinds: list[EventKind]) -> list[int] | None:
    """When each event begins: in order, with rests between them."""
    durations = [DURATION_TICKS.get(kind, 0) for kind in kinds]
    steps = [max(_MIN_GAP, duration + _MIN_REST) for duration in durations]
    slack = _LAST_TICK - _FIRST_TICK - sum(steps[:-1]) - durations[-1]
    if slack < 0:
        return None
    offsets = sorted(rng.randint(0, slack) for _ in kinds)
    return [_FIRST_TICK + sum(steps[:k]) + offset for k, offset in enumerate(offsets)]
