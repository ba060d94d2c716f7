"""What a person sees of clips being worked on: a live line in a terminal, a line each 30 s in a log."""

import time
from types import TracebackType
from typing import Self

from rich import progress as rich_progress
from rich.console import Console

LOG_EVERY_S = 30.0


class ClipProgress:
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

    def update(self, text: str) -> None:
        """Count one clip; `text` says what is known so far."""
        self._done += 1
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
