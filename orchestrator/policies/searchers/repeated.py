"""A searcher that sees each configuration once, however many seeds it is tried under."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.searchers.base import Searcher
from orchestrator.spec import Repeats
from orchestrator.state import Configuration, Objective

_ENDS = frozenset({"trial.finished", "trial.stopped", "trial.failed"})


@dataclass
class _Tried:
    """A configuration: its parameters, and of each of its trials the best value, the last epoch and the end."""

    params: Mapping[str, Any]
    best: dict[int, float] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    ends: dict[int, Event] = field(default_factory=dict)
    told: bool = False


class Repeated(Searcher):
    """Asks another searcher once for each configuration; its trials follow one another in number.

    The other numbers configurations as it would number trials. It is told of one when all its trials have ended: one
    report, of what the configuration is ranked by at the mean of the epochs reached, and one end. It has finished if
    all of its trials have, and failed if none has a value and one failed of something else than its parameters.
    """

    def __init__(self, then: Searcher, repeats: Repeats, objective: Objective) -> None:
        self.name, self.learns = then.name, then.learns
        self._then, self._repeats, self._objective = then, repeats, objective
        self._tried: dict[int, _Tried] = {}

    def suggest(self, number: int) -> dict[str, Any] | None:
        index = number // self._repeats.seeds
        known = self._tried.get(index)
        return dict(known.params) if known else self._then.suggest(index)

    def has(self, number: int) -> bool:
        index = number // self._repeats.seeds
        return index in self._tried or self._then.has(index)

    def first(self, number: int) -> int:
        return self._repeats.first(number)

    def by(self, number: int) -> str:
        return self._then.by(number // self._repeats.seeds)

    def observe(self, event: Event) -> None:
        if event.type == "sweep.extended":
            for number in event["trials"]:
                self.observe(replace(event, type="trial.retried", fields={"trial": number}))
            event = replace(event, fields={**event.fields, "trials": []})
        if "trial" not in event.fields:
            self._then.observe(event)
            return
        index = event["trial"] // self._repeats.seeds
        if event.type == "trial.suggested":
            if index not in self._tried:
                self._tried[index] = _Tried(event["params"])
                self._tell(event, index)
            return
        tried = self._tried[index]
        if event.type == "segment.reported":
            self._report(tried, event)
        elif event.type == "trial.retried":
            tried.ends.pop(event["trial"], None)
            if tried.told:
                tried.told = False
                self._tell(event, index)
        elif event.type in _ENDS:
            tried.ends[event["trial"]] = event
            if len(tried.ends) == self._repeats.seeds:
                tried.told = True
                self._ended(tried, index)

    def _report(self, tried: _Tried, event: Event) -> None:
        trial, value = event["trial"], self._objective.value(event["metrics"])
        if math.isfinite(value):
            known = tried.best.get(trial)
            if known is None or self._objective.loss(value) < self._objective.loss(known):
                tried.best[trial] = value
            tried.epochs[trial] = max(event["epoch"], tried.epochs.get(trial, 0))

    def _ended(self, tried: _Tried, index: int) -> None:
        ends = [tried.ends[trial] for trial in sorted(tried.ends)]
        counted = [end["trial"] for end in ends if end.type != "trial.failed" and end["trial"] in tried.best]
        if not counted:
            self._tell(next((end for end in ends if _failed_otherwise(end)), ends[0]), index)
            return
        values = [tried.best[trial] for trial in counted]
        loss = Configuration(index, counted, values, True).loss(self._objective, self._repeats.rank_by)
        metrics = {self._objective.metric: self._objective.loss(loss)}  # turning the sign twice gives the value
        epoch = max(1, sum(tried.epochs[trial] for trial in counted) // len(ends))
        self._tell(replace(ends[0], type="segment.reported"), index, segment=0, epoch=epoch, metrics=metrics)
        whole = all(end.type == "trial.finished" for end in ends)
        last = replace(ends[0], type="trial.finished" if whole else "trial.stopped")
        self._tell(last, index, rule="", why={}, epoch=epoch)

    def _tell(self, event: Event, index: int, **fields: Any) -> None:
        self._then.observe(replace(event, fields={**event.fields, "trial": index, **fields}))


def _failed_otherwise(end: Event) -> bool:
    return end.type == "trial.failed" and not str(end.fields.get("reason", "")).startswith("infeasible")
