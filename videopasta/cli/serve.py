"""A model, and pairs, for others."""

from typing import Annotated

import typer

from videopasta.cli.options import ConfigFile, DryRun, Overrides, console, warn_of_remote_code


def serve(
    model: Annotated[
        str | None, typer.Option(help="Folder (OUT/model of a training), hub id, or tiny:NAME; over the file's")
    ] = None,
    config: ConfigFile = None,
    set_: Overrides = None,
    dry_run: DryRun = False,
    dashboard: Annotated[bool, typer.Option(help="Start the Ray dashboard with a local Ray")] = False,
) -> None:
    """Serve a model that sees videos behind OpenAI's protocol, and pairs to order, until Ctrl-C."""
    from videopasta.config import ServeConfig, dump_yaml, load_config
    from videopasta.engine.models import absolute
    from videopasta.serve import server

    named = [] if model is None else [f"model.model={absolute(model)}"]
    settings = load_config(ServeConfig, config, [*named, *(set_ or [])])
    warn_of_remote_code(settings.model)
    if dry_run:
        console.print(dump_yaml(settings), highlight=False, markup=False)
        console.print(server.describe_pools(settings), highlight=False, markup=False)
        return
    server.run(
        settings,
        lambda url: console.print(f"{settings.served_name} at {url}\nCtrl-C ends it.", highlight=False, soft_wrap=True),
        dashboard=dashboard,
    )
