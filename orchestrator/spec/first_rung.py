"""Check that a scheduler compares trials before their training ends."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.errors import Problem
from orchestrator.progress import EPOCHS, place, plain, span, whole
from orchestrator.spec.sweep_spec import SweepSpec

_OPTION = "grace"
"""The option of every scheduler that says where trials are first compared."""


def first_rung_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield the option that puts the first comparison after the end of every trial's training.

    This is no part of the spec's own validation: a journal may hold such a spec.
    """
    rung, end, unit = getattr(spec.scheduler, _OPTION, None), spec.longest, spec.progress.unit
    if rung is None or end is None or rung <= end:
        return
    share = end / getattr(spec.scheduler, "reduction_factor", 3)
    better = max(1, int(share)) if unit == EPOCHS and end >= 1 else whole(float(f"{share:.3g}"))
    first, trained = place(rung, unit), span(end, unit)
    message = f"scheduler {spec.scheduler.name} first compares trials at {first}, and a trial has {trained}"
    yield Problem(message, f"use {_OPTION}: {plain(better)}, or train for longer", ("scheduler", _OPTION))
