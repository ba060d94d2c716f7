"""From videos to pairs, and looking at them."""

import contextlib
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from videopasta.cli.options import ConfigFile, DryRun, Overrides, console, warn_of_remote_code
from videopasta.errors import UserError

Videos = Annotated[
    str, typer.Option(help="Folder, glob, video, or a .txt/.csv/.jsonl/.parquet list; local, s3:// or gs://")
]
Out = Annotated[str, typer.Option(help="Folder for candidates/, pairs/, quarantine/ and run.json; local or remote")]


def generate(
    videos: Videos,
    out: Out,
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    retry_quarantined: Annotated[bool, typer.Option(help="Try the clips in quarantine again")] = False,
    dashboard: Annotated[bool, typer.Option(help="Start the Ray dashboard with a local Ray")] = False,
) -> None:
    """Make preference pairs from videos. Run it again to continue: it does only what is missing."""
    from videopasta.config import GenerateConfig, dump_yaml, load_config
    from videopasta.generate import run
    from videopasta.generate.progress import summary_tables
    from videopasta.generate.summary import RunSummary
    from videopasta.generate.work import Work
    from videopasta.pairs import PairStore, read_statistics
    from videopasta.progress import ClipProgress

    settings = load_config(GenerateConfig, config, set_ or [])
    store = PairStore(out)
    with contextlib.nullcontext() if dry_run else store.locked():
        plan = run.plan_run(videos, store, settings, retry_quarantined=retry_quarantined)
        console.print(
            f"{plan.num_entries} clips in {videos}: {plan.num_done} done, {len(plan.missing)} to do", highlight=False
        )
        warn_of_remote_code(settings.query_model, settings.response_model, *settings.judge_model)
        if dry_run:
            console.print(dump_yaml(settings), highlight=False, markup=False)
            console.print(run.describe_pools(settings), highlight=False, markup=False)
            return
        store.open(run.run_fingerprint(settings, plan.prompts))
        if not plan.missing:
            console.print("Nothing to do.")
        else:

            def tell(work: Work, so_far: RunSummary) -> None:
                progress.update(f"{so_far.num_pairs} pairs, {so_far.num_quarantined} quarantined")

            with (
                run.ray_cluster(settings, dashboard=dashboard),
                ClipProgress(console, len(plan.missing)) as progress,
            ):
                summary = run.generate(plan, store, settings, on_work=tell)
            console.print(*summary_tables(summary))
    statistics = read_statistics(store)
    console.print(
        f"{out}: {statistics.num_pairs} pairs of {statistics.num_candidates} candidates from {statistics.num_clips} "
        f"clips; {statistics.num_quarantined} clips in quarantine",
        highlight=False,
    )


def inspect(
    folder: Annotated[str, typer.Argument(help="The --out of a generate run")],
    samples: Annotated[int, typer.Option(help="Pairs to show per failure mode")] = 1,
) -> None:
    """Count what an output folder holds, and show samples."""
    from videopasta.pairs import PairStore, read_statistics
    from videopasta.pairs.inspect import sample_rows, statistics_tables

    store = PairStore(folder)
    store.require_run()
    console.print(*statistics_tables(read_statistics(store)))
    for row in sample_rows(store, samples):
        table = Table(title=f"{row['failure_mode']} / {row['adversary']}", show_header=False, title_justify="left")
        for name in ("video_uri", "prompt", "chosen", "rejected", "adversarial_query"):
            table.add_row(name, str(row[name]))
        table.add_row("verdict", str((row["verdict"] or {}).get("reason")))
        console.print(table)


def audit(
    folder: Annotated[str, typer.Argument(help="The --out of a generate run on clips of the embedded world")],
    truth: Annotated[Path, typer.Option(help="Folder of the clips, or its truth.jsonl")],
    json_: Annotated[Path | None, typer.Option("--json", help="Write the result here as well")] = None,
) -> None:
    """Hold the pairs against the truth: how many are right, and how well the judge knew."""
    from videopasta.pairs import PairStore
    from videopasta.tiny import audit as audits
    from videopasta.tiny.truth import read_truth

    store = PairStore(folder)
    store.require_run()
    result = audits.audit(store.read("candidates", audits.COLUMNS).to_pylist(), read_truth(truth))
    if not result.num_clips:
        raise UserError(f"{folder}: none of its videos is in {truth}; give the folder of the clips it was made from")
    console.print(*audits.tables(result))
    if json_ is not None:
        json_.write_text(json.dumps(result.to_dict(), indent=2) + "\n")
