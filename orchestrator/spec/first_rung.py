"""Check that a scheduler compares trials before their training ends."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.errors import Problem
from orchestrator.spec.sweep_spec import SweepSpec

_OPTION = "grace_epochs"
"""The option of every scheduler that says after how many epochs trials are first compared."""


def first_rung_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield the option that puts the first comparison after the end of every trial's training.

    This is no part of the spec's own validation: a journal may hold such a spec.
    """
    rung, epochs = getattr(spec.scheduler, _OPTION, None), _most_epochs(spec)
    if not isinstance(rung, int) or epochs is None or rung <= epochs:
        return
    factor = getattr(spec.scheduler, "reduction_factor", 3)
    message = f"scheduler {spec.scheduler.name} first compares trials at epoch {rung}, and a trial has {epochs}"
    yield Problem(message, f"use {_OPTION}: {max(1, epochs // factor)}, or more epochs", ("scheduler", _OPTION))


def _most_epochs(spec: SweepSpec) -> int | None:
    """Return the most epochs of a trial; None if something else than a number of epochs ends it."""
    if "trainer.max_epochs" in spec.space:
        return max(int(value) for value in spec.space["trainer.max_epochs"].probes())
    epochs = spec.trainer.get("max_epochs")
    return epochs if isinstance(epochs, int) and epochs > 0 else None
