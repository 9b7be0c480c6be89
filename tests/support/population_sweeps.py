"""Sweeps by population based training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.journal import Event, read
from orchestrator.sweep import Outcome, launch
from tests.support.small_sweeps import spec as described

SPACE = {"model.learning_rate": {"log_uniform": [1e-4, 0.3]}, "model.momentum": {"uniform": [0.1, 0.9]}}


def swept(folder: Path, scheduler: str, **model: Any) -> Outcome:
    spec = described(
        model={"class_path": "tests.support.population.Watched", "init_args": model},
        space=SPACE, searcher="random", trainer={"max_epochs": 6}, budget={"trials": 6},
        scheduler={"name": scheduler, "interval_epochs": 2},
    )  # fmt: skip
    return launch(spec, folder, local=True)


def takeovers(outcome: Outcome) -> list[Event]:
    return [e for e in read(outcome.run.journal) if e.type == "trial.promoted" and "params" in e.fields]
