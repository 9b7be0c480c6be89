"""How much time a running sweep still takes: one estimate for every view.

The rest of the sweep is run on paper a few times (`orchestrator.plan.forward`): the sweep's own scheduler, which has
observed its journal, decides on curves that are drawn from what its trials have reported so far, and each step takes
the seconds that were measured. Budgets that end the sweep before its trials do are taken at the pace so far.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from orchestrator.errors import SweepError
from orchestrator.journal import Event, Follower, Place, store_at
from orchestrator.plan.forward import Forward, TooLong
from orchestrator.plan.step_seconds import speed
from orchestrator.policies.budget import amounts
from orchestrator.policies.distinct import distinct_trials
from orchestrator.policies.scheduler import Scheduler, foreign_scheduler, recorded_scheduler
from orchestrator.policies.schedulers.fifo import FIFO, FIFOScheduler
from orchestrator.policies.searcher import trial_limit
from orchestrator.progress import UNITS
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState, spec_in_force

_RUNS = 15
_NEAR = 0.5  # the relative distance from which on an outcome says nothing for an estimate
_MOST_REPORTS = 6_000  # over all runs on paper
_MOST_EVENTS = 50_000  # of a journal whose rest is run on paper; of a longer one the pace so far counts
_TIME_SHARE = 0.05  # of a viewer's time, at most, for estimates


@dataclass(frozen=True)
class TimeLeft:
    """What is left of a sweep.

    Attributes:
        seconds: until it ends; None if that cannot be known yet. Of a paused sweep, once it is resumed.
        share: of the whole sweep that is behind it, by time, from 0 to 1; None if that cannot be known yet.
        limit: the key of the budget that will end it before its trials do; empty if none will.
    """

    seconds: float | None
    share: float | None
    limit: str = ""


def time_left(place: Place, state: SweepState) -> TimeLeft:
    """Return what is left of the sweep with that journal, as of now."""
    return Forecast(place).time_left(state)


class Forecast:
    """The estimate for one sweep. It reads the journal beside the state, each event once; no method raises.

    Args:
        place: of the journal; None if events are given to `observe`.
    """

    def __init__(self, place: Place | None = None) -> None:
        self._follower = None if place is None else Follower(store_at(place))
        self._scheduler: Scheduler[Any] | None = None
        self._pending: list[Event] = []
        self._last: tuple[int, str, float, float | None] | None = None  # seq, status, Unix seconds, seconds left
        self._next = 0.0  # Unix seconds: the earliest next run on paper

    def observe(self, event: Event) -> None:
        """Take an event; it is used once the state includes it."""
        if event.seq == 0:
            self._pending, self._scheduler, self._last = [], None, None
        self._pending.append(event)

    def time_left(self, state: SweepState, now: float | None = None) -> TimeLeft:
        """Return what is left of a sweep.

        Args:
            state: of the sweep.
            now: the present in Unix seconds, by default the clock's. Between two events the estimate moves with it.
        """
        if state.status == "completed":
            return TimeLeft(0.0, 1.0)
        if not state.spec:
            return TimeLeft(None, None)
        now = time.time() if now is None else now
        since = max(0.0, now - state.updated) if state.status == "running" else 0.0
        try:
            spec = spec_in_force(state)
            limits = dict(_by_budget(state, spec, since))
            by_trials = self._by_trials(state, spec, now, since)
        except (SweepError, RuntimeError):  # a spec of another version; or the driver's thread has added a trial
            return TimeLeft(None, None)
        if by_trials is not None:
            limits[""] = by_trials
        if not limits:
            return TimeLeft(None, None)
        limit = min(limits, key=lambda key: limits[key])
        seconds, spent = limits[limit], state.active_seconds + since
        return TimeLeft(seconds, spent / (spent + seconds) if spent + seconds > 0 else 0.0, limit)

    def until_trials_end(self, state: SweepState) -> float | None:
        """Return the seconds until the last trial would end if no budget of time ended it; None if that is unknown."""
        if not state.spec or state.status != "running":
            return None
        now = time.time()
        try:
            return self._by_trials(state, spec_in_force(state), now, max(0.0, now - state.updated))
        except (SweepError, RuntimeError):  # as in `time_left`
            return None

    def _by_trials(self, state: SweepState, spec: SweepSpec, now: float, since: float) -> float | None:
        """Return the seconds until the last trial ends, of the last run on paper if nothing has happened since."""
        if self._last is not None:
            seq, status, at, seconds = self._last
            same = (seq, status) == (state.seq, state.status)
            if same or (status == state.status and now < self._next):
                passed = now - at if state.status == "running" else 0.0
                return None if seconds is None else max(0.0, seconds - passed)
        began = time.monotonic()
        seconds = self._on_paper(state, spec, since)
        self._last = (state.seq, state.status, now, seconds)
        self._next = now + (time.monotonic() - began) / _TIME_SHARE
        return seconds

    def _on_paper(self, state: SweepState, spec: SweepSpec, since: float) -> float | None:
        """Return the likeliest outcome of some runs of the rest; the pace so far if it cannot be run."""
        limits = [limit for limit in (trial_limit(spec), distinct_trials(spec)) if limit is not None]
        horizon, measured = _horizon(state, spec), speed(state)
        if measured is None or not limits:
            return None
        if horizon is None:
            return _at_pace(state, min(limits), since)
        step = min(horizon, median(measured.step.values()))
        rest = Forward(state, measured, trials=min(limits), horizon=horizon, step=step, most=_MOST_REPORTS)
        try:
            scheduler = self._scheduler_at(state, spec)
            if scheduler is None:
                return _at_pace(state, min(limits), since)
            seconds = [rest.run(copy.deepcopy(scheduler), since, 0)]
            runs = min(_RUNS, _MOST_REPORTS // max(1, rest.reports))
            seconds += [rest.run(copy.deepcopy(scheduler), since, number) for number in range(1, runs)]
        except TooLong:
            return _at_pace(state, min(limits), since)
        except Exception:  # of a plug-in's scheduler, or because of a journal that no program has written
            return _at_pace(state, min(limits), since)
        return _likeliest(seconds)

    def _scheduler_at(self, state: SweepState, spec: SweepSpec) -> Scheduler[Any] | None:
        """Return the scheduler as it is after the state's events; None if it cannot be run on paper."""
        recorded = recorded_scheduler(state.spec["scheduler"])
        if recorded is None or not recorded[0].forecasts or foreign_scheduler(spec) or state.seq > _MOST_EVENTS:
            return None
        if recorded[0].population:
            return FIFOScheduler(FIFO(), spec)  # every trial is trained to the end
        for event in self._follower.events() if self._follower else ():
            self.observe(event)
        if self._scheduler is None:
            self._scheduler = recorded[0].build(recorded[1], spec)
        ready = [event for event in self._pending if event.seq <= state.seq]
        for event in ready:
            self._scheduler.observe(event)
        self._pending = self._pending[len(ready) :]
        return self._scheduler


