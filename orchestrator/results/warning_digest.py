"""What a sweep's trials have warned of: alike texts together, with the trials that said them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchestrator.rundir import RunDirectory
from orchestrator.rundir.trial_logs import alike
from orchestrator.safe_text import visible
from orchestrator.state import SweepState

_LIMIT = 4_000_000  # bytes of a file that are read; one has a thousand records at most
_FILES = 2000
_CHARACTERS = 300
_SHOWN = 5
_FIELDS = ("text", "category", "place")
_SEVERE = {"CRITICAL": 0, "ERROR": 1}


@dataclass
class WarningGroup:
    """Warnings whose texts differ in numbers only.

    Attributes:
        text: of the first one, in one line, safe to display.
        category: of Python's warning, or the level of the log record.
        place: file and line that warned.
        trials: the numbers of the trials.
    """

    text: str
    category: str
    place: str
    trials: set[int] = field(default_factory=set)


def warning_groups(run: RunDirectory, state: SweepState) -> list[WarningGroup]:
    """Return the warnings of all trials in groups: errors first, then those of most trials.

    A file that cannot be read counts as none, and so does a record that is no warning of a trial of the sweep. Raises
    OSError if object storage does not answer.
    """
    groups: dict[tuple[str, str], WarningGroup] = {}
    for trial, text, category, place in _records(run):
        if trial in state.trials:
            key = category, alike(text)
            groups.setdefault(key, WarningGroup(text, category, place)).trials.add(trial)
    return sorted(groups.values(), key=lambda group: (_SEVERE.get(group.category, 2), -len(group.trials), group.text))


def digest(run: RunDirectory, state: SweepState, most: int = _SHOWN) -> list[str]:
    """Return a sentence for each of the first groups: ``30 of 30 trials warned: …``; none without a warning."""
    groups = warning_groups(run, state)
    lines = [sentence(group, len(state.trials)) for group in groups[:most]]
    if len(groups) > most:
        lines.append(f"… and {len(groups) - most} other warnings; the report has more of them")
    return lines


def sentence(group: WarningGroup, trials: int) -> str:
    """Return one group in words, of so many trials."""
    verb = "logged an error" if group.category in _SEVERE else "warned"
    noun = "trial" if trials == 1 else "trials"
    return f"{len(group.trials):,} of {trials:,} {noun} {verb}: {group.text} ({group.place})"


def _records(run: RunDirectory) -> Iterator[tuple[int, str, str, str]]:
    """Yield trial, text, category and place of each record that can be read."""
    for file in run.warning_files()[:_FILES]:
        for line in run.read_text(file, _LIMIT).splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if not isinstance(record, dict) or type(record.get("trial")) is not int:
                continue
            fields = [value for name in _FIELDS if isinstance(value := record.get(name), str)]
            if len(fields) == len(_FIELDS):
                text, category, place = (visible(" ".join(value.split()))[:_CHARACTERS] for value in fields)
                yield record["trial"], text, category, place
