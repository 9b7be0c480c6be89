"""Measure trials a minute on a cluster of eight hosts, against the bound of their slots.

    python -m benchmarks.scale [--hosts 8] [--trials 200] [--shared ../shared]

A head, a driver and eight hosts with one slot each, made of kernel namespaces on this machine; a sweep of 200 trials
of one epoch, which waits a second and computes next to nothing. The bound is a trial a second and slot. It counts
the trials from the first report of the last host to report until the last suggestion: before that, workers
start. It also prints the time from one report of a host to its next beyond the second, and the processor time of
hosts, driver and head. Skipped, with a reason, if hosts cannot be ray_hosts. Prints lines for people, then one of JSON;
exits with 1 below the target.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

from orchestrator.journal import Event, read

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 1.0  # that a trial waits
TARGET = 0.9
SPEC: dict[str, Any] = {
    "seed": 1,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Waiting", "init_args": {"seconds": SECONDS}},
    "data": {"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 64}},
    "trainer": {"max_epochs": 1, "accelerator": "cpu"},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 1e-1]}},
    "searcher": "random",
    "scheduler": "fifo",
    "resources": {"cpus": 1},
}


@dataclass(frozen=True)
class Figures:
    """``rate`` in trials a minute while all slots are busy; ``overhead`` in seconds from a trial to the next."""

    rate: float
    counted: int
    overall: float
    overhead: float
    cpu: dict[str, float]


def evaluate(events: list[Event], hosts: int, cpu: dict[str, float]) -> Figures:
    """Compute the figures from the journal's events.

    Raises:
        ValueError: not all hosts ever had work.
    """
    reports = [event for event in events if event.type == "segment.reported"]
    by_host: dict[str, list[float]] = defaultdict(list)
    for event, node in zip(reports, nodes(events), strict=True):
        by_host[node].append(event.time)
    if len(by_host) < hosts:
        raise ValueError(f"{len(by_host)} of {hosts} hosts had work")
    began = max(times[0] for times in by_host.values())
    ended = max(event.time for event in events if event.type == "trial.suggested")
    counted = sum(began < event.time <= ended for event in reports)
    pairs = [pair for times in by_host.values() for pair in pairwise(times)]
    gaps = [later - one for one, later in pairs if began <= one and later <= ended]
    return Figures(
        rate=60.0 * counted / (ended - began),
        counted=counted,
        overall=60.0 * len(reports) / (events[-1].time - events[0].time),
        overhead=statistics.median(gaps) - SECONDS,
        cpu=cpu,
    )


def nodes(events: list[Event]) -> list[str]:
    """Return the host of each report. A report names it only if it differs from that of the segment's start."""
    hosts, where = [], {}
    for event in events:
        if event.type == "segment.started":
            where[event.fields["trial"]] = event.fields.get("node", "")
        elif event.type == "segment.reported":
            where[event.fields["trial"]] = event.fields.get("node", where[event.fields["trial"]])
            hosts.append(where[event.fields["trial"]])
    return hosts


def measure(shared: Path, hosts: int, trials: int) -> Figures:
    """Boot the hosts, run the sweep, and read its journal."""
    ray_hosts = importlib.import_module("tests.support.ray_hosts")
    folder = Path(tempfile.mkdtemp(prefix="sc", dir="/tmp"))  # short, for the names of Ray's sockets are limited
    try:
        with ray_hosts.cluster(shared, folder, workers=hosts) as net:
            before = processors(net)
            file = ray_hosts.written(net, "scale", **SPEC, budget={"trials": trials})
            driver = ray_hosts.sweep(net, "launch", file)
            code = driver.wait(timeout=60 + 20 * trials)
            if code:
                raise RuntimeError((net.shared / "launch.log").read_text()[-2000:])
            cpu = {name: round(used - before[name], 1) for name, used in processors(net).items()}
            return evaluate(list(read(net.shared / "runs/scale/journal.jsonl")), hosts, cpu)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def processors(net: Any) -> dict[str, float]:
    """Return the seconds of processor time by host; empty if the kernel does not count them."""
    return {name: used for name, host in net.hosts.items() if (used := host.cpu_seconds()) is not None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    options = parser.parse_args()
    import pytest

    sys.path.insert(0, str(ROOT / "tests"))
    load = os.getloadavg()[0]
    began = time.monotonic()
    try:
        figures = measure(options.shared, options.hosts, options.trials)
    except pytest.skip.Exception as skipped:
        print(f"skipped: {skipped}")
        return 0
    bound = 60.0 * options.hosts / SECONDS
    where = f"{os.cpu_count()} cores ({platform.machine()}), load {load:.1f} before, Ray {version('ray')}"
    print(
        f"scale: {figures.rate:.0f} trials/minute, {figures.rate / bound:.2f} of the bound of {bound:.0f} "
        f"(target ≥ {TARGET:g}), {options.hosts} hosts, n = {figures.counted} of {options.trials}; with start-up "
        f"{figures.overall:.0f}; {figures.overhead * 1000:.0f} ms from a trial to the next beyond its second; {where}"
    )
    workers = [used for name, used in figures.cpu.items() if name.startswith("w")]
    with contextlib.suppress(KeyError):
        print(
            f"processor seconds: workers {sum(workers):.0f}, driver {figures.cpu['driver']:.0f}, head "
            f"{figures.cpu['head']:.0f}; in {time.monotonic() - began:.0f} s with the hosts' start"
        )
    summary = {"rate": figures.rate, "bound": bound, "counted": figures.counted, "overhead_s": figures.overhead}
    print(json.dumps({"scale": {**summary, "cpu_s": figures.cpu}}))
    return 0 if figures.rate >= TARGET * bound else 1


if __name__ == "__main__":
    sys.exit(main())
