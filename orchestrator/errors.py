"""The errors that a user may see.

    SweepError                 exit 1   something ended the sweep; the message says what, the hint what to do next
    ├── UsageError             exit 2   the request cannot be fulfilled as it stands
    │   ├── SpecError          exit 2   the sweep file is wrong; holds every problem with its position
    │   ├── CodecError         exit 2   a value has no plain form, or a written form cannot be read
    │   ├── UntrustedRunError  exit 2   somebody else wrote the run or bundle, and it names code to import
    │   ├── DataError          exit 2   a data set is absent, damaged or cannot be fetched
    │   ├── SuggestionError    exit 2   an Optuna objective asks for what the sweep does not search
    │   └── RunStartingError   exit 2   the run is being started, and has no journal yet
    ├── RunHeldError           exit 3   the run exists already, or another process holds it
    ├── StoppedError           exit 128 + signal   stopped before the sweep started; there is nothing to resume
    ├── JournalError           exit 4   the journal is damaged; names the byte offset
    │   └── JournalVersionError  exit 4   a newer version of the program wrote the journal
    ├── CheckpointError        exit 4   a checkpoint differs from what was written
    ├── ClusterLostError       exit 1   the Ray cluster is gone; a new process can resume once there is a cluster
    ├── ObjectiveError         exit 1   the module never logged the metric by which it is judged
    └── ProgressError          exit 1   a segment trained other epochs than those after its checkpoint

These reach the terminal without a traceback, as do faults of the storage, which are OSErrors (ObjectStoreError is one
of them). Any other error is a bug of this program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any


class SweepError(Exception):
    """The root: a message, a hint that says what to do next, and an exit code.

    ``code`` names the kind of error for programs, and stays what it is. ``transient`` says that the same request may
    succeed later.
    """

    exit_code = 1
    code = "failed"
    transient = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class ObjectStoreError(OSError):
    """The object store does not answer, or refuses a request: a fault of the storage, as a full disk is.

    ``strerror`` holds the store's message, ``filename`` the object's URL.
    """


class UsageError(SweepError):
    """The request cannot be fulfilled as it stands."""

    code = "usage"
    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """One problem in a sweep file. ``line`` and ``column`` count from 1; they are 0 if there is no position.

    ``path`` leads to it in the spec: ``("space", "model.learning_rate")``.

    Example:
        ```python
        try:
            Sweep.from_file("sweep.yaml", ["trainer.max_epoch=3"])
        except orchestrator.SpecError as error:
            print(error.problems[0].message, error.problems[0].hint)
        ```
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
    """A sweep file is wrong. ``problems`` lists every problem, in the order of the file.

    ``rest`` is the spec of the sections that tell what is trained, as far as they can be read; None if they cannot.
    """

    code = "file"

    def __init__(self, problems: Iterable[Problem], *, rest: Any = None) -> None:
        self.problems = tuple(problems)
        self.rest = rest
        super().__init__("\n".join(str(problem) for problem in self.problems))


class CodecError(UsageError):
    """A value has no plain form from which the same value can be made again, or a written form cannot be read.

    ``at`` is the key path of the value (``trainer.callbacks[0].init_args.x``), ``reason`` the message without it.
    """

    code = "value"

    def __init__(self, reason: str, *, at: str = "", hint: str = "") -> None:
        super().__init__(f"{at}: {reason}" if at else reason, hint=hint)
        self.at, self.reason = at, reason


class DataError(UsageError):
    """A data set is absent, damaged or cannot be fetched."""

    code = "data"


class UntrustedRunError(UsageError):
    """The run or bundle names code, and the user has neither written nor trusted it. The message lists the code."""

    code = "untrusted"


class RunStartingError(UsageError):
    """The run is being started and has no journal yet; there will be one in some seconds."""

    code = "starting"
    transient = True


class RunHeldError(SweepError):
    """The run exists already, or another living process writes it."""

    code = "held"
    exit_code = 3


class StoppedError(SweepError):
    """A signal came before the sweep had started: nothing was started or written."""

    code = "stopped"

    def __init__(self, signal: int) -> None:
        super().__init__("stopped before the sweep had started: nothing was started or written")
        self.exit_code = 128 + signal


class JournalError(SweepError):
    """The journal is damaged. The message names the file and the byte offset; nothing is repaired silently."""

    code = "journal"
    exit_code = 4


class JournalVersionError(JournalError):
    """The journal's format, or an event in it, is newer than this program. The hint names the version to install."""

    code = "journal_version"


class CheckpointError(SweepError):
    """A checkpoint's size or SHA-256 is not what the journal says, or it cannot be loaded."""

    code = "checkpoint"
    exit_code = 4


class ClusterLostError(SweepError):
    """The Ray cluster is gone; a new process must join the cluster that replaces it."""

    code = "cluster_lost"
    transient = True


class ObjectiveError(SweepError):
    """The module never logged the metric by which the sweep judges trials."""

    code = "objective"


class SuggestionError(UsageError):
    """An Optuna objective asks for a parameter that the sweep does not search, or not in that range."""


class ProgressError(SweepError):
    """A segment does not continue where it started: something moved the Trainer back, or ahead."""

    code = "progress"


def describe(error: BaseException) -> str:
    """Return the error's type and text, ``ValueError: no data``, and notes on it that are hints.

    A ``__str__`` that raises is replaced by a note.
    """
    name = type(error).__name__
    try:
        text = str(error)
    except (Exception, SystemExit) as fault:  # a user's own class may raise any error
        return f"{name} (its text cannot be shown: its __str__ raised {type(fault).__name__})"
    notes = object.__getattribute__(error, "__dict__").get("__notes__")  # past a __getattr__ of the user's own
    notes = notes if type(notes) is list else []
    hints = [note for note in notes if isinstance(note, str) and note.startswith("hint: ")]
    text = " ".join([text, *hints]).strip()
    return f"{name}: {text}" if text else name


def is_a(error: BaseException, *classes: type[BaseException]) -> bool:
    """Return whether an error is of one of the classes, without reading its ``__class__``, which may raise."""
    return issubclass(type(error), classes)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, its cause and so on, each once: ``raise error from error`` is a cycle."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
