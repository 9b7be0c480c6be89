"""The base class of notifiers: how a note reaches people or their programs.

A notifier is one class in one file of `orchestrator.notify.notifiers`, or of a package with an entry point in the group
``sweep_orchestrator.notifiers`` (see `orchestrator.registry`).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from orchestrator.errors import Problem
from orchestrator.notify.messages import Note


class UndeliveredError(Exception):
    """Why a note was not delivered; without the address."""


class Target(ABC):
    """Delivers notes, one at a time, in a thread of its own.

    Attributes:
        name: The key in an item of ``notify`` in a sweep file.
        summary: One sentence for the sweep file's schema.
        Options: The type of the value under that key: any type that pydantic validates.
        examples: Values under that key, for hints.
    """

    name: ClassVar[str]
    summary: ClassVar[str] = ""
    Options: ClassVar[Any]
    examples: ClassVar[tuple[Any, ...]] = ()

    @classmethod
    def title(cls, options: Any) -> str:
        """Return what messages call this target; it holds no secret."""
        return cls.name

    @classmethod
    def problems(cls, options: Any) -> Iterator[Problem]:
        """Yield what keeps notes from being delivered, known before the sweep starts. Paths are relative to the key."""
        yield from ()

    @classmethod
    @abstractmethod
    def deliver(cls, options: Any, note: Note, canceled: threading.Event) -> None:
        """Deliver a note. Raise UndeliveredError if that fails. Once ``canceled`` is set, do not try again."""
