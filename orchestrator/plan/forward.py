"""Run the rest of a sweep on paper: its own scheduler decides, on curves drawn from what its trials have reported."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from orchestrator.journal import Event
from orchestrator.plan.future_curves import Curve, FutureCurves, curve_of
from orchestrator.plan.step_seconds import Speed
from orchestrator.policies.scheduler import Scheduler, Verdict
from orchestrator.policies.schedulers.fifo import FIFOScheduler
from orchestrator.progress import whole
from orchestrator.state import SweepState


@dataclass
class Runner:
    """A trial that runs or waits, as far as it is known or drawn.

    Attributes:
        progress: of its last report.
        loss: in it.
        rate: seconds for one unit of progress.
        begun: whether its segment has reported.
        curve: what its reports are taken from up to that curve's end.
        offset: what is added to them.
    """

    number: int
    progress: float
    loss: float
    rate: float
    begun: bool = False
    curve: Curve | None = None
    offset: float = 0.0


class TooLong(Exception):
    """The rest of a sweep has more reports than may be run on paper. It never leaves this room."""


class Forward:
    """The rest of one sweep, to be run on paper any number of times.

    Args:
        state: of the sweep.
        speed: measured seconds of each kind of step.
        trials: how many the sweep will have.
        horizon: where trials end.
        step: the progress from one report to the next.
        most: reports in one run.

    Attributes:
        reports: of the last run.
        trained: the progress that the last run has added.
    """

    def __init__(self, state: SweepState, speed: Speed, *, trials: int, horizon: float, step: float, most: int) -> None:
        self._state, self._speed = state, speed
        self._trials, self._horizon, self._step, self._most = trials, horizon, step, most
        curves = [(number, curve_of(state, state.trials[number])) for number in sorted(state.trials)]
        self._own = {number: curve for number, curve in curves if curve is not None}
        for number, curve in self._own.items():
            curve.speed = speed.rates.get(number, speed.usual)
        self.reports, self.trained = 0, 0.0

    def run(self, scheduler: Scheduler[Any], since: float, seed: int) -> float:
        """Return the seconds until the sweep ends.

        Args:
            scheduler: the sweep's, which has observed every event so far. It is changed.
            since: the time that has passed since the last event.
            seed: of what is drawn.

        Raises:
            TooLong: If there are more reports than allowed.
        """
        state = self._state
        self._scheduler, self._random = scheduler, Random(f"{state.seq} {seed}")
        self._future = FutureCurves(list(self._own.values()), self._random)
        self._clock, self._seq, self.reports, self.trained = 0.0, state.seq, 0, 0.0
        self._queue: list[tuple[float, int]] = []
        self._runners: dict[int, Runner] = {}
        self._waiting, self._set_aside = sorted(state.interrupted), set(state.set_aside)
        if isinstance(scheduler, FIFOScheduler):  # nobody else lets them go on
            self._waiting, self._set_aside = sorted(state.interrupted | state.set_aside), set()
        self._suggested = len(state.trials)
        slots = max(1, state.slots, len(state.running))
        for number in sorted(state.running):
            runner = self._runner(number)
            heapq.heappush(self._queue, (self._first(runner, state.steady_time + since), number))
        self._fill(slots)
        while self._queue:
            self._clock, number = heapq.heappop(self._queue)
            self._report(self._runners[number])
            self._fill(slots)
        return self._clock

    def _first(self, runner: Runner, now: float) -> float:
        """Return the seconds until a running trial's next report: its step, less what has passed of it."""
        trial = self._state.trials[runner.number]
        report = trial.reports.get(runner.progress)
        runner.begun = report is not None and report.segment == trial.segments - 1
        began = report.steady_time if report and runner.begun else trial.segment_starts.get(trial.segments - 1, now)
        return max(0.0, self._seconds(runner) - max(0.0, now - began))

    def _runner(self, number: int) -> Runner:
        if number not in self._runners:
            curve = self._own.get(number)
            rate = self._speed.rates.get(number, self._speed.usual)
            if curve:
                self._runners[number] = Runner(number, curve.end, curve.losses[-1], rate)
            else:  # it has not reported yet, and begins as a new one does
                self._runners[number] = Runner(number, 0.0, math.inf, rate, curve=self._template())
        return self._runners[number]

    def _next(self, runner: Runner) -> float:
        """Return the progress of the next report: a step on, or the end."""
        return whole(min(runner.progress + self._step, self._horizon))

    def _seconds(self, runner: Runner) -> float:
        startup = 0.0 if runner.begun else self._speed.startup
        return startup + runner.rate * max(0.0, self._next(runner) - runner.progress)

    def _fill(self, slots: int) -> None:
        while len(self._queue) < slots and (number := self._next_trial()) is not None:
            runner = self._runner(number)
            runner.begun = False
            heapq.heappush(self._queue, (self._clock + self._seconds(runner), number))

    def _next_trial(self) -> int | None:
        """Return the trial that a free slot takes: one that waits, one that is promoted, or a new one."""
        if self._waiting:
            return self._waiting.pop(0)
        if (number := self._promoted(last=False)) is not None:
            return number
        if self._suggested < self._trials:
            return self._suggest()
        return self._promoted(last=True) if self._set_aside and not self._queue else None

    def _promoted(self, *, last: bool) -> int | None:
        while (decision := self._scheduler.promote(last=last)) is not None:
            number, verdict = decision
            if verdict.action == "promote":
                self._set_aside.discard(number)
                self._tell("trial.promoted", number, rule=verdict.rule, why=dict(verdict.why))
                return number
            self._end(self._runner(number), "trial.stopped", verdict)
        return None

    def _suggest(self) -> int:
        number, self._suggested = self._suggested, self._suggested + 1
        curve = self._template()
        rate = curve.speed if curve else self._speed.usual
        self._runners[number] = Runner(number, 0.0, math.inf, rate, curve=curve)
        self._tell("trial.suggested", number, params={}, by="")
        return number

    def _template(self) -> Curve | None:
        return self._future.template() if self._own else None

    def _report(self, runner: Runner) -> None:
        """Let a trial report, and go on or end as the scheduler says."""
        before, after = runner.progress, self._next(runner)
        self.reports += 1
        if self.reports > self._most:
            raise TooLong
        runner.loss, runner.progress, runner.begun = self._loss(runner, after), after, True
        self.trained += after - before
        objective = self._scheduler.objective
        value = objective.loss(runner.loss)
        self._tell("segment.reported", runner.number, progress=after, epoch=after, metrics={objective.metric: value})
        verdict = self._scheduler.judge(runner.number, after)
        if verdict is not None:
            self._end(runner, "trial.set_aside" if verdict.action == "set_aside" else "trial.stopped", verdict)
        elif after >= self._horizon:
            self._end(runner, "trial.finished", None)
        else:
            heapq.heappush(self._queue, (self._clock + self._seconds(runner), runner.number))

    def _end(self, runner: Runner, type: str, verdict: Verdict | None) -> None:
        self._set_aside.discard(runner.number)
        if type == "trial.set_aside":
            self._set_aside.add(runner.number)
        reason: Mapping[str, Any] = {"rule": verdict.rule, "why": dict(verdict.why)} if verdict else {}
        self._tell(type, runner.number, progress=runner.progress, epoch=runner.progress, **reason)

    def _loss(self, runner: Runner, progress: float) -> float:
        """Return a trial's loss at its next report."""
        if runner.curve is None or progress > runner.curve.end * (1 + 1e-9):
            donor = self._future.donor(runner.progress, runner.loss) if math.isfinite(runner.loss) else None
            if donor is None:
                return runner.loss
            runner.curve, runner.offset = donor, runner.loss - donor.at(runner.progress)
        assert runner.curve
        if progress > runner.curve.end:
            return runner.loss
        return runner.curve.at(progress) + runner.offset

    def _tell(self, type: str, trial: int, **fields: Any) -> None:
        self._seq += 1
        self._scheduler.observe(Event(self._seq, 0, 0.0, type, {"trial": trial, "segment": 0, **fields}))
