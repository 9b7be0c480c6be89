"""Sweeps that nobody ran: a journal written at once, of any size and with any names."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.journal import Event
from orchestrator.journal.records import encode
from orchestrator.rundir import RunDirectory
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState

SLOTS = 8
SPACE: dict[str, Any] = {
    "model.rate": {"log_uniform": [1e-4, 1e-1]},
    "model.width": {"int": [1, 64]},
    "model.kind": {"choice": ["a", "b", "c"]},
    "model.momentum": {"uniform": [0.0, 1.0], "when": {"model.kind": "a"}},
}


def invent(
    folder: Path, trials: int, epochs: int = 9, renamed: Mapping[str, str] | None = None, **spec: Any
) -> tuple[RunDirectory, SweepState]:
    """A finished ASHA-like sweep: a third of the trials goes on at epochs 1, 3, 9 … Only ``model.rate`` matters.

    ``renamed`` gives the metric ``score`` and parameters other names, which no spec would let through.
    """
    described = from_mapping(
        {
            "name": "invented",
            "objective": {"metric": "score", "mode": "max"},
            "model": "nowhere.Never",
            "trainer": {"max_epochs": epochs},
            "space": SPACE,
            "searcher": "random",
            "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3},
            "budget": {"trials": trials},
            **spec,
        }
    )
    run = RunDirectory(folder / "invented")
    run.root.mkdir(parents=True)
    told = _story(described, trials, epochs)
    events = list(_numbered((time, type, _renamed(fields, renamed or {})) for time, type, fields in told))
    Path(run.journal).write_bytes(b"".join(map(encode, events)))
    return run, SweepState(events)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same, with other keys, and other texts where a name stands as a value."""
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _numbered(story: Iterator[tuple[float, str, dict[str, Any]]]) -> Iterator[Event]:
    for seq, (time, type, fields) in enumerate(sorted(story, key=lambda told: told[0])):
        yield Event(seq, 1, round(1_700_000_000 + time, 3), type, fields)


def _story(spec: Any, trials: int, epochs: int) -> Iterator[tuple[float, str, dict[str, Any]]]:
    rng = random.Random(0)
    yield 0, "sweep.created", {"format": 1, "spec": spec.model_dump(mode="json"), "seed": 0, "versions": {"torch": "2"}}
    yield 0.5, "sweep.launched", {"engine": "tune", "slots": SLOTS, "threads": 1, "hardware": {}}
    free = [1.0] * SLOTS
    for number in range(trials):
        slot = min(range(SLOTS), key=free.__getitem__)
        free[slot] = yield from _trial(spec, number, f"node{slot % 2}", free[slot], _length(rng, epochs), rng)
    yield max(free) + 1, "sweep.completed", {"reason": "all trials ended"}


def _length(rng: random.Random, epochs: int) -> int:
    rungs = [3**power for power in range(round(math.log(epochs, 3)) + 1) if 3**power < epochs]
    return next((rung for rung in rungs if rng.random() > 1 / 3), epochs)


def _trial(spec: Any, number: int, node: str, began: float, length: int, rng: random.Random) -> Any:
    params, where = spec.space.sample(rng), {"trial": number, "segment": 0}
    level = _level(params)
    yield began, "trial.suggested", {"trial": number, "params": params, "by": "random"}
    yield began + 0.001, "segment.started", {**where, "node": node, "origin": None}
    for epoch in range(1, length + 1):
        value = level * (1 - math.exp(-epoch / 3)) + 0.01 * rng.random()
        yield began + epoch, "segment.reported", {**where, "epoch": epoch, "metrics": {"score": value}}
    end = began + length + 0.001
    if length == spec.trainer["max_epochs"]:
        yield end, "trial.finished", {**where, "epoch": length}
    else:
        why = {"rung": length, "place": 2, "of": 3, "kept": 1, "value": level, "needed": 1.0}
        yield end, "trial.stopped", {**where, "epoch": length, "rule": "asha", "why": why}
    return end + 0.1


def _level(params: dict[str, Any]) -> float:
    rate = next((value for value in params.values() if isinstance(value, float) and value > 0), 0.5)
    return 1 / (1 + abs(math.log10(rate) + 2))
