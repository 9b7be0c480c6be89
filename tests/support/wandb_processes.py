"""W&B processes of a run."""

from __future__ import annotations

from pathlib import Path


def processes(folder: Path) -> dict[int, str]:
    """The trackers of runs in that folder: their command lines by process."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode().split("\0")
        except OSError:
            continue
        if "orchestrator.tracking" in words and any(word.startswith(str(folder)) for word in words):
            found[int(file.parent.name)] = " ".join(words)
    return found
