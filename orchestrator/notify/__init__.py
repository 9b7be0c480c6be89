"""Notify people, or their programs, of a sweep's end. A failure to notify never affects the sweep.

`messages` words the notes, `notifier` decides when, `delivery` delivers in a thread of its own through a `target`.
"""

from orchestrator.notify.notifier import Notifier
from orchestrator.notify.targets import missing

__all__ = ["Notifier", "missing"]
