"""What the run of a sweep's code before the start has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RULES = {
    "optimizer": "automatic optimization needs an optimizer from configure_optimizers",
    "step": "a LightningModule needs a training_step",
    "data": "training needs data",
    "interval": "a part of an epoch needs data with a length",
    "kind": "model and data must name what makes a module and its data",
    "state": "what a checkpoint holds must have a plain form",
    "objective": "the module must log the metrics that it is judged by",
    "progress": "reports must follow each other",
    "arguments": "a script must take the arguments that it is given",
    "suggestion": "an Optuna objective may ask for what `space` or `args` has",
    "end": "the code must run to its end",
}
"""For each fault that would make every trial fail: the rule that it breaks."""


@dataclass(frozen=True)
class Finding:
    """What the check has found.

    Attributes:
        outcome: ``passed``, ``refused`` if every trial would fail, ``unclear`` otherwise.
        rule: a key of `RULES` for ``refused``.
        message: what happened.
        hint: what to do next.
        files: the user's source files that were run, by path, with the SHA-256 of each.
        notes: what the user should know, in sentences.
    """

    outcome: Literal["passed", "refused", "unclear"]
    rule: str = ""
    message: str = ""
    hint: str = ""
    files: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()
