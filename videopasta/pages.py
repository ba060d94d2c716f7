"""Templates of pages and texts: what is missing in one is an error, and what stands in HTML is text."""

from pathlib import Path

import jinja2


def templates(folder: Path) -> jinja2.Environment:
    """Those of `folder`; `.html.j2` are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(enabled_extensions=("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: str(name).replace("_", " ")
    environment.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f} %"
    environment.filters["count"] = lambda number: f"{number:,}"
    return environment
