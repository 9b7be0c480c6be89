"""The base class of notifiers, and delivery through the one that a notification names.

A notifier is one class in one file of `orchestrator.notify.notifiers`, or of a package with an entry point in the group
``sweep_orchestrator.notifiers`` (see `orchestrator.registry`).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

from orchestrator import registry
from orchestrator.errors import Problem
from orchestrator.notify.messages import Note
from orchestrator.spec import Notification


class UndeliveredError(Exception):
    """A note was not delivered; the message is the reason, without the address."""


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
        """Return the target's name in messages, which holds no secret."""
        return cls.name

    @classmethod
    def problems(cls, options: Any) -> Iterator[Problem]:
        """Yield what would prevent delivery and can be checked before the sweep. Paths are relative to the key."""
        yield from ()

    @classmethod
    @abstractmethod
    def deliver(cls, options: Any, note: Note, canceled: threading.Event) -> None:
        """Deliver a note. Raise UndeliveredError if that fails. Once ``canceled`` is set, do not retry."""


def notification_problems(notifications: Sequence[Notification]) -> Iterator[Problem]:
    """Yield what would prevent delivery: an environment variable that is not set, a program that does not exist."""
    for index, notification in enumerate(notifications):
        for problem in _target(notification).problems(notification.options):
            yield replace(problem, path=("notify", index, notification.notifier, *problem.path))


def title(notification: Notification) -> str:
    """Return the target's name in messages, which holds no secret."""
    return _target(notification).title(notification.options)


def deliver(notification: Notification, note: Note, canceled: threading.Event) -> None:
    """Deliver a note; do not retry once ``canceled`` is set. Raises UndeliveredError."""
    _target(notification).deliver(notification.options, note, canceled)


def _target(notification: Notification) -> type[Target]:
    return cast(type[Target], registry.load("notifiers", notification.notifier))
