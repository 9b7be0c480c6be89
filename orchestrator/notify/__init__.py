"""Telling people, or their programs, what becomes of a sweep; whatever hinders that, the sweep goes on.

`notes` is what is said, `notifier` says when, `courier` carries it in a thread of its own to the `targets`.
"""

from orchestrator.notify.notifier import Notifier
from orchestrator.notify.targets import missing

__all__ = ["Notifier", "missing"]
