"""Stops a run that fails for one reason: a wrong mount must not quarantine a million videos. Pure."""

from collections import Counter, deque

from videopasta.config.generate import BreakerConfig
from videopasta.errors import UserError
from videopasta.generate.work import Failure


class Breaker:
    """Watches the clips that come out of a run."""

    def __init__(self, config: BreakerConfig) -> None:
        self._config = config
        self._last: deque[tuple[str, str] | None] = deque(maxlen=config.window)

    def add(self, failure: Failure | None) -> None:
        """Look at one clip's end.

        Raises:
            UserError: more than `max_failed_share` of the last `window` clips failed for the reason of this one.
        """
        if failure is not None and failure.stage == "commit":
            return  # the store has the content already: nothing is wrong with it
        self._last.append((failure.stage, failure.reason) if failure else None)
        if failure is None or len(self._last) < self._config.window:
            return
        num_failed = Counter(self._last)[failure.stage, failure.reason]
        if num_failed > self._config.max_failed_share * self._config.window:
            raise UserError(
                f"Stopped: {num_failed} of the last {self._config.window} clips failed for one reason, "
                f"{failure.reason} ({failure.stage}; the last: {failure.detail}). Mend its cause, then run the same "
                "command with --retry-quarantined; if the videos are like that, raise breaker.max_failed_share."
            )
