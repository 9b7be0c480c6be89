"""Word the notes on a sweep: one line for people, and its parts for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.policies.budget import amounts
from orchestrator.safe_text import visible
from orchestrator.spec import Occasion, SweepSpec
from orchestrator.state import Best, SweepState, Trial

_ASKED = re.compile(r"sweep stop|SIG[A-Z]+")


@dataclass(frozen=True)
class Note:
    """``text`` is one line without secrets and control characters; ``parts`` are named as in the environment."""

    occasion: Occasion
    text: str
    parts: dict[str, str] = field(default_factory=dict)

    @property
    def variables(self) -> dict[str, str]:
        """As environment variables of a command."""
        said = {"EVENT": self.occasion, "TEXT": self.text, **self.parts}
        return {f"SWEEP_{name}": value for name, value in said.items()}


def note(occasion: Occasion, name: str, said: str, **parts: object) -> Note:
    """What is said, with its parts in words for programs. All of it may hold what others wrote."""
    found = {key.upper(): _inert(str(value)) for key, value in {"name": name, **parts}.items()}
    return Note(occasion, _inert(f"sweep {name} {said}"), found)


def _inert(text: str) -> str:
    return visible(text)


def finished(name: str, state: SweepState) -> Note:
    """The end of a sweep: it failed where no trial has a value."""
    won = state.winner()
    best = state.objective.best(won) if won else None
    if won is None or best is None:
        return failed(name, state, f"no trial has a finite {state.objective.metric}")
    said = f"finished: {_best(state, won, best)}, of {len(state.trials)} trials in {_spent(state)}"
    return note("finished", name, said, reason=state.reason, **_parts(state, won, best))


def confirmed(name: str, state: SweepState, confirmation: Mapping[str, Any]) -> Note:
    """The end of finals, whose state this is."""
    first, metric = confirmation["table"][0], state.objective.metric
    sure = "is confirmed" if confirmation["clear"] else "leads, but it is not clear"
    found = f"{metric} {first['mean']:.6g} over {len(first['values'])} fresh trainings"
    said = f"finished its finals: trial {first['configuration']} {sure} ({first['probability']:.0%}): {found}"
    return note("finished", name, said, metric=metric, value=first["mean"], trial=first["configuration"])


def failed(name: str, state: SweepState, reason: str) -> Note:
    """Return the note on a sweep that failed."""
    ended = state.count("finished", "stopped")
    return note("failed", name, f"failed: {reason}; {ended} of {len(state.trials)} trials have ended", reason=reason)


def paused(name: str, state: SweepState) -> Note:
    """A pause that somebody asked for; any other is a failure."""
    if not _ASKED.fullmatch(state.reason):
        return failed(name, state, state.reason)
    ended, won = state.count("finished", "stopped", "failed"), state.winner()
    best = state.objective.best(won) if won else None
    so_far = f"; {_best(state, won, best)} so far" if won and best else ""
    said = f"is paused ({state.reason}): {ended} of {len(state.trials)} trials have ended{so_far}"
    return note("paused", name, said, reason=state.reason, **(_parts(state, won, best) if won and best else {}))


def new_best(name: str, state: SweepState, trial: Trial, best: Best) -> Note:
    """Return the note on a new best value."""
    return note("new_best", name, f"has a new best: {_best(state, trial, best)}", **_parts(state, trial, best))


def _best(state: SweepState, trial: Trial, best: Best) -> str:
    return f"trial {trial.number} with {state.objective.metric} {best.value:.6g} at epoch {best.epoch}"


def _parts(state: SweepState, trial: Trial, best: Best) -> dict[str, object]:
    return {"metric": state.objective.metric, "value": best.value, "trial": trial.number, "epoch": best.epoch}


def _spent(state: SweepState) -> str:
    found: dict[str, Any] = amounts(SweepSpec.model_validate(state.spec), state)
    minutes, seconds = divmod(round(found["wall_clock"]), 60)
    cost = f", at a cost of {found['cost']:.4g}" if "cost" in found else ""
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}{cost}"
