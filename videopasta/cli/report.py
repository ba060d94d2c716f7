"""A set of pairs, told and published."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from videopasta.cli.exchange import AllowRejects, Rewrite, end_with, rules
from videopasta.cli.options import Limits, console

License = Annotated[str | None, typer.Option("--license", help="Of the pairs, as the hub names it: cc-by-4.0")]
SourceLicense = Annotated[str | None, typer.Option(help="Of the videos, in words")]


def report(
    folder: Annotated[str, typer.Argument(help="The --out of generate, import or refilter")],
    out: Annotated[Path, typer.Option(help="Gets report.html, report.json and README.md, the dataset card")],
    samples: Annotated[
        int, typer.Option(min=0, help="Pairs of each failure mode, and dropped candidates, to show")
    ] = 3,
    name: Annotated[str | None, typer.Option(help="Of the dataset, in its card. Default: the folder's")] = None,
    license_: License = None,
    source_license: SourceLicense = None,
    set_: Limits = None,
) -> None:
    """Write one page about a set of pairs, and its dataset card."""
    from videopasta.config import ShowConfig, load_config
    from videopasta.report.card import write_card
    from videopasta.report.page import read_report, write_page

    settings = load_config(ShowConfig, overrides=set_ or ())
    made = read_report(folder)
    write_page(made, out, settings.decode, samples=samples)
    write_card(made, out / "README.md", name=name, license_=license_, source_license=source_license)
    console.print(f"{out}/report.html, report.json, README.md: {made.facts.num_pairs} pairs", highlight=False)


def publish(
    folder: Annotated[str, typer.Argument(help="The --out of generate, import or refilter")],
    repo: Annotated[str, typer.Option(help="On the hub: USER/NAME")],
    out: Annotated[Path, typer.Option(help="New folder: what will be on the hub, to look at it first")],
    videos: Annotated[Literal["link", "embed"], typer.Option(help="Their uris, or their bytes in the rows")] = "link",
    rewrite: Rewrite = None,
    license_: License = None,
    source_license: SourceLicense = None,
    public: Annotated[bool, typer.Option("--public", help="For everybody; default: for you alone")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only prepare the files")] = False,
    allow_rejects: AllowRejects = False,
    set_: Limits = None,
) -> None:
    """Put a set of pairs on the Hugging Face hub, with its card."""
    from videopasta.config import ExportConfig, load_config
    from videopasta.report import publish as publishing

    settings = load_config(ExportConfig, overrides=[*(set_ or []), f"videos={videos}"])
    rejects = publishing.prepare(
        folder, out, settings, name=repo.rpartition("/")[2], rewrite=rules(rewrite), license_=license_,
        source_license=source_license,
    )  # fmt: skip
    table = Table("file", "bytes")
    for name, size in publishing.files_in(out):
        table.add_row(name, f"{size:,}")
    console.print(table)
    if rejects and not allow_rejects:
        dry_run = True
    if dry_run:
        console.print(f"Nothing was uploaded; the files are in {out}.", highlight=False)
    else:
        console.print(publishing.upload(out, repo, public=public), highlight=False, soft_wrap=True)
    end_with(str(out), rejects, allow_rejects=allow_rejects)
