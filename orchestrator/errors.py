"""The errors a person may see.

    SweepError                 exit 1   something ended the sweep; says what and what next
    ├── UsageError             exit 2   what was asked for cannot be done as asked
    │   ├── SpecError          exit 2   the sweep file is wrong; holds every problem with its position
    │   └── DataError          exit 2   a data set is absent, damaged or cannot be fetched
    ├── RunHeldError           exit 3   the run exists already, or another process holds it
    ├── StoppedError           exit 128 + signal   stopped before there was anything to go on with
    ├── JournalError           exit 4   the journal is damaged; names the byte offset
    ├── CheckpointError        exit 4   a checkpoint is not what was written
    ├── ClusterLostError       exit 1   the Ray cluster has gone; another process can go on once there is one again
    └── ObjectiveError         exit 1   the module never logged the metric it is judged by

Only these reach the terminal without a traceback, and faults of the storage, ObjectStoreError among them, which are
OSErrors; anything else is our own bug.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class SweepError(Exception):
    """The root: a message for people, a hint that says what to do next, an exit code."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ObjectStoreError(OSError):
    """Object storage that does not answer, or refuses: a fault of the storage, as a full disk is.

    ``strerror`` says what it said, ``filename`` is the object's URL.
    """


class UsageError(SweepError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a sweep file. ``line`` and ``column`` count from 1; 0 where there is no position.

    ``path`` is where it sits in the spec: ``("space", "model.learning_rate")``.
    """

    message: str
    hint: str = ""
    path: tuple[str | int, ...] = ()
    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: " if self.file else ""
        text = f"{place}{self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class SpecError(UsageError):
    """A sweep file is wrong. ``problems`` lists every one found, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class DataError(UsageError):
    """A data set is absent, damaged or cannot be fetched."""


class RunHeldError(SweepError):
    """The run exists already, or another living process writes it."""

    exit_code = 3


class StoppedError(SweepError):
    """A signal came before the sweep had begun: nothing was started or written."""

    def __init__(self, signal: int) -> None:
        super().__init__("stopped before the sweep had begun: nothing was started or written")
        self.exit_code = 128 + signal


class JournalError(SweepError):
    """The journal is damaged. Names the file and the byte offset; nothing is repaired in silence."""

    exit_code = 4


class CheckpointError(SweepError):
    """A checkpoint's size or SHA-256 is not what the journal says, or it cannot be loaded."""

    exit_code = 4


class ClusterLostError(SweepError):
    """The Ray cluster has gone from under the driver; another process is to join what comes in its place."""


class ObjectiveError(SweepError):
    """The module never logged the metric that the sweep judges by."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what caused it, what caused that: each once, for ``raise error from error`` makes a circle."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
