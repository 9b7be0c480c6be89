"""What people note about a run: tags, a note, and whether it is archived.

They are in ``labels.json`` beside the journal. A label decides nothing, so it needs no lease, a running sweep can be
labelled, and the journal stays as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.rundir.run_directory import RunDirectory

FORMAT = 1
NOTE_LIMIT = 10_000
_LIMIT = 100_000  # bytes of the file; a longer one is not read
_TAG = re.compile(r"\w[\w.:/=+-]{0,49}")


@dataclass(frozen=True)
class Labels:
    """The labels of a run.

    Attributes:
        tags: short words, in the order in which they were added.
        note: free text.
        archived: whether the run is left out of lists, and of what "the newest run" can mean.

    Example:
        ```python
        labels = Sweep.attach("quickstart").tag("baseline")
        print(labels.tags, labels.note, labels.archived)
        ```
    """

    tags: tuple[str, ...] = ()
    note: str = ""
    archived: bool = False


def read_labels(run: RunDirectory) -> Labels:
    """Return the labels of a run. What is missing, damaged or of another kind counts as not set."""
    try:
        fields = json.loads(run.read_small(run.labels, _LIMIT))
    except (OSError, ValueError, RecursionError):
        return Labels()
    return _labels(fields) if isinstance(fields, dict) else Labels()


def change_labels(run: RunDirectory, change: Callable[[Labels], Labels]) -> Labels:
    """Replace the labels of a run by what ``change`` makes of them, and return the new ones.

    In a folder two changes at one time are both kept; in object storage the later one replaces the other.

    Raises:
        UsageError: A tag or the note cannot be used.
        OSError: They cannot be written.
    """
    with _locked(run):
        labels = change(read_labels(run))
        _require_usable(labels)
        run.write(run.labels, json.dumps({"format": FORMAT, **asdict(labels)}).encode())
    return labels


def _labels(fields: dict[str, Any]) -> Labels:
    tags, note = fields.get("tags"), fields.get("note")
    usable = [tag for tag in tags if isinstance(tag, str) and _TAG.fullmatch(tag)] if isinstance(tags, list) else []
    return Labels(tuple(usable), note if isinstance(note, str) else "", fields.get("archived") is True)


def _require_usable(labels: Labels) -> None:
    wrong = next((tag for tag in labels.tags if not _TAG.fullmatch(tag)), None)
    if wrong is not None:
        hint = "a tag is 1 to 50 letters, digits and . : / = + - _, beginning with a letter or digit"
        raise UsageError(f"{wrong!r} cannot be a tag", hint=hint)
    if len(labels.note) > NOTE_LIMIT:
        raise UsageError(f"the note has {len(labels.note)} characters", hint=f"write at most {NOTE_LIMIT}")


@contextlib.contextmanager
def _locked(run: RunDirectory) -> Iterator[None]:
    """Keep other changes of the labels out meanwhile, where the file system can."""
    if run.url:
        yield
        return
    descriptor = os.open(run.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file server may know no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
