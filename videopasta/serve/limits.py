"""How much one client may ask for, and all of them at once. Pure: the time is given.

The limits of libraries wait until there is room; a service says when to come back.
"""

from dataclasses import dataclass


class Rate:
    """Requests of one token: so many a minute on average, as many at once after a quiet minute (a token bucket)."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._per_second = per_minute / 60
        self._most = max(1.0, per_minute)
        self._left, self._at = self._most, now

    def wait_s(self, now: float) -> float:
        """Take one; 0, or in how many seconds there is one again, and none is taken."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._per_second
        self._left -= 1
        return 0.0


@dataclass
class Room:
    """Requests in flight, of all tokens."""

    most: int
    taken: int = 0

    def enter(self) -> bool:
        """Whether there is room; then it is taken until `leave`."""
        if self.taken >= self.most:
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """Give it back."""
        self.taken -= 1
