"""Events as a journal numbers them, for tests of policies without a sweep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from orchestrator.journal import Event
from orchestrator.spec import SweepSpec

SPACE = {
    "model.x": {"uniform": [0.0, 1.0]},
    "model.kind": {"choice": ["a", "b", "c"]},
    "model.depth": {"int": [1, 5]},
    "model.only_a": {"log_uniform": [1e-4, 1e-1], "when": {"model.kind": "a"}},
    "model.noise": {"normal": [0.0, 2.0]},
}


def spec(searcher: Any = "tpe", scheduler: Any = "asha", **fields: Any) -> SweepSpec:
    base = {
        "name": "s",
        "seed": 5,
        "objective": {"metric": "loss", "mode": "min"},
        "model": "some.Model",
        "space": SPACE,
    }
    return SweepSpec.model_validate({**base, "searcher": searcher, "scheduler": scheduler, **fields})


class Log:
    """Events numbered as a journal numbers them."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, type: str, **fields: Any) -> Event:
        event = Event(len(self.events), 1, 0.0, type, fields)
        self.events.append(event)
        return event


def score(params: dict[str, Any], epoch: int) -> float:
    value: float = (params["model.x"] - 0.3) ** 2 + 0.1 * (params["model.kind"] != "b") + 1 / epoch
    return value


def sweep(log: Log, searcher: Any, trials: int, in_flight: int) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """A little sweep with up to ``in_flight`` trials running, some failing, some stopped."""
    running: list[int] = []
    known: dict[int, dict[str, Any]] = {}
    for number in range(trials):
        params = searcher.suggest(number)
        yield number, params
        known[number] = params
        searcher.observe(log.add("trial.suggested", trial=number, params=params, by=searcher.by(number)))
        running.append(number)
        if len(running) == in_flight:
            ended = running.pop(number % len(running))
            for epoch in (1, 2):
                value = score(known[ended], epoch) if ended % 7 else math.nan
                metrics = {"loss": value if math.isfinite(value) else "nan"}
                searcher.observe(log.add("segment.reported", trial=ended, segment=0, epoch=epoch, metrics=metrics))
            outcome = ("trial.finished", "trial.stopped", "trial.failed")[ended % 5 if ended % 5 < 3 else 0]
            extra = {"epoch": 2, "rule": "asha", "why": {}} if outcome == "trial.stopped" else {}
            searcher.observe(log.add(outcome, trial=ended, segment=0, **extra))


def report(log: Log, scheduler: Any, trial: int, epoch: int, value: float) -> Any:
    metrics = {"loss": value if math.isfinite(value) else str(value)}
    scheduler.observe(log.add("segment.reported", trial=trial, segment=0, epoch=epoch, metrics=metrics))
    return scheduler.judge(trial, epoch)
