"""Say which defaults step in where another tool's file is silent, and keep them in agreement."""

from __future__ import annotations

from typing import Any

from orchestrator.space import Space
from orchestrator.spec.importers.draft import Draft
from orchestrator.spec.sweep_spec import DEFAULT_EPOCHS, DEFAULT_TRIALS

_LIMITS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")


def note_budget(draft: Draft, word: str, habit: str) -> int:
    """Return the number of trials for a file without one, and note it. ``habit`` says what the other tool does."""
    draft.note(f"the file has no {word}: budget.trials is {DEFAULT_TRIALS}; {habit}")
    return DEFAULT_TRIALS


def set_training_length(draft: Draft, scheduler: dict[str, Any], longest: int | None = None) -> None:
    """Set ``trainer.max_epochs`` if nothing does, and bring the scheduler's first rung within it. Both are noted.

    Args:
        draft: its space is translated already.
        scheduler: the section, whose ``grace_epochs`` may be lowered.
        longest: the epochs of the longest trial, if the file says so in another way.
    """
    grace, factor = scheduler.get("grace_epochs", 1), scheduler.get("reduction_factor", 3)
    epochs = _epochs(draft)
    if epochs is None:
        epochs = longest or max(DEFAULT_EPOCHS, grace * factor if grace > 1 else 0)
        derived = f"{factor} times the first comparison at {grace}" if epochs != DEFAULT_EPOCHS else "the default"
        why = "its longest trial" if longest else derived
        draft.sections["trainer"] = {**draft.sections.get("trainer", {}), "max_epochs": epochs}
        draft.note(
            f"the file says nothing of epochs: trainer.max_epochs is {epochs}, {why}; set what the training needs"
        )
    if epochs > 1 and grace >= epochs:
        scheduler["grace_epochs"] = max(1, int(epochs / factor))
        draft.note(
            f"a first comparison at {grace} epochs would come too late for trials of {epochs:g}: "
            f"grace_epochs is {scheduler['grace_epochs']}"
        )


def _epochs(draft: Draft) -> float | None:
    """Return the most epochs of a trial; 0 if its length is set in another unit, None if nothing sets it."""
    trainer, space = draft.sections.get("trainer") or {}, draft.sections.get("space") or {}
    if "trainer.max_epochs" in space:
        values = Space({"trainer.max_epochs": space["trainer.max_epochs"]})["trainer.max_epochs"].probes()
        numbers = [value for value in values if isinstance(value, int | float)]
        return max(numbers, default=0)
    if "max_epochs" in trainer and isinstance(trainer["max_epochs"], int):
        return trainer["max_epochs"]
    limited = any(name in space or name.partition(".")[2] in trainer for name in _LIMITS)
    return 0 if limited else None
