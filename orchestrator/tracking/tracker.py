"""The base class of trackers.

A tracker is one class in one file of `orchestrator.tracking.trackers`, or of a package with an entry point in the group
``sweep_orchestrator.trackers`` (see `orchestrator.registry`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.rundir import RunDirectory
from orchestrator.spec.parts import Part
from orchestrator.state import SweepState

if TYPE_CHECKING:
    from orchestrator.training.job import Job


class Tracker:
    """A destination of metrics, in addition to the run directory.

    A tracker may do two things, each optional. In a trial's process, `logger` gives Lightning a logger for what the
    user's own code logs. In a process beside the driver, an instance with ``uploads = True`` receives the sweep's state
    about once a second. Nothing waits for it, its exceptions go to ``<run>/tracking/NAME.log``, and secrets in the
    state are masked. Import heavy libraries inside methods.

    Attributes:
        name: The key under ``tracking`` in a sweep file.
        summary: One sentence for the sweep file's schema.
        Options: A `Part` (a pydantic model) with the tracker's options.
        examples: Values under that key, for hints.
        uploads: Whether a process beside the driver writes or uploads.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    Options: ClassVar[type[Part]]
    examples: ClassVar[tuple[Any, ...]] = ()
    uploads: ClassVar[bool] = False

    def __init__(self, run: RunDirectory, *, send: bool = False) -> None:
        """Prepare to follow ``run``. ``send``: upload even if the sweep file does not ask for it (`sweep sync`)."""

    def follow(self, state: SweepState, *, ended: bool) -> None:
        """Write what is new, and upload what can be uploaded now. ``ended``: the sweep has ended."""

    def settle(self) -> bool:
        """Upload the rest, without a limit of time. Return whether everything has been uploaded."""
        return True

    @classmethod
    def check(cls, options: dict[str, Any]) -> None:
        """Raise UsageError if the tracker cannot be used: a library is missing."""

    @classmethod
    def is_enabled(cls, options: dict[str, Any]) -> bool:
        """Return whether a process beside the driver is needed with these options."""
        return cls.uploads

    @classmethod
    def with_defaults(cls, options: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
        """Return the options with defaults that depend on the run."""
        return options

    @classmethod
    def logger(cls, job: Job, options: dict[str, Any]) -> Any:
        """Return the trial's Lightning logger; None without one. ``options`` include ``id``, ``name``, ``group``."""
        return None

    @classmethod
    def finish(cls, logger: Any) -> None:
        """End what the logger has begun, so that the next trial of this process begins its own."""

    @classmethod
    def not_uploaded(cls, run: RunDirectory, command: str) -> str:
        """Return a sentence on what was not uploaded in time, with the command that uploads it; empty if complete."""
        return f"{cls.name} has not received everything; to send the rest: {command}"
