"""A comparison as files: report.json, report.md, and report.html, one page that needs nothing beside it.

The page has what the other two cannot: pictures. Differences with their intervals, reward curves of the training, and
ten answers that changed with the frames that were seen.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videopasta import storage
from videopasta.config import DecodeConfig
from videopasta.evaluate.compare import Change, Comparison, compare, percent, points
from videopasta.evaluate.questions import LETTERS
from videopasta.evaluate.run import Evaluation, read_evaluation
from videopasta.evaluate.scores import Cell, mode_names
from videopasta.pages import templates
from videopasta.pictures import FrameLoader, data_uri, figure_uri, filmstrip
from videopasta.video import VideoError

NUM_CHANGED = 10
NUM_FRAMES = 8
"""Of a filmstrip."""
FRAME_HEIGHT = 112
"""Pixels."""
GROUPS: Mapping[str, str] = {
    "plain": "plain questions, answered",
    "false_premise": "false premises, rejected",
    "none_of_the_above": "no right option, rejected",
    "adversarial": "adversarial, both together",
    "handled": "adversarial, and the plain twin as well",
}
WAYS: Mapping[str, str] = {"open": "generated answer", "choice": "generated letter", "letters": "likeliest letter"}
PAPER_TABLE_6: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "false_premise": {"spatial": (38.4, 46.8), "temporal": (35.2, 49.7), "cross_frame": (31.8, 33.1)},
    "none_of_the_above": {"spatial": (42.6, 51.1), "temporal": (39.5, 52.8), "cross_frame": (36.7, 38.2)},
}
"""Percent handled by Qwen2.5-VL-7B and by VideoPASTA, arXiv 2504.14096 v1, read off the figure. Other questions about
other videos, without twins: to stand beside ours, not to be compared with them."""


@dataclass(frozen=True)
class ChangedAnswer:
    """One answer before and after, for the page."""

    better: bool
    failure_mode: str
    kind: str
    adversary: str | None
    text: str
    options: tuple[tuple[str, str, bool], ...]
    """Letter, text, whether it is right; of a question asked with its options."""
    reference: str
    before: str
    after: str
    video: str
    filmstrip: str | None
    """A data URI; None where the video is not to be had."""
    why_none: str


def write_report(base: str, tuned: Sequence[str], out: Path, decode: DecodeConfig) -> Comparison:
    """Compare evaluations, and write the three files.

    Args:
        base: the output folder of the evaluation before.
        tuned: of those after.
        out: gets the files.
        decode: what may be opened to show frames, and within which limits.

    Raises:
        UserError: there is no evaluation in one of them, or they cannot be compared.
    """
    before, afters = read_evaluation(base), [read_evaluation(one) for one in tuned]
    made = compare(before, afters)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(to_dict(made), indent=1) + "\n")
    facts, pages = _facts(made), templates(Path(__file__).parent / "templates")
    (out / "report.md").write_text(pages.get_template("report.md.j2").render(facts).strip() + "\n")
    pictures = {
        "differences": figure_uri(_draw_differences(made)) if made.changes else None,
        "curves": [curve for one in afters if (curve := _curves(one)) is not None],
        "changed": _changed(made, before, afters[0], decode),
    }
    (out / "report.html").write_text(pages.get_template("report.html.j2").render(facts | pictures).strip() + "\n")
    return made


def to_dict(made: Comparison) -> dict[str, Any]:
    """All of it as plain values, for JSON."""
    return {
        "base": made.base,
        "tuned": list(made.tuned),
        "num_questions": made.num_questions,
        "num_compared": made.num_compared,
        "changes": [{**vars(cell), **change.to_dict()} for cell, change in made.changes.items()],
        "rewards": {
            name: {"accuracy": rewards.accuracy.to_dict(), "margin": rewards.margin.to_dict()}
            for name, rewards in made.rewards.items()
        },
        "benchmarks": [
            {**asdict(one), "change": one.change and one.change.to_dict(), "verdict": one.verdict}
            for one in made.benchmarks
        ],
        "problems": made.problems,
        "paper_table_6": PAPER_TABLE_6,
    }


def _facts(made: Comparison) -> dict[str, Any]:
    modes = [mode for mode in mode_names(made.changes) if "/" not in mode]
    rows = [
        (GROUPS[group], mode, WAYS[way], made.changes[cell], _paper(group, mode, way))
        for group in GROUPS
        for mode in modes
        for way in WAYS
        if (cell := Cell(group, mode, way)) in made.changes  # type: ignore[arg-type]
    ]
    by_adversary = [
        (cell.mode.replace("/", ": ").replace("_", " "), WAYS[cell.way], change)
        for cell, change in made.changes.items()
        if "/" in cell.mode and cell.group == "false_premise"
    ]
    return {
        "made": made,
        "rows": rows,
        "by_adversary": by_adversary,
        "regressions": [
            (GROUPS.get(cell.group, cell.group), cell.mode, WAYS[cell.way], made.changes[cell])
            for cell in made.regressions()
            if cell.group in GROUPS
        ],
        "worse_benchmarks": made.worse_benchmarks(),
        "headline": _headline(made),
        "percent": percent,
        "points": points,
        "deviation": _deviation,
        "problems": {name: counts for name, counts in made.problems.items() if counts},
    }


def _headline(made: Comparison) -> list[tuple[str, Change]]:
    """What one looks at first: what was rejected, what was answered, both."""
    wanted = (
        ("false premises rejected", "false_premise"),
        ("plain questions answered", "plain"),
        ("handled", "handled"),
    )
    found = []
    for text, group in wanted:
        cells = [Cell(group, "all", way) for way in ("open", "choice")]  # type: ignore[arg-type]
        cell = next((cell for cell in cells if cell in made.changes), None)
        if cell is not None:
            found.append((f"{text} ({WAYS[cell.way]})", made.changes[cell]))
    return found


def _paper(group: str, mode: str, way: str) -> str:
    wanted = "open" if group == "false_premise" else "choice"
    values = PAPER_TABLE_6.get(group, {}).get(mode)
    return f"{values[0]} → {values[1]}" if values and way == wanted else ""


def _deviation(change: Change) -> str:
    return "" if change.deviation is None else f"± {100 * change.deviation:.1f}"


# --- pictures ---


def _draw_differences(made: Comparison) -> Any:
    """Each change with its interval; left of 0 is worse."""
    from matplotlib.figure import Figure

    cells = [
        cell for group in GROUPS for cell in made.changes if cell.group == group and "/" not in cell.mode
        and cell.way in ("open", "choice")
    ]  # fmt: skip
    figure = Figure(figsize=(8, 0.28 * len(cells) + 1), layout="constrained")
    axes = figure.subplots()
    for n, cell in enumerate(reversed(cells)):
        change = made.changes[cell].difference.change
        colour = {"better": "#1a7f37", "worse": "#cf222e", "worse?": "#bf8700"}.get(
            made.changes[cell].verdict, "#57606a"
        )
        axes.plot([100 * change.low, 100 * change.high], [n, n], color=colour, linewidth=2)
        axes.plot(100 * change.value, n, "o", color=colour, markersize=5)
    labels = [f"{cell.group.replace('_', ' ')}, {cell.mode.replace('_', ' ')} ({cell.way})" for cell in reversed(cells)]
    axes.set_yticks(range(len(cells)), labels, fontsize=8)
    axes.axvline(0, color="#8c959f", linewidth=1)
    axes.set_xlabel("change in points, 95 % interval over clips")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _curves(after: Evaluation) -> str | None:
    """The reward curves of the training that made the model; None where it is not one of ours."""
    if "://" not in after.model and not after.model.startswith("/"):
        return None
    picture = storage.join(storage.parent(after.model.rstrip("/")), "curves.png")
    if storage.kind(picture) != "file":
        return None
    with storage.open_input(picture) as stream:
        return data_uri("image/png", stream.read())


def _changed(made: Comparison, before: Evaluation, after: Evaluation, decode: DecodeConfig) -> list[ChangedAnswer]:
    olds, news = ({row["question_id"]: row for row in one.answers} for one in (before, after))
    loader = FrameLoader(decode)
    try:
        return [
            _changed_answer(one.better, one.way, olds[one.question_id], news[one.question_id], loader)
            for one in made.changed[:NUM_CHANGED]
        ]
    finally:
        loader.close()


def _changed_answer(
    better: bool, way: str, old: Mapping[str, Any], new: Mapping[str, Any], loader: FrameLoader
) -> ChangedAnswer:
    filmstrip, why = _filmstrip(new, loader)
    options = tuple(
        (LETTERS[n], text, n == old["right"]) for n, text in enumerate(old["options"] if way == "choice" else [])
    )
    return ChangedAnswer(
        better, old["failure_mode"], old["kind"], old["adversary"], old["text"], options, old["reference"],
        old[f"{way}_text"], new[f"{way}_text"], old["video_uri"], filmstrip, why,
    )  # fmt: skip


def _filmstrip(row: Mapping[str, Any], loader: FrameLoader) -> tuple[str | None, str]:
    """Some of the frames that were seen, side by side; or why there are none."""
    if row["frame_plan"] is None:
        return None, "no frames were seen"
    try:
        clip = loader.load(row, {"seen": row["frame_plan"]})
    except (VideoError, RuntimeError) as error:
        return None, str(error)
    (frames,) = clip.frames.values()
    return data_uri("image/jpeg", filmstrip(frames, num_frames=NUM_FRAMES, height=FRAME_HEIGHT)), ""
