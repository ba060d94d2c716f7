"""The command line. Each command parses, builds, runs, and says what happened; the work is elsewhere."""

import contextlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from videopasta.errors import UserError
from videopasta.tiny.cli import app as tiny_app

app = typer.Typer(
    help="Preference pairs from videos, and a better Video-LLM from the pairs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(tiny_app, name="tiny")
console = Console()
_INTERRUPTED = 130  # what typer makes of Ctrl-C: it lets no KeyboardInterrupt through

Videos = Annotated[
    str, typer.Option(help="Folder, glob, video, or a .txt/.csv/.jsonl/.parquet list; local, s3:// or gs://")
]
Out = Annotated[str, typer.Option(help="Folder for candidates/, pairs/, quarantine/ and run.json; local or remote")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; configs/ has some. Default: the paper's")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="key=value over the file, e.g. queries.per_mode=4")]


@app.command()
def generate(
    videos: Videos,
    out: Out,
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: Annotated[bool, typer.Option(help="Show the configuration and what would be done, and stop")] = False,
    retry_quarantined: Annotated[bool, typer.Option(help="Try the clips in quarantine again")] = False,
    dashboard: Annotated[bool, typer.Option(help="Start the Ray dashboard with a local Ray")] = False,
) -> None:
    """Make preference pairs from videos. Run it again to continue: it does only what is missing."""
    from videopasta.config import GenerateConfig, dump_yaml, load_config
    from videopasta.generate import run
    from videopasta.generate.progress import Progress, summary_tables
    from videopasta.pairs import PairStore, read_statistics

    settings = load_config(GenerateConfig, config, set_ or [])
    store = PairStore(out)
    with contextlib.nullcontext() if dry_run else store.locked():
        plan = run.plan_run(videos, store, settings, retry_quarantined=retry_quarantined)
        console.print(
            f"{plan.num_entries} clips in {videos}: {plan.num_done} done, {len(plan.missing)} to do", highlight=False
        )
        if dry_run:
            console.print(dump_yaml(settings), highlight=False, markup=False)
            console.print(run.describe_pools(settings), highlight=False, markup=False)
            return
        store.open(run.run_fingerprint(settings, plan.prompts))
        if not plan.missing:
            console.print("Nothing to do.")
        else:
            with (
                run.ray_cluster(settings, dashboard=dashboard),
                Progress(console, len(plan.missing)) as progress,
            ):
                summary = run.generate(plan, store, settings, on_work=progress.update)
            console.print(*summary_tables(summary))
    statistics = read_statistics(store)
    console.print(
        f"{out}: {statistics.num_pairs} pairs of {statistics.num_candidates} candidates from {statistics.num_clips} "
        f"clips; {statistics.num_quarantined} clips in quarantine",
        highlight=False,
    )


@app.command()
def train(
    pairs: Annotated[str, typer.Option(help="The --out of a generate run, a folder of Parquet, or one file")],
    out: Annotated[str, typer.Option(help="Gets model/, checkpoints/, metrics.csv, curves.png and run.json")],
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: Annotated[bool, typer.Option(help="Show the configuration and what would be done, and stop")] = False,
) -> None:
    """Align a model with the pairs by DPO. Run it again to continue where it was stopped."""
    from videopasta import storage
    from videopasta.config import TrainConfig, dump_yaml, load_config
    from videopasta.dpo import run

    settings = run.anchored(load_config(TrainConfig, config, set_ or []))
    pairs, out = storage.absolute(pairs), storage.absolute(out)
    plan = run.plan_training(pairs, out, settings)
    console.print(run.describe(plan), highlight=False, markup=False)
    if dry_run:
        console.print(dump_yaml(settings), highlight=False, markup=False)
        return
    outcome = run.train(plan, pairs, out, settings, console)
    console.print(f"{outcome.model}: the model after step {outcome.step}, for transformers and vLLM", highlight=False)


@app.command()
def infer(
    model: Annotated[str, typer.Option(help="Folder (OUT/model of a training), hub id, or tiny:NAME")],
    video: Annotated[str, typer.Option(help="Local, s3:// or gs://")],
    prompt: Annotated[str, typer.Option(help="The question")],
    backend: Annotated[Literal["vllm", "transformers"], typer.Option(help="What runs the model")] = "vllm",
    num_frames: Annotated[int, typer.Option(min=2, help="Spread evenly over the video")] = 32,
    max_pixels: Annotated[int, typer.Option(min=28 * 28, help="Largest frame; 7056 for tiny:vl")] = 768 * 28 * 28,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0: the likeliest words")] = 0.0,
    dtype: Annotated[Literal["auto", "float32", "bfloat16"], typer.Option(help="Of the weights")] = "auto",
) -> None:
    """Ask a model about a video; the answer is printed as it is written."""
    from videopasta import infer as infers
    from videopasta.config import DecodeConfig, PixelBudget, SamplingConfig, VllmModel

    pixels = PixelBudget(max_pixels=max_pixels, min_pixels=min(max_pixels, 128 * 28 * 28))
    named = infers.check(VllmModel(model=model, dtype=dtype, enforce_eager=True, max_num_seqs=1))
    seen = infers.look(video, num_frames + num_frames % 2, DecodeConfig(pixels=pixels))
    sampling = SamplingConfig(temperature=temperature, max_tokens=max_tokens)
    for part in infers.answer(named, seen, prompt, sampling, backend):
        console.print(part, end="", highlight=False, markup=False)
    console.print()


@app.command()
def inspect(
    folder: Annotated[str, typer.Argument(help="The --out of a generate run")],
    samples: Annotated[int, typer.Option(help="Pairs to show per failure mode")] = 1,
) -> None:
    """Count what an output folder holds, and show samples."""
    from videopasta.pairs import PairStore, read_statistics
    from videopasta.pairs.inspect import sample_rows, statistics_tables

    store = PairStore(folder)
    if store.read_run() is None:
        raise UserError(f"{folder}: no run.json, so nothing that `videopasta generate --out` made; check the path")
    console.print(*statistics_tables(read_statistics(store)))
    for row in sample_rows(store, samples):
        table = Table(title=f"{row['failure_mode']} / {row['adversary']}", show_header=False, title_justify="left")
        for name in ("video_uri", "prompt", "chosen", "rejected", "adversarial_query"):
            table.add_row(name, str(row[name]))
        table.add_row("verdict", str((row["verdict"] or {}).get("reason")))
        console.print(table)


@app.command()
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
    if store.read_run() is None:
        raise UserError(f"{folder}: no run.json, so nothing that `videopasta generate --out` made; check the path")
    result = audits.audit(store.read("candidates", audits.COLUMNS).to_pylist(), read_truth(truth))
    if not result.num_clips:
        raise UserError(f"{folder}: none of its videos is in {truth}; give the folder of the clips it was made from")
    console.print(*audits.tables(result))
    if json_ is not None:
        json_.write_text(json.dumps(result.to_dict(), indent=2) + "\n")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Gets videos/ and pairs/")] = Path(".demo"),
    clips: Annotated[int, typer.Option(min=1, help="How many clips to render")] = 60,
) -> None:
    """The whole road: render clips, make pairs with the shipped models, hold them against the truth."""
    from videopasta.tiny import cli as tiny

    videos, pairs = out / "videos", out / "pairs"
    tiny.clips(videos, num=clips)
    generate(str(videos), str(pairs), tiny.DEMO_CONFIG)
    inspect(str(pairs))
    audit(str(pairs), videos)


@app.command()
def doctor() -> None:
    """Say what is installed, which engine and decoders will run, and how to mend what is wrong."""
    from videopasta.doctor import examine

    table = Table("", "what", "found", "fix")
    findings = examine()
    for finding in findings:
        table.add_row("ok" if finding.ok else "!!", finding.what, finding.found, "" if finding.ok else finding.fix)
    console.print(table)
    if not all(finding.ok for finding in findings if finding.needed):
        raise typer.Exit(1)


@contextmanager
def _errors_for_people() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        Console(stderr=True).print(str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            Console(stderr=True).print("Interrupted. What was committed stays; run the same command to continue.")
        raise


def main() -> None:
    """The console script `videopasta`."""
    with _errors_for_people():
        app(standalone_mode=True)


if __name__ == "__main__":
    main()
