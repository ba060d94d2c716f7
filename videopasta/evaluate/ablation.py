"""Trainings with the pairs of one failure mode at a time and with all, evaluated alike: the paper's Table 2.

    OUT/MODE/aligned   OUT/MODE/after   OUT/before      ablation.json   ablation.md

Each training makes as many steps as its pairs give with the same epochs, as the paper's subsets do. Every part is
resumable, so the same command goes on where it was stopped.
"""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from videopasta import storage
from videopasta.config import FAILURE_MODES, EvaluateConfig, FailureMode, TrainConfig, load_config
from videopasta.evaluate import run
from videopasta.evaluate.compare import Comparison, compare, percent, points
from videopasta.evaluate.scores import Cell

SUBSETS: dict[str, tuple[FailureMode, ...]] = {**{mode: (mode,) for mode in FAILURE_MODES}, "all": FAILURE_MODES}
_SHOWN = (("plain", "open"), ("false_premise", "open"), ("adversarial", "choice"), ("handled", "open"))


def ablate(pairs: str, questions: str, out: Path, train_config: Path, evaluate_config: Path, console: Console) -> Table:
    """Train and evaluate each subset, and write the two files.

    Args:
        pairs: the --out of a generate run.
        questions: asked of each model.
        out: the output folder.
        train_config: of the trainings; its failure_modes are set here.
        evaluate_config: of the evaluations; its model is set here.
        console: told what begins.

    Raises:
        UserError: as the trainings and evaluations.
    """
    from videopasta.dpo import run as training

    base, pairs = load_config(TrainConfig, train_config), storage.absolute(pairs)
    before = _evaluate(base.model, base.revision, questions, str(out / "before"), evaluate_config, console)
    found: dict[str, Comparison] = {}
    for name, modes in SUBSETS.items():
        console.rule(f"pairs: {name}", align="left")
        config, aligned = _of_subset(base, modes), _aligned(out, name)
        plan = training.plan_training(pairs, aligned, config)
        console.print(training.describe(plan), highlight=False, markup=False)
        outcome = training.train(plan, pairs, aligned, config, console)
        after = _evaluate(outcome.model, None, questions, str(out / name / "after"), evaluate_config, console)
        found[name] = compare(before, [after])
    _write(found, out)
    return _table(found)


def describe(pairs: str, questions: str, out: Path, train_config: Path, evaluate_config: Path) -> str:
    """What `ablate` would do, for people.

    Raises:
        UserError: as `ablate`, before a model is loaded.
    """
    from videopasta.dpo import run as training

    base, pairs = load_config(TrainConfig, train_config), storage.absolute(pairs)
    settings = _asking(base.model, base.revision, evaluate_config)
    plan = run.plan_evaluation(storage.absolute(str(out / "before")), settings, questions=questions)
    lines = [f"before, and after each training: {run.describe(plan, settings)}"]
    for name, modes in SUBSETS.items():
        told = training.describe(training.plan_training(pairs, _aligned(out, name), _of_subset(base, modes)))
        lines.append(f"pairs: {name}: {told}")
    return "\n".join(lines)


def _of_subset(base: TrainConfig, modes: tuple[FailureMode, ...]) -> TrainConfig:
    from videopasta.dpo import run as training

    return training.anchored(base.model_copy(update={"failure_modes": modes}))


def _aligned(out: Path, name: str) -> str:
    return storage.absolute(str(out / name / "aligned"))


def _asking(model: str, revision: str | None, config: Path) -> EvaluateConfig:
    return run.anchored(
        load_config(EvaluateConfig, config, [f"model.model={model}", f"model.revision={revision or 'null'}"])
    )


def _evaluate(
    model: str, revision: str | None, questions: str, out: str, config: Path, console: Console
) -> run.Evaluation:
    settings = _asking(model, revision, config)
    out = storage.absolute(out)
    plan = run.plan_evaluation(out, settings, questions=questions)
    console.print(run.describe(plan, settings), highlight=False, markup=False)
    return run.evaluate(plan, out, settings, console)


def _rows(found: dict[str, Comparison]) -> list[list[str]]:
    rows = []
    for group, way in _SHOWN:
        for mode in ("all", *FAILURE_MODES):
            cell = Cell(group, mode, way)  # type: ignore[arg-type]
            changes = [made.changes.get(cell) for made in found.values()]
            if any(changes):
                first = next(change for change in changes if change)
                shown = [points(change.difference.change) if change else "-" for change in changes]
                rows.append([f"{group} ({way})", mode, percent(first.difference.before), *shown])
    return rows


def _table(found: dict[str, Comparison]) -> Table:
    table = Table("questions", "failure mode", "before", *(f"pairs: {name}" for name in found))
    table.title, table.title_justify = "change in points after training on the pairs of", "left"
    for row in _rows(found):
        table.add_row(*row)
    return table


def _write(found: dict[str, Comparison], out: Path) -> None:
    from videopasta.evaluate.report import to_dict

    value: dict[str, Any] = {name: to_dict(made) for name, made in found.items()}
    (out / "ablation.json").write_text(json.dumps(value, indent=1) + "\n")
    header = ["questions", "failure mode", "before", *(f"pairs: {name}" for name in found)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *_rows(found))]
    about = "Change in points after training on the pairs of one failure mode, and of all; 95 % intervals."
    (out / "ablation.md").write_text("\n".join(["# Ablation", "", about, "", *lines, ""]))
