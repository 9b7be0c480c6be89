"""The sweep while it runs: what to run next, what each report means. The one writer of its journal.

Engines ask it for segments and bring it reports; it asks the policies, writes the journal, and answers. It knows
neither Ray nor threads: one caller at a time.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from orchestrator.journal import Event, Journal
from orchestrator.policies import Scheduler, Searcher, Verdict, build_scheduler, build_searcher
from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
from orchestrator.state import ENDED, Checkpoint, SweepState, Trial
from orchestrator.training import Job, Report

Observer = Callable[[SweepState, Event], None]

# A process that ends without a word (killed, out of memory, node gone) costs its trial no blame until this often.
LOST_SEGMENTS = 3
# This many distinct trials that fail alike, with none that got anywhere, are one mistake and not bad luck.
SAME_FAILURES = 3


@dataclass(frozen=True)
class Failed:
    """What a segment says of its own end. ``kind`` is user, objective, data or checkpoint."""

    kind: str
    message: str
    fingerprint: str


class LiveSweep:
    """One running sweep."""

    def __init__(self, spec: SweepSpec, run: RunDirectory, journal: Journal, observer: Observer | None = None) -> None:
        self.spec, self.run, self.journal = spec, run, journal
        self.state = SweepState()
        self.stop_reason = ""
        self._observer: Observer | None = None
        self._searcher: Searcher = build_searcher(spec)
        self._scheduler: Scheduler = build_scheduler(spec)
        self._exhausted = False
        self._since = time.monotonic()
        for event in journal.events:
            self._fold(event)
        self._spent = self.state.active_seconds
        journal.events.clear()
        self._observer = observer  # it is told what happens, not what happened

    def launched(self, engine: str, slots: int) -> None:
        """An engine is about to ask for segments; ``slots`` is how many it runs at once."""
        self._since = time.monotonic()
        self._append("sweep.launched", engine=engine, slots=slots, host=socket.gethostname(), pid=os.getpid())

    def next_job(self) -> Job | Literal["none_left"]:
        """The next segment to run: interrupted trials first, by number, then new suggestions."""
        if self.stop_reason or self.out_of_time:
            return "none_left"
        waiting = min((t.number for t in self.state.trials.values() if t.status == "interrupted"), default=None)
        if waiting is not None:
            return self._job(self.state.trials[waiting])
        number = len(self.state.trials)
        if self._exhausted or number >= self.budget_trials:
            return "none_left"
        params = self._searcher.suggest(number)
        if params is None:
            self._exhausted = True
            return "none_left"
        self._append("trial.suggested", sync=False, trial=number, params=params, by=self._searcher.name)
        return self._job(self.state.trials[number])

    @property
    def budget_trials(self) -> int | float:
        return math.inf if self.spec.budget.trials is None else self.spec.budget.trials

    @property
    def out_of_time(self) -> bool:
        limit = self.spec.budget.wall_clock
        return limit is not None and self._spent + time.monotonic() - self._since >= limit

    def has_work(self) -> bool:
        """Whether trials wait that an engine has let go of (their process died), and the sweep may go on."""
        return not self.stop_reason and not self.out_of_time and self.state.count("interrupted") > 0

    def reported(self, trial: int, segment: int, report: Report) -> bool:
        """A report came in: journal it and judge. True to go on. The checkpoint is durable, and known, first."""
        if report.checkpoint is not None:
            checkpoint = asdict(report.checkpoint)
            self._append("segment.checkpointed", sync=False, trial=trial, segment=segment, **checkpoint)
        metrics = {name: _jsonable(value) for name, value in report.metrics.items()}
        self._append("segment.reported", trial=trial, segment=segment, epoch=report.epoch, metrics=metrics)
        verdict = self._scheduler.judge(trial, report.epoch)
        if verdict is None and self.out_of_time:
            verdict = Verdict("budget", {"wall_clock": self.spec.budget.wall_clock})
        if verdict is None:
            return not self.stop_reason
        why = {name: _jsonable(value) for name, value in verdict.why.items()}
        self._append("trial.stopped", trial=trial, segment=segment, epoch=report.epoch, rule=verdict.rule, why=why)
        return False

    def ended(self, trial: int, segment: int) -> None:
        """The segment's function returned: the trial is finished, unless it was stopped or told to pause."""
        if self.state.trials[trial].status == "running" and not self.stop_reason:
            self._append("trial.finished", trial=trial, segment=segment, epoch=self.state.trials[trial].epoch)

    def failed(self, trial: int, segment: int, failure: Failed) -> None:
        """The segment ended in an error of its own: the trial has failed."""
        if self.state.trials[trial].status in ENDED:
            return
        self._append("segment.failed", sync=False, trial=trial, segment=segment, **asdict(failure))
        self._append("trial.failed", trial=trial, segment=segment)
        self._stop_on_same_failures(failure)

    def lost(self, trial: int, segment: int, message: str) -> None:
        """The segment's process died. The trial waits to go on from its last checkpoint; too often, it has failed."""
        known = self.state.trials[trial]
        if known.status != "running" or self.stop_reason:
            return
        self._append("segment.failed", trial=trial, segment=segment, kind="lost", message=message, fingerprint="lost")
        if sum(failure.kind == "lost" for failure in known.failures) > LOST_SEGMENTS:
            self._append("trial.failed", trial=trial, segment=segment)

    def close(self) -> None:
        """Write how it ended and let the journal go."""
        if self.stop_reason:
            self._append("sweep.paused", reason=self.stop_reason)
        else:
            self._append("sweep.completed", reason="budget.wall_clock" if self.out_of_time else "all trials ended")
        self.journal.close()

    def _stop_on_same_failures(self, failure: Failed) -> None:
        got_somewhere = any(trial.reports for trial in self.state.trials.values())
        alike = sum(
            any(past.fingerprint == failure.fingerprint for past in trial.failures)
            for trial in self.state.trials.values()
        )
        if alike >= SAME_FAILURES and not got_somewhere:
            self.stop_reason = f"{alike} trials failed alike and none got anywhere: {failure.message}"

    def _job(self, trial: Trial) -> Job:
        """The trial's next segment, journaled as started. It goes on from the last checkpoint that is still whole."""
        model, data, trainer = apply(self.spec, trial.params)
        checkpoint, wandb = self._last_whole(trial), self.spec.tracking.wandb
        job = Job(
            trial=trial.number,
            segment=trial.segments,
            seed=trial_seed(self.spec.seed, trial.number),
            metric=self.spec.objective.metric,
            mode=self.spec.objective.mode,
            model=model.model_dump(),
            data=data.model_dump() if data else None,
            trainer=dict(trainer),
            folder=str(self.run.trial(trial.number)),
            checkpoint=asdict(checkpoint) if checkpoint else None,
            wandb={**wandb.model_dump(), "group": self.spec.name} if wandb else None,
        )
        origin = checkpoint.path if checkpoint else None
        node = socket.gethostname()
        self._append("segment.started", sync=False, trial=trial.number, segment=job.segment, node=node, origin=origin)
        return job

    def _last_whole(self, trial: Trial) -> Checkpoint | None:
        """The last checkpoint whose file is there at its full size; its SHA-256 is checked by who loads it."""
        for epoch in sorted(trial.checkpoints, reverse=True):
            checkpoint = trial.checkpoints[epoch]
            path = self.run.resolve(checkpoint.path)
            if path.exists() and path.stat().st_size == checkpoint.size:
                return checkpoint
        return None

    def _append(self, type: str, *, sync: bool = True, **fields: Any) -> None:
        self._fold(self.journal.append(type, sync=sync, **fields))

    def _fold(self, event: Event) -> None:
        self.state.apply(event)
        self._searcher.observe(event)
        self._scheduler.observe(event)
        if self._observer is not None:
            self._observer(self.state, event)


def environment(packages: Iterable[str]) -> Mapping[str, str]:
    """Versions of Python and the named distributions, for the record."""
    from importlib.metadata import PackageNotFoundError, version
    from platform import python_version

    found = {"python": python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _jsonable(value: Any) -> Any:
    """Strict JSON has no NaN and no infinity: they are written as words that ``float`` reads back."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
