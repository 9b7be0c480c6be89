"""Measure a decision as a sweep grows: each scheduler and searcher after thousands of trials.

    python -m benchmarks.decisions [--trials 10000] [--only asha,tpe]

A sweep of that many trials is simulated, a few at a time, without training: every event is observed and every report
judged, and every free slot first asks for a promotion and then for a suggestion. A scheduler's decision is to observe
a report and judge it, or to choose a promotion; a searcher's is one suggestion. Prints the median and the 99th
percentile of the last tenth of the sweep, in milliseconds of processor time, which other work changes little.

Then, for each searcher, how long it takes to give work to a thousand free slots at once, a thousand trials behind
it: suggestions, and their records in a journal on this machine's disk, in seconds on the clock.
"""

from __future__ import annotations

import argparse
import math
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.journal import Event, Journal
from orchestrator.policies import build_scheduler, build_searcher
from orchestrator.rundir import run_at
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.training import Job, Report

SLOTS, EPOCHS = 16, 9
FREE = 1000
SPACE = {f"model.x{n}": {"uniform": [0.0, 1.0]} for n in range(6)} | {
    "model.learning_rate": {"log_uniform": [1e-5, 1e-1]},
    "model.kind": {"choice": ["a", "b", "c"]},
}
SCHEDULERS: dict[str, Any] = {
    "asha": {"name": "asha"},
    "asha promote": {"name": "asha", "promote": True},
    "frontier": {"name": "frontier"},
    "guarded_asha": {"name": "guarded_asha"},
    "hyperband": {"name": "hyperband"},
    "median": {"name": "median"},
    "patience": {"name": "patience"},
    "pbt": {"name": "pbt", "interval_epochs": 3},
    "pb2": {"name": "pb2", "interval_epochs": 3},
}
SEARCHERS: dict[str, Any] = {name: {"name": name} for name in ("random", "parzen", "density_ratio", "tpe", "bohb")}


def spec(searcher: Any, scheduler: Any, trials: int) -> SweepSpec:
    return from_mapping(
        {
            "name": "decisions", "objective": {"metric": "loss", "mode": "min"}, "model": "nowhere.Never",
            "trainer": {"max_epochs": EPOCHS}, "space": SPACE, "searcher": searcher, "scheduler": scheduler,
            "budget": {"trials": trials},
        }
    )  # fmt: skip


class PlayedSweep:
    """A sweep without training; ``suggestion_times`` and ``decision_times`` hold (number of trials, seconds)."""

    def __init__(self, described: SweepSpec, trials: int) -> None:
        self.scheduler, self.searcher = build_scheduler(described), build_searcher(described)
        self.trials, self.rng, self.seq = trials, random.Random(0), 0
        self.epochs: dict[int, int] = {}
        self.levels: dict[int, float] = {}
        self.waiting: set[int] = set()
        self.running: list[int] = []
        self.suggestion_times: list[tuple[int, float]] = []
        self.decision_times: list[tuple[int, float]] = []

    def observe(self, type: str, **fields: Any) -> Event:
        event = Event(self.seq, 1, float(self.seq), type, fields)
        self.seq += 1
        self.searcher.observe(event)
        return event

    def play(self) -> None:
        while self._fill() or self.running:
            self._report(self.running[self.rng.randrange(len(self.running))])

    def _fill(self) -> bool:
        while len(self.running) < SLOTS:
            number = self._promoted(last=False)
            if number is None and len(self.epochs) < self.trials:
                number = self._suggested()
            if number is None and not self.running:
                number = self._promoted(last=True)
            if number is None:
                break
            self.running.append(number)
        return bool(self.running)

    def _promoted(self, *, last: bool) -> int | None:
        while True:
            began = time.process_time()
            promotion = self.scheduler.promote(last=last)
            self.decision_times.append((len(self.epochs), time.process_time() - began))
            if promotion is None:
                return None
            number, verdict = promotion
            taken: Mapping[str, Any] = {"donor": list(verdict.donor), "params": verdict.params} if verdict.donor else {}
            type = "trial.promoted" if verdict.action == "promote" else "trial.stopped"
            at = {"epoch": self.epochs[number], "segment": 0}
            self._to_scheduler(
                self.observe(type, trial=number, rule=verdict.rule, why=dict(verdict.why), **at, **taken)
            )
            if verdict.action == "promote":
                return number

    def _suggested(self) -> int:
        number = len(self.epochs)
        began = time.process_time()
        params = self.searcher.suggest(number)
        self.suggestion_times.append((number, time.process_time() - began))
        assert params is not None
        self.epochs[number], self.levels[number] = 0, sum((params[f"model.x{n}"] - 0.5) ** 2 for n in range(6))
        self._to_scheduler(self.observe("trial.suggested", trial=number, params=params, by=self.searcher.name))
        return number

    def _report(self, number: int) -> None:
        self.epochs[number] += 1
        epoch = self.epochs[number]
        loss = self.levels[number] + math.exp(-epoch) + 0.05 * self.rng.random()
        self._to_scheduler(
            self.observe("segment.checkpointed", trial=number, segment=0, epoch=epoch, path="", size=1, sha256="")
        )
        event = self.observe("segment.reported", trial=number, segment=0, epoch=epoch, metrics={"loss": loss})
        began = time.process_time()
        self.scheduler.observe(event)
        verdict = self.scheduler.judge(number, epoch)
        self.decision_times.append((len(self.epochs), time.process_time() - began))
        at = {"trial": number, "segment": 0, "epoch": epoch}
        if verdict:
            type = "trial.set_aside" if verdict.action == "set_aside" else "trial.stopped"
            self._to_scheduler(self.observe(type, rule=verdict.rule, why=dict(verdict.why), **at))
        elif epoch == EPOCHS:
            self._to_scheduler(self.observe("trial.finished", **at))
        if verdict or epoch == EPOCHS:
            self.running.remove(number)

    def _to_scheduler(self, event: Event) -> None:
        """Pass on an event that the searcher has observed."""
        self.scheduler.observe(event)


