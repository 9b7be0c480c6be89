"""Find the folders that a sweep file fixes for callbacks, loggers and profilers, and that its trials would share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

FOLDER_ARGUMENTS = ("dirpath", "save_dir")
"""Arguments of Lightning's callbacks, profilers and loggers that name a folder."""
_SECTIONS = ("callbacks", "logger", "profiler")


def fixed_folders(trainer: Mapping[str, Any]) -> Iterator[str]:
    """Yield each fixed folder in Trainer arguments, as ``ModelCheckpoint's dirpath 'ckpts'``."""
    for section in _SECTIONS:
        value = trainer.get(section)
        for item in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(item, Mapping) or "class_path" not in item:
                continue
            name = str(item["class_path"]).rpartition(".")[2]
            for argument, place in (item.get("init_args") or {}).items():
                if argument in FOLDER_ARGUMENTS and isinstance(place, str):
                    yield f"{name}'s {argument} {place!r}"


def fixed_folders_notice(trainer: Mapping[str, Any]) -> str:
    """Return the sentence that says where trials write instead; empty if no folder is fixed."""
    folders = ", ".join(fixed_folders(trainer))
    return f"each trial writes to files/ in its own folder instead of {folders}" if folders else ""
