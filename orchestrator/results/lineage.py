"""How a trial's weights came about: what trained under which seed, up to which epoch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from orchestrator.results.winner import Winner
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
from orchestrator.state import Checkpoint, SweepState, Trial

_SEGMENT = re.compile(r"-segment=(\d+)\.ckpt$")


@dataclass(frozen=True)
class Stage:
    """Training by one trial with one set of parameters, up to the end of epoch ``until``, counted from 1.

    The first stage starts afresh, each later one from the checkpoint that the one before it ends with.
    """

    trial: int
    seed: int
    until: int
    model: dict[str, Any]
    data: dict[str, Any] | None
    trainer: dict[str, Any]


def lineage(won: Winner) -> list[Stage]:
    """The stages of a winner's weights: one, but where trials took over the weights of others on the way."""
    spec = SweepSpec.model_validate(won.state.spec)
    segment = won.trial.reports[won.best.epoch].segment
    return _stages(spec, won.state, won.trial, won.best.epoch, segment)


def _stages(spec: SweepSpec, state: SweepState, trial: Trial, epoch: int, segment: int) -> list[Stage]:
    taken = next((on for on in reversed(trial.takeovers) if on.segment <= segment), None)
    before: list[Stage] = []
    if taken:
        donor, held = state.trials[taken.donor], taken.checkpoint
        before = _stages(spec, state, donor, held.epoch, _segment(held))
    model, data, trainer = apply(spec, taken.params if taken else trial.suggested)
    described = (model.model_dump(), data.model_dump() if data else None, dict(trainer))
    stage = Stage(trial.number, trial_seed(spec.seed, trial.number), epoch, *described)
    return [*before, stage]


def _segment(held: Checkpoint) -> int:
    """Which segment wrote it: its file is named after that."""
    found = _SEGMENT.search(held.path)
    return int(found[1]) if found else 0
