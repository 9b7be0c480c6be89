"""Find the notifier of each item of ``notify``, and deliver through it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import cast

from orchestrator import registry
from orchestrator.errors import Problem
from orchestrator.notify.messages import Note
from orchestrator.notify.target import Target, UndeliveredError
from orchestrator.spec import Notification

__all__ = ["UndeliveredError", "missing", "tell", "title"]


def missing(notifications: Sequence[Notification]) -> Iterator[Problem]:
    """Yield what would keep notes from being delivered: a variable that is not set, a program that does not exist."""
    for index, notification in enumerate(notifications):
        for problem in _target(notification).problems(notification.options):
            yield replace(problem, path=("notify", index, notification.notifier, *problem.path))


def title(notification: Notification) -> str:
    """Return what messages call the target; it holds no secret."""
    return _target(notification).title(notification.options)


def tell(notification: Notification, note: Note, canceled: threading.Event) -> None:
    """Deliver a note. Raises UndeliveredError. Once ``canceled`` is set, it is not tried again."""
    _target(notification).deliver(notification.options, note, canceled)


def _target(notification: Notification) -> type[Target]:
    return cast(type[Target], registry.load("notifiers", notification.notifier))
