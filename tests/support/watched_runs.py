"""Sweeps to watch: simulated ones as run directories, of any size, whole or cut short, and written on while watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event, encode
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec, from_mapping

SPACE: dict[str, Any] = {
    "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "model.width": {"int": [1, 64]},
    "model.optimizer": {"choice": ["sgd", "adam"]},
}
ASHA = {"name": "asha", "grace_epochs": 1, "reduction_factor": 3}
WAITING = {"name": "asha", "grace_epochs": 1, "reduction_factor": 2, "promote": True}


def described(trials: int = 12, epochs: int = 9, **fields: Any) -> SweepSpec:
    base: dict[str, Any] = {
        "name": "watched",
        "objective": {"metric": "val_acc", "mode": "max"},
        "model": "nowhere.Never",
        "trainer": {"max_epochs": epochs},
        "space": SPACE,
        "searcher": "random",
        "scheduler": ASHA,
        "budget": {"trials": trials},
    }
    return from_mapping(base | fields)


@lru_cache(maxsize=8)
def _thousand() -> tuple[Event, ...]:
    return tuple(simulate(described(1000, 27), slots=8).events)


def thousand() -> list[Event]:
    """A whole sweep of a thousand trials, up to 27 epochs each, eight at once."""
    return list(_thousand())


def write(run: RunDirectory, events: Sequence[Event], mode: str = "wb") -> None:
    """The events as the run's journal, or behind it."""
    run.root.mkdir(parents=True, exist_ok=True)
    with Path(run.journal).open(mode) as file:
        file.writelines(map(encode, events))


def written(root: Path, events: Sequence[Event]) -> RunDirectory:
    run = RunDirectory(root / "watched")
    write(run, events)
    return run


def until(events: Sequence[Event], ends: Callable[[Event], bool]) -> int:
    """How many events there are up to that one, itself included."""
    return next(place for place, event in enumerate(events, 1) if ends(event))
