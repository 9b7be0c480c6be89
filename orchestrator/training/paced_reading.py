"""Notice that a growing number has reached a limit, although it is read seldom: it may lie on a device."""

from __future__ import annotations

from collections.abc import Callable


class PacedReading:
    """Reads a number again after half of the calls that it needs to its limit, by its steepest growth so far.

    So a number that grows steadily is noticed at the call at which it reaches the limit, after few readings. One whose
    growth more than doubles between two readings may be noticed later.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._read_at = 0  # the call of the last reading
        self._next = 1
        self._last: float | None = None
        self._growth = 0.0  # a call

    def reached(self, limit: float, read: Callable[[], float], calls: int = 1) -> bool:
        """Return whether the number has reached the limit.

        Args:
            limit: the limit.
            read: returns the number.
            calls: how many steps of its growth have passed since the last call.
        """
        self._calls += calls
        if self._calls < self._next:
            return False
        value = read()
        if self._last is not None:
            self._growth = max(self._growth, (value - self._last) / (self._calls - self._read_at))
        self._last, self._read_at = value, self._calls
        remaining = int((limit - value) / self._growth / 2) if self._growth > 0 else 1
        self._next = self._calls + max(1, remaining)
        return value >= limit

    @property
    def wait(self) -> int:
        """After how many steps the number is read next."""
        return self._next - self._calls

    def look_again(self) -> None:
        """Read at the next call, whatever was expected: the limit or the number has changed."""
        self._next = self._calls + 1
