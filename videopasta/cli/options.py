"""Options that several commands share, and the console they print to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from videopasta.config import ModelConfig

console = Console()
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; configs/ has some. Default: the paper's")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="key=value over the file, e.g. queries.per_mode=4")]
Limits = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value: which videos may be opened, and how, e.g. decode.sources.roots=[/data]"),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the configuration and what would be done, and stop")]


def warn_of_remote_code(*models: "ModelConfig") -> None:
    """Say which models bring code of their own."""
    from videopasta.engine.models import remote_code_warnings

    for line in remote_code_warnings(models):
        console.print(line, style="yellow", highlight=False, markup=False)
