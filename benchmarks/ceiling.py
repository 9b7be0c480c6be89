"""Measure the driver: trials and reports a second through Ray, appends, placement groups, and 1,000 slots.

    python -m benchmarks.ceiling [--only journal,ray,groups,cluster] [--trials 2000] [--simulated 20000]

- ``journal``: an append that waits for the disk, and one that does not.
- ``ray``: engine, controller, journal and Ray Tune as in any sweep, on eight slots of this machine. Only the training
  is missing, so the rest is the driver. Trials of one epoch, then trials of many. The driver's own
  processor time is given for the first and for the last quarter, which shows what grows with the trials.
- ``groups``: a placement group of Ray's, with none and with a thousand alive.
- ``cluster``: a sweep on 1,000 simulated slots (`sweep simulate` runs the same code), without Ray: seconds of this
  process, bytes of journal, memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.simulator import simulate
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.journal import Event, Journal
from orchestrator.rundir import run_at
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.training import Job, Report

SLOTS = 8
MANY_EPOCHS = 20
CLUSTER_SLOTS, CLUSTER_EPOCHS = 1000, 10


def spec(trials: int, epochs: int, **fields: Any) -> SweepSpec:
    return from_mapping(
        {
            "name": "ceiling",
            "objective": {"metric": "val_loss", "mode": "min"},
            "model": "nowhere.Noop",  # no trial trains, so nothing is imported
            "data": "nowhere.Data",
            "trainer": {"max_epochs": epochs},
            "space": {
                "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
                "model.dropout": {"uniform": [0.0, 0.5]},
                "data.batch_size": {"choice": [32, 64, 128]},
            },
            "searcher": "random",
            "scheduler": "fifo",
            "budget": {"trials": trials},
            **fields,
        }
    )


def journal(appends: int = 500) -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        log = Journal.create(Path(folder, "journal.jsonl"))
        for what, sync in (("waits for the disk", True), ("does not wait", False)):
            times = []
            for epoch in range(appends):
                began = time.perf_counter()
                log.append("segment.reported", sync=sync, trial=1, segment=0, epoch=epoch, metrics={"loss": 0.5})
                times.append(time.perf_counter() - began)
            yield f"journal: an append that {what}: median {statistics.median(times) * 1e3:.2f} ms, n = {appends}"
        log.close()


def nothing_trained(config: dict[str, str]) -> None:
    """Run in the worker in place of a segment: report, without training."""
    from ray import tune

    job = Job(**json.loads(config["job"]))
    for epoch in range(1, job.trainer["max_epochs"] + 1):
        tune.report({"report": json.dumps(asdict(Report(epoch, {"val_loss": 1.0 / epoch}, None)))})


class Clock:
    """Wall-clock and processor seconds at the end of every trial."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def __call__(self, state: SweepState, event: Event) -> None:
        if event.type == "trial.finished":
            self.ends.append((time.perf_counter(), time.process_time()))

    def quarter(self, number: int) -> tuple[float, float]:
        """Return trials a second, and milliseconds of this process a trial, in a quarter (0 to 3)."""
        size = len(self.ends) // 4
        (began, used), (ended, spent) = self.ends[number * size], self.ends[(number + 1) * size - 1]
        return (size - 1) / (ended - began), 1e3 * (spent - used) / (size - 1)


def through_ray(trials: int, epochs: int) -> Clock:
    from orchestrator.engine import tune

    described = spec(trials, epochs, resources={"cpus": len(os.sched_getaffinity(0)) / SLOTS})
    clock = Clock()
    tune.run_segment = nothing_trained  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(dir=".") as folder, StopRequests() as stopping:
        run = run_at("ceiling", Path(folder).absolute())
        run.root.mkdir()
        log = Journal.create(run.journal)
        fields = described.model_dump(mode="json")
        log.append("sweep.created", format=1, spec=fields, seed=0, versions={}, roots=[])
        live = SweepController(described, run, log, DriverHost(run, stopping), clock)
        tune.run(live, stopping, roots=[])
        live.close()
    return clock


def ray(trials: int) -> Iterator[str]:
    for count, epochs in ((trials, 1), (max(40, trials // MANY_EPOCHS), MANY_EPOCHS)):
        clock = through_ray(count, epochs)
        (early, cheap), (late, dear) = clock.quarter(0), clock.quarter(3)
        yield (
            f"ray: {count} trials of {epochs} epochs on {SLOTS} slots: {early:.0f} trials/s ({early * epochs:.0f} "
            f"reports/s) in the first quarter, {late:.0f} ({late * epochs:.0f}) in the last; the driver's processor "
            f"{cheap:.1f} and {dear:.1f} ms a trial"
        )


def groups(alive: int = 1000, count: int = 50) -> Iterator[str]:
    from orchestrator.engine.tune.ray_lifecycle import instance

    with instance(1):
        from ray.util import placement_group, remove_placement_group

        def create(number: int) -> list[float]:
            times = []
            for _ in range(number):
                began = time.perf_counter()
                alive_groups.append(placement_group([{"CPU": 0.0001}]))
                assert alive_groups[-1].wait(60)
                times.append(time.perf_counter() - began)
            return times

        alive_groups: list[Any] = []
        first = statistics.median(create(count))
        create(alive - count)
        later = statistics.median(create(count))
        yield (
            f"groups: a placement group: median {first * 1e3:.1f} ms with none alive, {later * 1e3:.1f} ms with "
            f"{alive}, n = {count}"
        )
        for group in alive_groups:
            remove_placement_group(group)


def cluster(trials: int) -> Iterator[str]:
    for searcher, scheduler in (("random", "asha"), ("density_ratio", "guarded_asha")):
        described = spec(trials, CLUSTER_EPOCHS, searcher=searcher, scheduler=scheduler)
        began = time.process_time()
        simulated = simulate(described, slots=CLUSTER_SLOTS)
        seconds = time.process_time() - began
        events = simulated.journal.count(b"\n")
        memory, size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, len(simulated.journal)
        reports = sum(len(trial.reports) for trial in simulated.state.trials.values())
        yield (
            f"cluster: {trials} trials by {searcher} and {scheduler} on {CLUSTER_SLOTS} slots: {reports} reports and "
            f"{events} events in {seconds:.0f} s of this process, {events / seconds:.0f} events/s; journal "
            f"{size / 1e6:.0f} MB, {size / trials:.0f} bytes a trial; memory {memory:.0f} MB"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="journal,ray,groups,cluster")
    parser.add_argument("--trials", type=int, default=2000, help="through Ray")
    parser.add_argument("--simulated", type=int, default=20_000, help="on simulated slots")
    options = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[str]]] = {
        "journal": journal,
        "ray": lambda: ray(options.trials),
        "groups": groups,
        "cluster": lambda: cluster(options.simulated),
    }
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores ({platform.machine()}), load {load:.1f} before, Python {platform.python_version()}, "
        f"Ray {version('ray')}"
    )
    for name in filter(None, options.only.split(",")):
        for line in parts[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main()