def filling(described: SweepSpec, ended: int, slots: int) -> float:
    """Seconds until ``slots`` free slots have a segment each, after ``ended`` trials of one epoch."""
    with tempfile.TemporaryDirectory() as folder, StopRequests() as stopping:
        run = run_at("filling", folder)
        run.root.mkdir()
        journal = Journal.create(run.journal)
        journal.append("sweep.created", format=1, spec=described.model_dump(mode="json"), seed=0, versions={}, roots=[])
        live = SweepController(described, run, journal, DriverHost(run, stopping))
        live.start("local", slots=slots)
        for _ in range(ended):
            job = live.next_job()
            assert isinstance(job, Job)
            params = live.state.trials[job.trial].params
            loss = sum((params[f"model.x{n}"] - 0.5) ** 2 for n in range(6))
            live.on_report(job.trial, 0, Report(1, {"loss": loss}, None))
            live.on_end(job.trial, 0)
        began = time.perf_counter()
        jobs = [live.next_job() for _ in range(slots)]
        seconds = time.perf_counter() - began
        assert all(isinstance(job, Job) for job in jobs)
        journal.close()
    return seconds


def line(kind: str, name: str, times: list[tuple[int, float]], trials: int) -> str:
    late = [seconds * 1e3 for number, seconds in times if number >= 0.9 * trials]
    middle, slow = statistics.median(late), statistics.quantiles(late, n=100)[98]
    return f"{kind:<10} {name:<14} {middle:8.3f} {slow:8.2f} {len(late):8d}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    print(f"{options.trials} trials, {SLOTS} at once; Python {platform.python_version()}, {platform.machine()}")
    print(f"{'':<25} {'median':>8} {'99 %':>8} {'n':>8}   (ms)")
    for name, scheduler in SCHEDULERS.items():
        if not only or name in only:
            played = PlayedSweep(spec("random", scheduler, options.trials), options.trials)
            played.play()
            print(line("scheduler", name, played.decision_times, options.trials), flush=True)
    for name, searcher in SEARCHERS.items():
        if not only or name in only:
            scheduler = SCHEDULERS["hyperband" if name == "bohb" else "asha"]
            played = PlayedSweep(spec(searcher, scheduler, options.trials), options.trials)
            played.play()
            print(line("searcher", name, played.suggestion_times, options.trials), flush=True)
    for name, searcher in SEARCHERS.items():
        if not only or name in only:
            seconds = filling(spec(searcher, "fifo", FREE * 2), FREE, FREE)
            print(f"{FREE} free slots have work after {seconds:.2f} s: {name}", flush=True)


if __name__ == "__main__":
    main()
