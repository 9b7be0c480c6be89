"""The words of other tools; one that the tool does not know is refused."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from orchestrator.spec.importers.foreign_yaml import ForeignFile
from orchestrator.spec.yaml_document import Path

MODES = {"minimize": "min", "maximize": "max"}
"""A sweep file's ``mode`` for the word of W&B, Optuna and Katib."""


def known(source: ForeignFile, word: Any, words: Sequence[str], what: str, path: Path) -> str:
    """Return ``word`` if it is one of ``words``; else raise SpecError with its position and the nearest one."""
    if isinstance(word, str) and word in words:
        return word
    close = get_close_matches(str(word).lower(), words, n=1, cutoff=0.5)
    starting = [each for each in words if isinstance(word, str) and len(word) > 2 and each.startswith(word.lower())]
    nearest = [*starting, *close]
    hint = f"did you mean {nearest[0]}?" if nearest else f"it is one of {', '.join(words)}"
    raise source.refusal(f"{word!r} is no {what}", hint, path)
