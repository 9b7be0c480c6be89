"""Compose the notes on a sweep: one line of text, and its parts as variables for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.policies.budget import amounts
from orchestrator.progress import counted, percent, place
from orchestrator.safe_text import visible
from orchestrator.spec import Occasion
from orchestrator.state import Best, SweepState, Trial, spec_in_force

_REQUESTED = re.compile(r"sweep stop|SIG[A-Z]+")


@dataclass(frozen=True)
class Note:
    """A note.

    Attributes:
        occasion: What happened.
        text: One line, without secrets and control characters.
        parts: The values in it, named as in the environment of a command but without ``SWEEP_``.
    """

    occasion: Occasion
    text: str
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """The note as environment variables of a command."""
        values = {"EVENT": self.occasion, "TEXT": self.text, **self.parts}
        return {f"SWEEP_{name}": value for name, value in values.items()}


def note(occasion: Occasion, name: str, text: str, **parts: object) -> Note:
    """Return the note ``sweep NAME TEXT``. Secrets and control characters in text and parts are replaced."""
    values = {key.upper(): visible(str(value)) for key, value in {"name": name, **parts}.items()}
    return Note(occasion, visible(f"sweep {name} {text}"), values)


def finished(name: str, state: SweepState) -> Note:
    """Return the note on the end of a sweep, which failed if no trial has a finite objective."""
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    if winner is None or best is None:
        return failed(name, state, f"no trial has a finite {state.objective.metric}")
    text = f"finished: {_best(state, winner, best)}, of {counted(len(state.trials), 'trial')} in {_spent(state)}"
    return note("finished", name, text, reason=state.reason, **_parts(state, winner, best))


def confirmed(name: str, state: SweepState, confirmation: Mapping[str, Any]) -> Note:
    """Return the note on the end of finals. ``state`` is that of the finals."""
    first, metric = confirmation["table"][0], state.objective.metric
    chance = percent(first["probability"], "")
    verdict = f"is confirmed ({chance})" if confirmation["clear"] else f"leads, but it is not clear ({chance})"
    verdict = verdict if len(confirmation["table"]) > 1 else "was the only finalist"
    values = f"{metric} {first['mean']:.6g} over {counted(len(first['values']), 'fresh training')}"
    text = f"finished its finals: trial {first['configuration']} {verdict}: {values}"
    return note("finished", name, text, metric=metric, value=first["mean"], trial=first["configuration"])


def failed(name: str, state: SweepState, reason: str) -> Note:
    """Return the note on a sweep that failed."""
    return note("failed", name, f"failed: {reason}; {_ended(state)}", reason=reason)


def _ended(state: SweepState) -> str:
    return f"{state.ended:,} of {counted(len(state.trials), 'trial')} ended"


def paused(name: str, state: SweepState) -> Note:
    """Return the note on a requested pause; any other pause is a failure."""
    if not _REQUESTED.fullmatch(state.reason):
        return failed(name, state, state.reason)
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    so_far = f"; {_best(state, winner, best)} so far" if winner and best else ""
    text = f"is paused ({state.reason}): {_ended(state)}{so_far}"
    parts = _parts(state, winner, best) if winner and best else {}
    return note("paused", name, text, reason=state.reason, **parts)


def new_best(name: str, state: SweepState, trial: Trial, best: Best) -> Note:
    """Return the note on a new best value."""
    return note("new_best", name, f"has a new best: {_best(state, trial, best)}", **_parts(state, trial, best))


def _best(state: SweepState, trial: Trial, best: Best) -> str:
    return f"trial {trial.number} with {state.objective.metric} {best.value:.6g} at {place(best.progress, state.unit)}"


def _parts(state: SweepState, trial: Trial, best: Best) -> dict[str, object]:
    reached = {"epoch": trial.reports[best.progress].epoch, "progress": best.progress}
    return {"metric": state.objective.metric, "value": best.value, "trial": trial.number, **reached}


def _spent(state: SweepState) -> str:
    spent: dict[str, Any] = amounts(spec_in_force(state), state)
    minutes, seconds = divmod(round(spent["wall_clock"]), 60)
    cost = f", at a cost of {spent['cost']:.4g}" if "cost" in spent else ""
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}{cost}"
