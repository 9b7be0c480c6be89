"""Sweeps on throw-away hosts, beside the same sweep unbroken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.state import SweepState
from orchestrator.sweep import launch
from tests.support.ray_hosts import cluster, state
from tests.support.small_sweeps import spec

EPOCHS = 6


REFERENCE: dict[str, Any] = {
    "seed": 5,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.25}},
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": 8},
}


@pytest.fixture
def net(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and three hosts with one CPU each."""
    with cluster(shared, tmp_path_factory.mktemp("hosts"), workers=3) as made:
        yield made


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float]]:
    """The reference sweep in this process: trials in the order of the ranking, and their values."""
    wanted = spec(**{**REFERENCE, "name": "unbroken", "model": "tests.support.tiny.Tiny"})
    return ranked(launch(wanted, tmp_path_factory.mktemp("unbroken"), local=True).state)


def ranked(state: SweepState) -> list[tuple[int, float]]:
    best = ((trial.number, state.objective.best(trial)) for trial in state.ranking())
    return [(number, found.value) for number, found in best if found]


def working(net: Any, name: str) -> dict[int, str]:
    """The trials that are running and have reported, with their hosts."""
    seen = state(net, "reference")
    return {
        number: trial.node
        for number, trial in seen.trials.items()
        if trial.status == "running" and trial.epoch and (not name or trial.node == name)
    }
