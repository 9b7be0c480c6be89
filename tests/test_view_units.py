"""No view speaks of epochs where a sweep is measured in something else."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal.lease import acquire
from orchestrator.spec import from_mapping
from orchestrator.testing import Faults, simulate
from tests.support.every_view import every_view
from tests.support.watched_runs import written

UNITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "epochs": ("epochs", {"max_epochs": 27}),
    "steps": ("steps", {"max_steps": 2700, "val_check_interval": 100, "check_val_every_n_epoch": None}),
    "samples": ({"unit": "samples", "every": "2k samples", "until": "54k samples"}, {}),
    "seconds": ({"unit": "seconds", "every": 20}, {"max_time": "00:00:09:00"}),
    "metric:tokens_seen": ({"unit": "metric:tokens_seen", "every": 1e6, "until": "27M tokens_seen"}, {}),
}
SCHEDULERS: list[Any] = [
    "asha", {"name": "asha", "promote": True}, "guarded_asha", "hyperband", "median", "patience", "pbt", "pb2", "fifo",
]  # fmt: skip


def described(unit: str, seed: int) -> dict[str, Any]:
    """A sweep that uses much of what there is to show."""
    rng = random.Random(seed)
    progress, trainer = UNITS[unit]
    scheduler = SCHEDULERS[seed % len(SCHEDULERS)]
    fields: dict[str, Any] = {"constraints": [{"metric": "val_acc", "max": 0.6}]} if rng.random() < 0.3 else {}
    if scheduler not in ("pbt", "pb2") and rng.random() < 0.3:
        fields["repeats"] = {"seeds": 2}
    budget = {"trials": 12} | ({"wall_clock": 200} if rng.random() < 0.3 else {})
    return {
        "name": "watched",
        "seed": seed,
        "objective": {"metric": "val_acc", "mode": "max"},
        "model": "nowhere.Never",
        "trainer": trainer,
        "progress": progress,
        "space": {"model.rate": {"log_uniform": [1e-4, 1e-1]}, "model.width": {"uniform": [1, 64]}},
        "searcher": "random",
        "scheduler": scheduler,
        "budget": budget,
        **fields,
    }


def shown(folder: Path, unit: str, seed: int) -> list[tuple[str, str]]:
    """Every view of a sweep that has ended, was cut off, or runs."""
    rng = random.Random(seed)
    faults = Faults(crash=0.05, lost=0.1, power=0.3)
    events = simulate(from_mapping(described(unit, seed)), slots=2, seed=seed, faults=faults).events
    events = events[: rng.choice([len(events), len(events) * 2 // 3, len(events) // 3])]
    run = written(folder, events)
    lease = acquire(run.root / "lease", after=events[-1].lease)
    try:
        return list(every_view(run, events))
    finally:
        lease.release()


def check(folder: Path, unit: str, seed: int) -> None:
    views = shown(folder, unit, seed)
    spoken = {name: match.group() for name, text in views if (match := re.search("(?i).{0,60}epoch.{0,60}", text))}
    if unit == "epochs":
        assert {"why", "results", "verdict", "report", "report, Markdown", "watch, columns", "plan"} <= spoken.keys()
    else:
        assert spoken == {}
        word = "min" if unit == "seconds" else unit.removeprefix("metric:")
        assert any(word in text for name, text in views if name == "plan")


@pytest.mark.parametrize(
    "unit",
    [unit if unit in ("steps", "metric:tokens_seen") else pytest.param(unit, marks=pytest.mark.slow) for unit in UNITS],
)
def test_views_speak_the_unit(tmp_path: Path, unit: str) -> None:
    check(tmp_path, unit, 0)


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS)
def test_views_speak_the_unit_whatever_the_scheduler(tmp_path: Path, unit: str) -> None:
    for seed in range(1, len(SCHEDULERS) + 1):
        check(tmp_path, unit, seed)
