"""An evaluation and a comparison in the terminal."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from videopasta.evaluate.compare import Comparison, percent, points
from videopasta.evaluate.run import Evaluation
from videopasta.evaluate.scores import ALL, WAYS, Cell, mode_names, problems, scores
from videopasta.intervals import Share

_SHOWN = ("plain", "false_premise", "none_of_the_above", "adversarial", "handled")


def evaluation_tables(done: Evaluation) -> list[RenderableType]:
    """Scores, pairs, benchmarks, and what came in the way."""
    shown: list[RenderableType] = []
    cells = scores(done.answers)
    if cells:
        table = Table(
            "questions",
            "failure mode",
            *WAYS,
            title=escape(f"right answers, percent: {done.model}"),
            title_justify="left",
        )
        for group in _SHOWN:
            for mode in mode_names(cells):
                if "/" not in mode:
                    table.add_row(group, mode, *(_share(cells.get(Cell(group, mode, way)), mode) for way in WAYS))
        shown.append(table)
    if done.preference:
        known = [row for row in done.preference if not row["problem"]]
        likelier = sum(row["logp_chosen"] > row["logp_rejected"] for row in known)
        shown.append(f"held-out pairs: the chosen answer is the likelier one in {likelier} of {len(known)}")
    if done.benchmarks:
        table = Table("benchmark", "metric", "value", title="lmms-eval", title_justify="left")
        for task, result in done.benchmarks.items():
            for name, value in result.metrics.items():
                table.add_row(task, name, f"{value:.2f}")
            for text in (*(result.problem or "").splitlines()[:1], *result.warnings):
                table.add_row(task, escape(text), "")
        shown.append(table)
    shown += _problems({done.uri: dict(problems(done.answers))})
    return shown


def comparison_tables(made: Comparison) -> list[RenderableType]:
    """What changed, for people."""
    shown: list[RenderableType] = []
    if made.changes:
        table = Table(
            "questions", "failure mode", "asked", "before", "after", "change in points, 95 %", "",
            title=f"{made.num_compared} of {made.num_questions} questions compared", title_justify="left",
        )  # fmt: skip
        for group in _SHOWN:
            for cell in _short(made, group):
                change = made.changes[cell]
                table.add_row(
                    group, cell.mode, cell.way, percent(change.difference.before), percent(change.difference.after),
                    points(change.difference.change), change.verdict,
                )  # fmt: skip
        shown.append(table)
    if made.rewards:
        table = Table("held-out pairs", "reward accuracy", "margin", title="implicit rewards", title_justify="left")
        for name, rewards in made.rewards.items():
            table.add_row(name, str(rewards.accuracy), f"{rewards.margin.value:.3f}")
        shown.append(table)
    if made.benchmarks:
        table = Table(
            "benchmark", "metric", "before", "after", "change in points, by question", "", "paper",
            title="lmms-eval", title_justify="left",
        )  # fmt: skip
        for one in made.benchmarks:
            paper = f"{one.paper[0]} -> {one.paper[1]}" if one.paper else ""
            values = ("" if value is None else f"{value:.2f}" for value in (one.before, one.after))
            moved = points(one.change) if one.change else ""
            table.add_row(one.task, one.metric, *values, moved, one.verdict, paper)
            for text in (*(one.problem or "").splitlines()[:1], *one.warnings):
                table.add_row("", escape(text))
        shown.append(table)
    shown += _problems(made.problems)
    return shown


def _short(made: Comparison, group: str) -> list[Cell]:
    """All failure modes together, and each of them asked openly: the report has the rest."""
    cells = [cell for cell in made.changes if cell.group == group and "/" not in cell.mode]
    return [cell for cell in cells if cell.way == "open" or (cell.mode == ALL and cell.way == "choice")]


def _share(value: Share | None, mode: str) -> str:
    """Of all failure modes together with the interval."""
    if value is None:
        return ""
    interval = f" [{100 * value.low:.1f}, {100 * value.high:.1f}]" if mode == ALL else ""
    return f"{100 * value.value:.1f}{interval}"


def _problems(by_evaluation: dict[str, dict[str, int]]) -> Iterable[RenderableType]:
    for name, counts in by_evaluation.items():
        if counts:
            yield escape(f"{name}: " + ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items())))
