"""Pairs to other trainers, from others, and chosen anew."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from videopasta.cli.options import ConfigFile, Overrides, console
from videopasta.errors import UserError

if TYPE_CHECKING:
    from videopasta.exchange.rejects import Reject

Rewrite = Annotated[
    list[str] | None, typer.Option(help="OLD=NEW: paths that start with OLD start with NEW; the first that fits counts")
]
AllowRejects = Annotated[bool, typer.Option("--allow-rejects", help="Exit with 0 even if rows were rejected")]
_SHOWN = 5


def export(
    pairs: Annotated[str, typer.Argument(help="The --out of generate, import or refilter, or a Parquet file of pairs")],
    format_: Annotated[
        Literal["trl", "ms-swift", "llama-factory", "flat", "videopasta-7k", "hf"],
        typer.Option("--format", help="Whose files; docs/formats.md"),
    ],
    out: Annotated[str, typer.Option(help="New folder: train and validation, media, export.json; local or remote")],
    videos: Annotated[
        Literal["link", "copy", "embed"] | None,
        typer.Option(help="The uri as stored (default), a copy in OUT, or bytes (hf)"),
    ] = None,
    frames: Annotated[
        Literal["png", "jpeg"] | None, typer.Option(help="Images of the frames of each pair's plan instead of videos")
    ] = None,
    rewrite: Rewrite = None,
    allow_rejects: AllowRejects = False,
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Write pairs as the files of another trainer."""
    from videopasta.config import ExportConfig, load_config
    from videopasta.exchange.exporting import export as run

    given = {"videos": videos, "frames": frames}
    named = [f"{key}={value}" for key, value in given.items() if value is not None]
    settings = load_config(ExportConfig, config, [*(set_ or []), *named])
    with console.status("writing") as status:
        report, rejects = run(
            pairs, out, format_, settings, rewrite=rules(rewrite),
            on_row=lambda report: status.update(f"{report.rows.total()} pairs"),
        )  # fmt: skip
    table = Table("split", "pairs", "videos", "files")
    for split, names in report.files.items():
        table.add_row(split, str(report.rows[split]), str(report.videos[split]), ", ".join(names))
    console.print(table)
    if report.num_media_files:
        console.print(f"{report.num_media_files} files of media in {out}", highlight=False)
    if format_ == "trl" and not frames:
        console.print("TRL's own trainer reads images only, and would train without the videos: use --frames with it")
    end_with(out, rejects, allow_rejects=allow_rejects)


def import_(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A .jsonl, .json, .csv or .parquet, or a folder of them")
    ],
    out: Annotated[str, typer.Option(help="New folder: candidates/, pairs/, quarantine/, run.json; local or remote")],
    videos: Annotated[str | None, typer.Option(help="Folder that has the videos, by name or id")] = None,
    failure_mode: Annotated[
        Literal["spatial", "temporal", "cross_frame"] | None, typer.Option(help="Of rows that name none")
    ] = None,
    rewrite: Rewrite = None,
    allow_rejects: AllowRejects = False,
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Make a folder of pairs of the files of others."""
    from videopasta.config import ImportConfig, load_config
    from videopasta.exchange.importing import import_pairs

    named = [f"failure_mode={failure_mode}"] if failure_mode else []
    settings = load_config(ImportConfig, config, [*(set_ or []), *named])
    with console.status("reading") as status:
        report, rejects = import_pairs(
            source, out, settings, videos=videos, rewrite=rules(rewrite),
            on_batch=lambda report: status.update(f"{report.num_rows} rows, {report.num_pairs} pairs"),
        )  # fmt: skip
    console.print(
        f"{report.num_rows} rows: {report.num_pairs} pairs, {report.num_candidates - report.num_pairs} dropped by "
        f"guards; {report.num_looked_at} clips looked at",
        highlight=False,
    )
    _print_reasons("dropped candidates", report.drop_reasons)
    end_with(out, rejects, allow_rejects=allow_rejects)


def refilter(
    folder: Annotated[str, typer.Argument(help="The --out of generate, import or refilter")],
    out: Annotated[str, typer.Option(help="New folder: candidates/, pairs/, quarantine/, reviews/ and run.json")],
    min_confidence: Annotated[float | None, typer.Option(help="Of the judge. Default: the candidates' own")] = None,
    max_per_clip: Annotated[int | None, typer.Option(help="Pairs of a clip, over its failure modes in turn")] = None,
    balance: Annotated[bool, typer.Option("--balance", help="As many pairs of each failure mode")] = False,
    config: ConfigFile = None,
    set_: Overrides = None,
) -> None:
    """Choose pairs anew among the candidates that are there, with people's decisions applied. No model is asked."""
    from videopasta.config import RefilterConfig, load_config
    from videopasta.pairs.refilter import refilter as run

    given = {"min_confidence": min_confidence, "max_per_clip": max_per_clip, "balance": balance or None}
    named = [f"{key}={value}" for key, value in given.items() if value is not None]
    report = run(folder, out, load_config(RefilterConfig, config, [*(set_ or []), *named]))
    table = Table("failure mode", "candidates", "pairs before", "pairs now")
    for mode, counts in report.by_mode.items():
        table.add_row(mode, *(str(counts[name]) for name in ("candidates", "before", "now")))
    table.add_section()
    table.add_row("all", str(report.num_candidates), str(report.num_before), str(report.num_pairs))
    console.print(table)
    _print_reasons("dropped candidates", report.drop_reasons)
    _print_reasons("decisions of people", report.decisions)


def rules(given: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    rules = []
    for rule in given or ():
        old, separator, new = rule.partition("=")
        if not separator or not old:
            raise UserError(f"--rewrite {rule}: write OLD=NEW, for example --rewrite /data/videos/=s3://bucket/videos/")
        rules.append((old, new))
    return tuple(rules)


def _print_reasons(title: str, reasons: Counter[str]) -> None:
    if not reasons:
        return
    table = Table(title, "count")
    for reason, count in sorted(reasons.items()):
        table.add_row(reason, str(count))
    console.print(table)


def end_with(out: str, rejects: "Sequence[Reject]", *, allow_rejects: bool) -> None:
    """Say what was rejected, and leave with 1 if that was not expected."""
    if not rejects:
        return
    from videopasta import storage
    from videopasta.exchange.rejects import FILE_NAME

    _print_reasons("rejected rows", Counter(reject.reason for reject in rejects))
    for reject in rejects[:_SHOWN]:
        console.print(str(reject), highlight=False, markup=False)
    console.print(f"{len(rejects)} rows rejected; all of them in {storage.join(out, FILE_NAME)}", style="yellow")
    if not allow_rejects:
        raise typer.Exit(1)
