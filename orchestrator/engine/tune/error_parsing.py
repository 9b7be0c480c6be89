"""What Ray's errors say of how a segment was lost."""

from __future__ import annotations

import re

_CHARACTERS = 1000
_GONE = "its process ended"
_MEMORY = "running low on memory"
_NODE = ("node has died", "node was terminated", "node was preempted", "unschedulable")
# Ray 2.60 lists what its memory monitor has killed in the text of the error alone.
_KILLED = re.compile(r"Selected to kill: \(Actor\((?P<actor>\w+)\).*?actual memory used=(?P<gigabytes>[\d.]+)GB")


def kind_of(text: str) -> tuple[str, str]:
    """How a segment was lost (`SweepController.lost` names the kinds), and what Ray says of it, in one line.

    Tune hands over the text of the error, not the error.
    """
    lines = text.strip().splitlines() or [_GONE]
    if _MEMORY in text:
        return "memory", lines[0][:_CHARACTERS]
    if any(sign in text for sign in _NODE):
        return "preempted" if "preempted" in text.lower() else "node", lines[-1][:_CHARACTERS]
    return "lost", lines[-1][:_CHARACTERS]


def greediest(error: BaseException | None) -> str:
    """The actor, by its number in hex, that Ray's memory monitor killed for cause; empty where it killed none.

    It may kill several at once. Of those the one that held most memory is to blame.
    """
    while error is not None:
        killed = [(float(found["gigabytes"]), found["actor"]) for found in _KILLED.finditer(str(error))]
        if killed:
            return max(killed)[1]
        error = error.__cause__
    return ""
