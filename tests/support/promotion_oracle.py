"""Promotion by brute force, to compare with."""

from __future__ import annotations

PROMOTE = {"name": "asha", "grace_epochs": 1, "reduction_factor": 2, "promote": True}


class BruteForce:
    """The rule as it is written, with nothing kept but who came to a rung with what, and who has left it."""

    def __init__(self, factor: int, sign: int) -> None:
        self.factor, self.sign = factor, sign
        self.came: dict[int, dict[int, float]] = {}
        self.left: set[tuple[int, int]] = set()

    def among_the_best(self, rung: int, trial: int, least: int = 0) -> bool:
        order = sorted(self.came[rung], key=lambda number: (self.sign * self.came[rung][number], number))
        return trial in order[: max(least, len(order) // self.factor)]

    def goes_on(self, rung: int, trial: int, value: float) -> bool:
        self.came.setdefault(rung, {})[trial] = value
        if self.among_the_best(rung, trial):
            self.left.add((rung, trial))
        return (rung, trial) in self.left

    def promoted(self, last: bool) -> tuple[int, int] | None:
        """(rung, trial): of the highest rung where one is due, the best."""
        for rung in sorted(self.came, reverse=True):
            waiting = [trial for trial in self.came[rung] if (rung, trial) not in self.left]
            due = [trial for trial in waiting if self.among_the_best(rung, trial, int(last))]
            if due:
                best = min(due, key=lambda number: (self.sign * self.came[rung][number], number))
                self.left.add((rung, best))
                return rung, best
        return None
