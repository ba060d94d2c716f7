"""Draws a board as one picture, from what a Prometheus has: a look at it without Grafana.

    .venv/bin/python dashboards/render.py dashboards/grafana/videopasta-generation.json board.png \
        --run 20261126T080000-1a2b3c --minutes 10 [--prometheus http://localhost:9090]

The grid, titles, units and expressions are those of the JSON; colours are not Grafana's.
"""

import argparse
import io
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

PROMETHEUS = "http://localhost:9090"
_POINTS = 200
_DPI, _COLOURS = 100, 64
_UNIT_INCHES = 0.5, 0.36
"""Width and height of a cell of the grid."""
_INK, _PALE = "#24292f", "#8c959f"


def substituted(expr: str, *, run: str, window: str) -> str:
    """An expression of a board with Grafana's variables filled in."""
    return expr.replace("$__rate_interval", window).replace("$run", run)


def ask(prometheus: str, path: str, **parameters: object) -> Any:
    """What Prometheus answers.

    Raises:
        RuntimeError: it refuses the query.
    """
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{parameters}: {error.read().decode()}") from error


def panels_of(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The panels that ask something."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def series_of(
    prometheus: str, panel: Mapping[str, Any], *, run: str, window: str, start: float, end: float
) -> list[tuple[str, list[tuple[float, float]]]]:
    """Names and points of what a panel shows, without what is no number; a query a list of series."""
    step = max(1.0, (end - start) / _POINTS)
    found = []
    for target in panel["targets"]:
        expr = substituted(target["expr"], run=run, window=window)
        for one in ask(prometheus, "query_range", query=expr, start=start, end=end, step=step)["result"]:
            points = [(float(at), float(value)) for at, value in one["values"]]
            points = [point for point in points if math.isfinite(point[1])]
            if points:
                found.append((_legend(target["legendFormat"], one["metric"]), points))
    return found


def _legend(template: str, labels: Mapping[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def render(board: Mapping[str, Any], picture: Path, **asked: Any) -> None:
    """Draw it; `asked` are the arguments of `series_of`."""
    width, height = _UNIT_INCHES
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"]) + 2
    figure = plt.figure(figsize=(24 * width, rows * height), facecolor="white")
    figure.text(0.01, 1 - 0.6 / rows, board["title"], size=13, weight="bold", color=_INK, va="center")
    figure.text(0.01, 1 - 1.5 / rows, board["description"], size=8, color=_PALE, va="center")
    for panel in board["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        left, top = x / 24, 1 - (y + 2) / rows
        if panel["type"] == "row":
            figure.text(0.01, top - 0.6 / rows, panel["title"], size=9, weight="bold", color=_INK, va="center")
            continue
        figure.text(left + 0.01, top - 0.6 / rows, panel["title"], size=7, color=_INK, va="center")
        series = series_of(panel=panel, **asked)
        if panel["type"] == "stat":
            shown = _format(panel["fieldConfig"]["defaults"]["unit"])(series[0][1][-1][1], 0) if series else "No data"
            figure.text(left + 0.01, top - h * 0.55 / rows, shown, size=17, color="#1a7f37", va="center")
            continue
        # Room for the numbers on the left, the title above, the legend below.
        axes = figure.add_axes((left + 0.045, top - (h - 1.9) / rows, w / 24 - 0.06, (h - 3.0) / rows))
        _draw(axes, panel, series)
        axes.set_xlim(asked["start"], asked["end"])
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=_DPI)
    plt.close(figure)
    Image.open(drawn).convert("RGB").quantize(_COLOURS).save(picture, optimize=True)


def _draw(axes: Axes, panel: Mapping[str, Any], series: list[tuple[str, list[tuple[float, float]]]]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    if not series:
        axes.text(0.5, 0.5, "No data", transform=axes.transAxes, ha="center", size=8, color=_PALE)
    if defaults["custom"]["stacking"]["mode"] == "normal" and series:
        times = sorted({at for _, points in series for at, _ in points})
        heights = [[dict(points).get(at, 0.0) for at in times] for _, points in series]
        axes.stackplot(times, heights, labels=[name for name, _ in series], alpha=0.6, linewidth=0.8)
    else:
        for name, points in series:
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1, marker="." if len(points) < 3 else "")
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0) if "min" not in defaults else 0, defaults.get("max", high if high > 0 else 1))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(_format(defaults["unit"])))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: time.strftime("%H:%M:%S", time.gmtime(at))))
    axes.tick_params(labelsize=5, length=2, colors=_PALE)
    axes.grid(color="#d0d7de", linewidth=0.4)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if any(name for name, _ in series):
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.02, -0.12), ncols=min(4, len(series)), fontsize=4.5, frameon=False,
            handlelength=1, columnspacing=1, borderaxespad=0,
        )  # fmt: skip


def _format(unit: str) -> Any:
    def text(value: float, _: Any) -> str:
        if unit == "percentunit":
            return f"{100 * value:.3g} %"
        if unit == "percent":
            return f"{value:.3g} %"
        if unit == "currencyUSD":
            return f"${value:.4g}"
        if unit == "s" and value >= 90:
            return f"{value / 60:.3g} min"
        if unit == "s":
            return f"{value:.3g} s"
        size = 1024 if unit == "bytes" else 1000
        for sign, power in (("G", 3), ("M", 2), ("k", 1)):
            if abs(value) >= size**power:
                return f"{value / size**power:.3g} {sign}{'iB' if unit == 'bytes' else ''}"
        return f"{value:.3g}{' B' if unit == 'bytes' else ''}"

    return text


def main() -> None:
    """Parse, ask, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("board", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--run", required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--window", default="1m", help="over which rates are taken")
    parser.add_argument("--prometheus", default=PROMETHEUS)
    options = parser.parse_args()
    now = time.time()
    render(
        json.loads(options.board.read_text()), options.picture, prometheus=options.prometheus, run=options.run,
        window=options.window, start=now - 60 * options.minutes, end=now,
    )  # fmt: skip


if __name__ == "__main__":
    main()
