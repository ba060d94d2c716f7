"""People decide about pairs."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from videopasta.cli.options import Limits, console
from videopasta.errors import UserError


def review(
    folder: Annotated[str, typer.Argument(help="The --out of a generate run")],
    reviewer: Annotated[
        str | None, typer.Option(help="Your name; a browser can change it. Default: your login")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8321,
    host: Annotated[str, typer.Option(help="Others reach it where this is not 127.0.0.1; nothing is encrypted")] = (
        "127.0.0.1"
    ),
    db: Annotated[Path | None, typer.Option(help="Where decisions are kept. Default: FOLDER/reviews")] = None,
    set_: Limits = None,
    export: Annotated[bool, typer.Option("--export", help="Only write FOLDER/reviews/decisions.parquet")] = False,
) -> None:
    """Look at pairs in a browser: frames, answers, verdict; accept, reject, swap or edit them by the keyboard."""
    from videopasta.config import ShowConfig, load_config
    from videopasta.review.decisions import Decisions
    from videopasta.review.server import database_of, serve

    database = database_of(folder, db)
    if export:
        if not database.exists():
            raise UserError(
                f"{database}: no decisions yet; run `videopasta review {folder}` first, or name them by --db"
            )
        decisions = Decisions(database)
        count = decisions.export(folder)
        decisions.close()
    else:
        count = serve(
            folder, database, reviewer or getpass.getuser(), load_config(ShowConfig, overrides=set_ or ()).decode,
            host=host, port=port,
            tell=lambda url: console.print(f"Review at {url}\nCtrl-C ends it.", highlight=False, soft_wrap=True),
        )  # fmt: skip
    console.print(f"{folder}/reviews/decisions.parquet: {count} decisions", highlight=False, soft_wrap=True)
