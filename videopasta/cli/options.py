"""Options that several commands share, and the console they print to."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file; configs/ has some. Default: the paper's")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="key=value over the file, e.g. queries.per_mode=4")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the configuration and what would be done, and stop")]