def _horizon(state: SweepState, spec: SweepSpec) -> float | None:
    """Return where trials end: as the spec says, else the furthest that one has ended."""
    if spec.longest is not None:
        return spec.longest
    return max((trial.progress for trial in state.trials.values() if trial.status == "finished"), default=None)


def _likeliest(outcomes: list[float]) -> float:
    """Return the number of seconds that most outcomes are near to, relative to each.

    Where the rest may go one way or another, with one more trial to its end or none, the middle may be far from both.
    """
    candidates = [share * outcome for outcome in sorted(outcomes) for share in (1.0, 0.9, 1.1)]

    def support(seconds: float) -> float:
        distances = (abs(seconds / outcome - 1) / _NEAR if outcome > 0 else float(seconds > 0) for outcome in outcomes)
        return sum(max(0.0, 1 - distance**2) for distance in distances)

    return max(candidates, key=support)


def _at_pace(state: SweepState, trials: int, since: float) -> float | None:
    """Return the seconds until all trials have ended, at the pace so far; those set aside count as ended."""
    ended = state.count("finished", "stopped", "failed", "set_aside")
    return max(0.0, state.active_seconds * (trials - ended) / ended - since) if ended else None


def _by_budget(state: SweepState, spec: SweepSpec, since: float) -> Iterator[tuple[str, float]]:
    """Yield, for each limited budget but that of trials, the seconds until it is spent at the pace so far."""
    budget, spent = spec.budget, amounts(spec, state)
    if budget.wall_clock is not None:
        yield "wall_clock", max(0.0, budget.wall_clock - spent["wall_clock"] - since)
    for key in (*UNITS, "gpu_hours", "cost"):
        limit = getattr(budget, key, None)
        if limit is None or not spent.get(key) or not state.active_seconds:
            continue
        left = limit * (1 - budget.reserve) - spent[key]
        yield key, max(0.0, left * state.active_seconds / spent[key] - since)
