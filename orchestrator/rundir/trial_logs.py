"""The log of what a trial's processes print: its name, and its place in a run directory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

LIMIT = 8_000_000
"""The most bytes of a log that are read: more than one that the sweep writes may have."""
WARNINGS = "warnings"
"""The folder of a run with what its trials have warned of, a file for each process that has trained some."""
_NAME = re.compile(r"segment_([0-9]+)(?:\.rank([0-9]+))?\.log")


@dataclass(frozen=True, order=True)
class LogFile:
    """The log of one process of a segment.

    Attributes:
        trial: the trial's number.
        segment: the number of the segment in its trial.
        rank: the process among those of the segment, from 0.
    """

    trial: int
    segment: int
    rank: int = 0

    @property
    def name(self) -> str:
        """The file's name in the trial's folder of logs."""
        return f"segment_{self.segment}{f'.rank{self.rank}' if self.rank else ''}.log"

    @property
    def relative(self) -> str:
        """Its path in the run directory."""
        return f"trials/{self.trial:04d}/logs/{self.name}"

    @property
    def title(self) -> str:
        """What it is, for a heading."""
        return f"trial {self.trial}, segment {self.segment}{f', rank {self.rank}' if self.rank else ''}"

    @classmethod
    def of(cls, trial: int, name: str) -> LogFile | None:
        """Return the log that a file of that name in a trial's folder is; None for any other file."""
        match = _NAME.fullmatch(Path(name).name)
        return cls(trial, int(match[1]), int(match[2] or 0)) if match else None


_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\d+(?:[.,:]\d+)*(?:[eE][+-]?\d+)?")


def alike(text: str) -> str:
    """Return a text with each number as ``#``: equal for texts that differ in numbers only."""
    return _NUMBER.sub("#", text)
