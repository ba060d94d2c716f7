"""What a person sees of a run: a live line in a terminal, a line each 30 s in a log, tables at last."""

import time
from types import TracebackType
from typing import Self

from rich import progress as rich_progress
from rich.console import Console, RenderableType
from rich.table import Table

from videopasta.generate.summary import RunSummary
from videopasta.generate.work import Work

LOG_EVERY_S = 30.0


class Progress:
    """A context: call `update` with each clip."""

    def __init__(self, console: Console, num_clips: int) -> None:
        self._console, self._num_clips = console, num_clips
        self._bar = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}"),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TimeElapsedColumn(),
            rich_progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("loading models", total=num_clips)
        self._last_log = time.monotonic()
        self._done = 0

    def update(self, work: Work, summary: RunSummary) -> None:
        """Count one clip."""
        self._done += 1
        text = f"{summary.num_pairs} pairs, {summary.num_quarantined} quarantined"
        self._bar.update(self._task, advance=1, description=text)
        if not self._console.is_terminal and time.monotonic() - self._last_log >= LOG_EVERY_S:
            self._last_log = time.monotonic()
            self._console.print(f"{self._done}/{self._num_clips} clips: {text}", highlight=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def summary_tables(summary: RunSummary) -> list[RenderableType]:
    """A finished run as tables: acceptance, reasons, tokens, seconds."""
    accepted = Table(title="pairs of candidates", title_justify="left")
    for name in ("failure mode / adversary", "candidates", "pairs", "accepted"):
        accepted.add_column(name, justify="left" if name.startswith("failure") else "right")
    for names, pairs in (
        (summary.candidates_by_mode, summary.pairs_by_mode),
        (summary.candidates_by_adversary, summary.pairs_by_adversary),
    ):
        for name, count in sorted(names.items()):
            accepted.add_row(name, str(count), str(pairs[name]), f"{pairs[name] / count:.0%}")
        accepted.add_section()

    reasons = Table("reason", "count", title="dropped candidates and quarantined clips", title_justify="left")
    for name, count in summary.drop_reasons.most_common():
        reasons.add_row(name, str(count))
    reasons.add_section()
    for name, count in summary.quarantine_reasons.most_common():
        reasons.add_row(f"quarantine: {name}", str(count))

    work = Table(title="work", title_justify="left")
    for name in ("stage", "requests", "prompt tokens", "cached", "answer tokens", "clip seconds"):
        work.add_column(name, justify="left" if name == "stage" else "right")
    for stage, seconds in summary.seconds.items():
        tokens = summary.tokens.get(stage)
        cells = [""] * 4
        if tokens:
            rate = tokens["cached"] / tokens["prompt"] if tokens["prompt"] else 0.0
            cells = [str(tokens["requests"]), str(tokens["prompt"]), f"{rate:.0%}", str(tokens["completion"])]
        work.add_row(stage, *cells, f"{seconds:.1f}")
    footer = (
        f"{summary.num_clips} clips, {summary.num_pairs} pairs, {summary.num_quarantined} quarantined "
        f"in {summary.wall_s:.0f} s; {summary.cache_hit_rate:.0%} of prompt tokens from the cache"
    )
    return [accepted, reasons, work, footer]
