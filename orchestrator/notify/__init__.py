"""Notify users and their programs of a sweep's end. A failure to notify never affects the sweep.

`messages` composes the notes, `notifier` decides when, `delivery` delivers them through a `target` in a thread.
"""

from orchestrator.notify.notifier import Notifier
from orchestrator.notify.target import notification_problems

__all__ = ["Notifier", "notification_problems"]
