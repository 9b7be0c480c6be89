"""config.json: what was trained, on what, with which parameters and seed; enough to train it again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from orchestrator.results.winner import Winner, lineage
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply


def config(won: Winner) -> dict[str, Any]:
    """The file's content. ``reports`` (epoch → metrics) end at the exported epoch; what is not finite is null.

    ``threads`` are the CPU threads that the engine gave each trial. ``lineage`` is what to train, in order, to come to
    the weights: see `orchestrator.results.winner`.
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
        "threads": won.state.machine.get("threads"),
        "lineage": [asdict(stage) for stage in lineage(won)],
        "reports": {str(number): metrics for number, metrics in reports.items()},
    }


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The metrics as strict JSON."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
