"""Whether a model is better: questions, evaluation, comparison, ablation."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from videopasta import storage
from videopasta.cli.options import ConfigFile, DryRun, Limits, Overrides, console, warn_of_remote_code
from videopasta.errors import UserError

if TYPE_CHECKING:
    from videopasta.config import DecodeConfig


def questions(
    source: Annotated[
        str, typer.Argument(help="The --out of a generate run on held-out videos, or a folder of rendered clips")
    ],
    out: Annotated[
        str, typer.Option(help="Gets questions.jsonl and, where it is local, lmms_eval/ for lmms-eval's --include_path")
    ],
    per_mode: Annotated[int, typer.Option(min=1, help="Queries of each failure mode and clip")] = 2,
    seed: Annotated[int, typer.Option(help="Of what is drawn; of rendered clips only")] = 0,
    prompt_template: Annotated[str, typer.Option(help="As in the evaluation; for lmms-eval's task")] = "{prompt}",
) -> None:
    """Make questions that nothing answers, each with its plain twin."""
    from videopasta.evaluate import sources
    from videopasta.evaluate.lmms.task import write_task
    from videopasta.evaluate.questions import KINDS, count_table, write_questions

    made = sources.questions_from(source, per_mode=per_mode, seed=seed)
    file = write_questions(made, out)
    lettered = sources.for_lmms(made) if storage.is_local(out) else []
    if lettered:
        write_task(lettered, Path(storage.local_path(out)) / "lmms_eval", prompt_template)
    table = Table("failure mode", *KINDS)
    for mode, counts in count_table(made).items():
        table.add_row(mode, *map(str, counts.values()))
    console.print(table)
    console.print(
        f"{file}: {len(made)} questions about {len({one.clip for one in made})} clips; {len(lettered)} are a task of "
        "lmms-eval (those with options, about whole local videos)",
        highlight=False,
    )


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
    from videopasta.config import EvaluateConfig, dump_yaml, load_config
    from videopasta.evaluate import run, tables

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
    warn_of_remote_code(settings.model, *([settings.grader_model] if settings.grader_model else []))
    if dry_run:
        console.print(dump_yaml(settings), highlight=False, markup=False)
        return
    done = run.evaluate(plan, out, settings, console)
    console.print(*tables.evaluation_tables(done))
    console.print(f"{out}/scores.json", highlight=False)


def compare(
    base: Annotated[str, typer.Argument(help="The --out of the evaluation before")],
    tuned: Annotated[list[str], typer.Argument(help="Of the evaluation after; of several seeds: several")],
    out: Annotated[str, typer.Option(help="Local folder; gets report.json, report.md and report.html")],
    set_: Limits = None,
) -> None:
    """Before against after, with intervals: what got better, what got worse, and ten answers that changed."""
    from videopasta.config import ShowConfig, load_config

    write_comparison(base, tuned, _local(out), load_config(ShowConfig, overrides=set_ or ()).decode)


def write_comparison(base: str, tuned: list[str], folder: Path, decode: "DecodeConfig") -> None:
    from videopasta.evaluate import report, tables

    made = report.write_report(base, tuned, folder, decode)
    console.print(*tables.comparison_tables(made))
    console.print(f"{folder / 'report.html'}", highlight=False)


def ablate(
    pairs: Annotated[str, typer.Option(help="The --out of a generate run")],
    questions: Annotated[str, typer.Option(help="Asked of each model; a questions.jsonl, or its folder")],
    out: Annotated[
        str, typer.Option(help="Local folder; gets one for each training and evaluation, and ablation.md and .json")
    ],
    train_config: Annotated[Path, typer.Option(help="YAML file of the trainings")],
    evaluate_config: Annotated[Path, typer.Option(help="YAML file of the evaluations")],
    dry_run: DryRun = False,
) -> None:
    """Train with the pairs of one failure mode at a time, and with all: the paper's Table 2. Continues where it was."""
    from videopasta.evaluate import ablation

    folder = _local(out)
    if dry_run:
        told = ablation.describe(pairs, questions, folder, train_config, evaluate_config)
        console.print(told, highlight=False, markup=False)
        return
    console.print(ablation.ablate(pairs, questions, folder, train_config, evaluate_config, console))
    console.print(f"{folder / 'ablation.md'}", highlight=False)


def _local(out: str) -> Path:
    """Pages are for people: they are written where they can be opened."""
    if not storage.is_local(out):
        raise UserError(f"--out {out}: must be a local folder; copy it where you want it afterwards")
    return Path(storage.local_path(out))
