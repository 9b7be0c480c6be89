"""How good a search is."""

from __future__ import annotations

from typing import Any

from orchestrator.policies import build_searcher
from orchestrator.spec import from_mapping
from tests.support.event_log import Log


def best(searcher: Any, seed: int, trials: int) -> float:
    """The least of a smooth function that a searcher finds, by trials that run one after another."""
    described = from_mapping(
        {
            "name": "smooth", "seed": seed, "objective": {"metric": "loss", "mode": "min"}, "model": "some.Model",
            "space": {f"model.x{axis}": {"uniform": [-1.0, 1.0]} for axis in range(4)}, "searcher": searcher,
        }
    )  # fmt: skip
    found, log, values = build_searcher(described), Log(), []
    for number in range(trials):
        params = found.suggest(number)
        assert params is not None
        values.append(sum((value - 0.3) ** 2 for value in params.values()))
        found.observe(log.add("trial.suggested", trial=number, params=params, by=found.by(number)))
        metrics = {"loss": values[-1]}
        found.observe(log.add("segment.reported", trial=number, segment=0, epoch=1, metrics=metrics))
        found.observe(log.add("trial.finished", trial=number, segment=0, epoch=1))
    return float(min(values))
