"""Read what trials have printed: whole logs, their last lines, and what is new in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.rundir import RunDirectory
from orchestrator.rundir.trial_logs import LIMIT, LogFile
from orchestrator.safe_text import visible

_LEFT_OUT = re.compile(r"--- left out here: ([0-9,]+) lines, [0-9.,]+ MB ---")


@dataclass(frozen=True)
class LogText:
    """The lines of a log, safe to display.

    Attributes:
        log: which one.
        lines: in order; one that says what is left out stands for more.
    """

    log: LogFile
    lines: list[str]

    def last(self, number: int | None) -> list[str]:
        """Return so many last lines; all for None."""
        return self.lines if number is None else self.lines[max(0, len(self.lines) - number) :]

    def with_text(self, text: str) -> list[str]:
        """Return the lines that contain a text, in whatever case."""
        return [line for line in self.lines if text.casefold() in line.casefold()]

    def numbered(self) -> Iterator[tuple[int, str]]:
        """Yield each line with its number in all that was printed, from 0."""
        number = 0
        for line in self.lines:
            yield number, line
            left_out = _LEFT_OUT.fullmatch(line)
            number += int(left_out[1].replace(",", "")) if left_out else 1


def read_log(run: RunDirectory, log: LogFile) -> LogText:
    """Return what a log holds; no lines if it cannot be read. Raises OSError if object storage does not answer."""
    text = run.read_text(log.relative, LIMIT)
    return LogText(log, [visible(line, keep="\t") for line in text.removesuffix("\n").split("\n")] if text else [])


def logs(run: RunDirectory, trials: Iterable[int], rank: int | None = None) -> list[LogFile]:
    """Return the logs of trials in order, those of one rank only if it is given."""
    return [log for log in run.log_files(trials) if rank is None or log.rank == rank]


def last_lines(run: RunDirectory, trial: int, segment: int, number: int) -> list[str]:
    """Return the last lines that rank 0 of a segment has printed."""
    return read_log(run, LogFile(trial, segment)).last(number)


class Followed:
    """Logs as they grow: each call of `new_lines` returns what was printed since the last."""

    def __init__(self, run: RunDirectory, rank: int | None = 0, last: int | None = None) -> None:
        self._run, self._rank, self._last = run, rank, last
        self._next: dict[LogFile, int] = {}  # the number of the first line that was not returned

    def new_lines(self, trials: Iterable[int]) -> list[LogText]:
        """Return the new lines of these trials; of a log that is read for the first time, its last lines."""
        texts = []
        for log in logs(self._run, trials, self._rank) if trials else []:
            text = read_log(self._run, log)
            if log in self._next:
                fresh = [line for number, line in text.numbered() if number >= self._next[log]]
            else:
                fresh = text.last(self._last)
            self._next[log] = max((number for number, _ in text.numbered()), default=-1) + 1
            if fresh:
                texts.append(LogText(log, fresh))
        return texts
