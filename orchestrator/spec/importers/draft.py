"""A sweep file in the making: its sections, and notes on what a person must check.

Each leaf of the source is either taken into a section, named in a note, or listed among the notes at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from orchestrator.codec import key_path
from orchestrator.spec.importers.foreign_yaml import ForeignFile, leaves
from orchestrator.spec.importers.parameter_names import target_name
from orchestrator.spec.yaml_document import Path, brief
from orchestrator.spec.yaml_text import dump

PLACEHOLDER_MODEL = "my_package.MyModel"

_EXAMPLE = """
space:
  # What to search, by the names of arguments; for example:
  # model.learning_rate: {log_uniform: [1e-4, 1e-2]}
  # data.batch_size: {choice: [64, 128]}
"""


@dataclass
class Draft:
    """The ``sections`` in the order of the file; ``notes`` become comments at the top."""

    source: ForeignFile
    sections: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source.require_writable()
        self._left = dict(leaves(self.source.data))

    def take(self, *path: str | int) -> None:
        """Mark each leaf at or below ``path`` as translated."""
        for leaf in [leaf for leaf in self._left if leaf[: len(path)] == path]:
            del self._left[leaf]

    def note(self, text: str, *path: str | int) -> None:
        """Add a note, which names the leaves at or below ``path`` if there is one."""
        self.notes.append(text)
        if path:
            self.take(*path)

    def left(self) -> list[tuple[Path, Any]]:
        """Return the leaves that are neither translated nor named in a note, with their key paths."""
        return list(self._left.items())

    def name(self, title: object = None) -> None:
        """Name the sweep by ``title``, or by the source file."""
        text = str(title) if title else FilePath(self.source.file).stem
        name = self.sections["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:100] or "sweep"
        if title and name != text:
            self.note(f"the name {text!r} became {name}")

    def text(self) -> str:
        """Return the sweep file's text."""
        left = [f"{key_path(leaf)}: {brief(repr(value))} is left out" for leaf, value in self.left()]
        notes = [*self.notes, *left]
        names = ", ".join(FilePath(file).name for file in (*self.source.before, self.source.file))
        head = [f"# Made from {names} by `sweep import`."]
        if notes:
            head += ["#", "# To check:", *(f"# - {' '.join(note.split())}" for note in notes)]
        body = dump({key: value for key, value in self.sections.items() if key != "space" or value})
        return "\n".join(head) + "\n" + body + ("" if self.sections.get("space") else _EXAMPLE.lstrip("\n"))


@dataclass(frozen=True)
class Door:
    """What the user names beside the file: classes, or code that trains without them.

    Attributes:
        model: import path of the LightningModule.
        data: import path of the LightningDataModule.
        train: path of a script, or ``package.module:function``.
    """

    model: str | None = None
    data: str | None = None
    train: str | None = None

    def target(self, name: str) -> str:
        """Return the name in ``space`` of another tool's parameter: code has its own names for them."""
        return name if self.train else target_name(name, has_data=self.data is not None)

    def open(self, draft: Draft) -> None:
        """Set the sections that say what a trial trains, for a source that does not say it."""
        if self.train:
            draft.sections["program" if self.train.endswith(".py") else "train"] = self.train
            return
        draft.sections["model"] = self.model or PLACEHOLDER_MODEL
        if self.model is None:
            draft.note(f"put your LightningModule's import path for {PLACEHOLDER_MODEL}, or pass --model or --train")
        if self.data:
            draft.sections["data"] = self.data
        draft.note("parameters became arguments of the model, except a few well-known names: check their prefixes")
