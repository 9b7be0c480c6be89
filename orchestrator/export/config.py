"""config.json: what was trained, on what, with which parameters and seed; enough to train it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.journal import read
from orchestrator.results.winner import Winner
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply


def config(won: Winner) -> dict[str, Any]:
    """The file's content. ``reports`` (epoch → metrics) end at the exported epoch; what is not finite is null.

    ``threads`` are the CPU threads that the engine gives a trial, null where it takes the machine's. ``takeovers`` says
    whether the trial went on from another's checkpoint, so that training it alone would not give these weights.
    """
    spec = SweepSpec.model_validate(won.state.spec)
    trial, epoch = won.trial, won.best.epoch
    params = trial.params_at(epoch)
    model, data, trainer = apply(spec, params)
    reports = {number: finite(trial.reports[number].metrics) for number in sorted(trial.reports) if number <= epoch}
    return {
        "model": model.model_dump(),
        "data": data.model_dump() if data else None,
        "trainer": dict(trainer),
        "params": params,
        "trial": trial.number,
        "epoch": epoch,
        "metrics": reports[epoch],
        "objective": won.state.spec["objective"],
        "metric": won.state.objective.metric,
        "required": won.state.objective.metrics[1:],
        "seed": trial_seed(spec.seed, trial.number),
        "resources": spec.resources.model_dump(),
        "threads": _threads(won, spec),
        "takeovers": bool(trial.takeovers),
        "reports": {str(number): metrics for number, metrics in reports.items()},
    }


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The metrics as strict JSON."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _threads(won: Winner, spec: SweepSpec) -> int | None:
    """Ray gives a trial's process as many threads as it has CPUs; the engine of this process leaves the machine's."""
    engines = [event["engine"] for event in read(won.run.journal) if event.type == "sweep.launched"]
    return None if not engines or engines[-1] == "local" else max(1, int(spec.resources.cpus))
