"""A sweep file in the making: its sections, and notes on what a person must check."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.spec.sweep_file import dump

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

    source: str
    sections: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def name(self, title: object = None) -> None:
        """Name the sweep by ``title``, or by the source file."""
        text = str(title) if title else Path(self.source).stem
        self.sections["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:100] or "sweep"

    def text(self) -> str:
        """Return the sweep file's text."""
        head = [f"# Made from {Path(self.source).name} by `sweep import`."]
        if self.notes:
            head += ["#", "# To check:", *(f"# - {' '.join(note.split())}" for note in self.notes)]
        body = dump({key: value for key, value in self.sections.items() if key != "space" or value})
        return "\n".join(head) + "\n" + body + ("" if self.sections.get("space") else _EXAMPLE.lstrip("\n"))
