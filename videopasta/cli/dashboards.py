"""Grafana boards and alert rules, as files and beside Ray's own."""

from pathlib import Path
from typing import Annotated

import typer

from videopasta.cli.options import console

app = typer.Typer(help="Grafana boards and alert rules.", no_args_is_help=True)


@app.command()
def install(
    ray_session: Annotated[
        Path, typer.Option(help="Folder of a Ray session on its head: TEMP_DIR/session_latest")
    ] = Path("/tmp/ray/session_latest"),
) -> None:
    """Put boards and rules beside Ray's own; done again for each new session."""
    from videopasta.cluster import dashboards

    metrics = dashboards.install(ray_session)
    console.print(
        f"grafana-server --config {metrics}/grafana/grafana.ini web\n"
        f"prometheus --config.file={metrics}/prometheus/prometheus.yml",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def write(
    folder: Annotated[Path, typer.Argument(help="Gets grafana/, provisioning/, prometheus.yml and alerts.yml")],
) -> None:
    """Write boards, rules and configurations to a folder."""
    from videopasta.cluster import dashboards

    dashboards.write(folder)
