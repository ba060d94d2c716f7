"""Whether a model is better: questions, evaluation, comparison, ablation."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from videopasta.cli.options import ConfigFile, DryRun, Overrides, console


def questions(
    source: Annotated[
        str, typer.Argument(help="The --out of a generate run on held-out videos, or a folder of rendered clips")
    ],
    out: Annotated[Path, typer.Option(help="Gets questions.jsonl, and lmms_eval/ for its --include_path")],
    per_mode: Annotated[int, typer.Option(min=1, help="Queries of each failure mode and clip")] = 2,
    seed: Annotated[int, typer.Option(help="Of what is drawn; of rendered clips only")] = 0,
    prompt_template: Annotated[str, typer.Option(help="As in the evaluation; for lmms-eval's task")] = "{prompt}",
) -> None:
    """Make questions that nothing answers, each with its plain twin."""
    from videopasta.evaluate import sources
    from videopasta.evaluate.questions import KINDS, count_table, write_questions

    made = sources.questions_from(source, per_mode=per_mode, seed=seed)
    file = write_questions(made, str(out))
    sources.write_lmms_task(made, out / "lmms_eval", prompt_template)
    table = Table("failure mode", *KINDS)
    for mode, counts in count_table(made).items():
        table.add_row(mode, *map(str, counts.values()))
    console.print(table)
    console.print(f"{file}: {len(made)} questions about {len({one.clip for one in made})} clips", highlight=False)


def evaluate(
    out: Annotated[str, typer.Option(help="Gets answers/, preference/, benchmarks/, scores.json and run.json")],
    model: Annotated[
        str | None, typer.Option(help="Folder (OUT/model of a training), hub id, or tiny:NAME; over the configuration")
    ] = None,
    questions: Annotated[
        str | None, typer.Option(help="Ask these: a questions.jsonl, or its folder (`videopasta questions`)")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Compute log-probs of these held-out pairs: the --out of a generate run")
    ] = None,
    unseen_by: Annotated[
        str | None, typer.Option(help="Of --pairs, only the videos that this training (its --out) held out")
    ] = None,
    benchmarks: Annotated[
        str, typer.Option(help="Run these by lmms-eval: names with commas between, or `paper` for the paper's eight")
    ] = "",
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
) -> None:
    """Ask a model what nothing answers, score held-out pairs, run benchmarks. Run it again to continue."""
    from videopasta import storage
    from videopasta.config import EvaluateConfig, dump_yaml, load_config
    from videopasta.evaluate import run, tables
    from videopasta.evaluate.sheets import sheets
    from videopasta.progress import ClipProgress

    named = [f"model.model={model}"] if model else []
    settings = run.anchored(load_config(EvaluateConfig, config, [*(set_ or []), *named]))
    out = storage.absolute(out)
    plan = run.plan_evaluation(
        out,
        settings,
        questions=questions,
        pairs=pairs and storage.absolute(pairs),
        unseen_by=unseen_by and storage.absolute(unseen_by),
        benchmarks=[name for name in benchmarks.split(",") if name],
    )
    console.print(run.describe(plan, settings), highlight=False, markup=False)
    if dry_run:
        console.print(dump_yaml(settings), highlight=False, markup=False)
        return
    with ClipProgress(console, len(sheets(plan.questions))) as progress:
        done = run.evaluate(plan, out, settings, on_clip=progress.update)
    console.print(*tables.evaluation_tables(done))
    console.print(f"{out}/scores.json", highlight=False)


def compare(
    base: Annotated[str, typer.Argument(help="The --out of the evaluation before")],
    tuned: Annotated[list[str], typer.Argument(help="Of the evaluation after; of several seeds: several")],
    out: Annotated[Path, typer.Option(help="Gets report.json, report.md and report.html")],
) -> None:
    """Before against after, with intervals: what got better, what got worse, and ten answers that changed."""
    from videopasta.evaluate import report, tables

    made = report.write_report(base, tuned, out)
    console.print(*tables.comparison_tables(made))
    console.print(f"{out / 'report.html'}", highlight=False)


def ablate(
    pairs: Annotated[str, typer.Option(help="The --out of a generate run")],
    questions: Annotated[str, typer.Option(help="Asked of each model; a questions.jsonl, or its folder")],
    out: Annotated[
        Path, typer.Option(help="Gets a folder for each training and evaluation, and ablation.md and .json")
    ],
    train_config: Annotated[Path, typer.Option(help="YAML file of the trainings")],
    evaluate_config: Annotated[Path, typer.Option(help="YAML file of the evaluations")],
) -> None:
    """Train with the pairs of one failure mode at a time, and with all: the paper's Table 2. Continues where it was."""
    from videopasta.evaluate import ablation

    console.print(ablation.ablate(pairs, questions, out, train_config, evaluate_config, console))
    console.print(f"{out / 'ablation.md'}", highlight=False)
