"""Callbacks that record what they are called with."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class Recorded(list[T]):
    """A list whose ``keep`` is a callback: it appends its argument and returns True, so that the caller continues."""

    def keep(self, item: T) -> bool:
        self.append(item)
        return True
