"""Change what is noted about a run: its tags, its note, and whether it is archived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.rundir import RunDirectory
from orchestrator.rundir.labels import Labels, change_labels, read_labels


def tag(run: RunDirectory, *add: str, remove: Iterable[str] = ()) -> Labels:
    """Add tags to a run, remove others, and return its labels. Raises UsageError for what cannot be a tag."""
    gone = set(remove)
    if not add and not gone:
        return read_labels(run)

    def changed(labels: Labels) -> Labels:
        return replace(labels, tags=tuple(each for each in dict.fromkeys((*labels.tags, *add)) if each not in gone))

    return change_labels(run, changed)


def note(run: RunDirectory, text: str) -> Labels:
    """Replace the note of a run; an empty one removes it. Raises UsageError if it is too long."""
    return change_labels(run, lambda labels: replace(labels, note=text))


def archive(run: RunDirectory, archived: bool = True) -> Labels:
    """Leave a run out of lists and of what the newest run means, or list it again."""
    return change_labels(run, lambda labels: replace(labels, archived=archived))
