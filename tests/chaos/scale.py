"""Many trials that do nothing, through the real driver, journal and disk: what ten thousand of them cost.

    python -m tests.chaos.scale [--trials 10000]

Prints bytes of journal a trial, seconds to resume (the journal read and checked, the state folded, searcher and
scheduler replayed, the next job handed out), seconds of ``sweep status`` from Python's start to its end, and the most
memory that the driver (beyond what it holds after one trial: PyTorch, above all) and ``sweep status`` held. Exit code 1
where one is above its limit.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.journal import Journal
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.training import Job, Report
from orchestrator.training.machine_info import hardware

LIMITS = {"journal bytes a trial": 1024, "resume s": 3.0, "status s": 2.0, "driver MB beyond": 300, "status MB": 300}


def spec(trials: int) -> SweepSpec:
    return from_mapping(
        {
            "name": "noop",
            "objective": {"metric": "val_loss", "mode": "min"},
            "model": "nowhere.Noop",  # no trial trains, so nothing is imported
            "space": {
                "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
                "model.dropout": {"uniform": [0.0, 0.5]},
                "data.batch_size": {"choice": [32, 64, 128]},
            },
            "data": "nowhere.Data",
            "trainer": {"max_epochs": 1},
            "searcher": "random",
            "scheduler": "asha",
            "budget": {"trials": trials},
        }
    )


def drive(run: RunDirectory, trials: int, *, upto: int) -> None:
    """Run trials until ``upto`` have ended, then leave without a word, as a killed driver does."""
    described = spec(trials)
    journal = Journal.create(run.journal)
    journal.append("sweep.created", format=1, spec=described.model_dump(mode="json"), seed=0, versions={}, roots=[])
    live = SweepController(described, run, journal, DriverHost(run, StopRequests()))
    live.start("noop", slots=1)
    for _ in range(upto):
        job = live.next_job()
        assert isinstance(job, Job)
        rate = job.model["init_args"]["learning_rate"]
        if live.on_report(job.trial, job.segment, Report(1, {"val_loss": rate, "val_acc": 1 - rate}, None)):
            live.on_end(job.trial, job.segment)
    live.next_job()


def resume_seconds(run: RunDirectory, trials: int) -> float:
    hardware()  # imports PyTorch, which takes as long for any sweep
    began = time.perf_counter()
    journal = Journal.open(run.journal)
    live = SweepController(spec(trials), run, journal, DriverHost(run, StopRequests()))
    live.start("noop", slots=1)
    assert live.next_job() != "none_left"
    seconds = time.perf_counter() - began
    live.stop_reason = "measured"
    live.close()
    return seconds


def peak_mb(who: int) -> float:
    return resource.getrusage(who).ru_maxrss / 1024


def driver_mb(trials: int, folder: Path) -> float:
    """The most memory that a driver of its own held; the more trials the more, so the last to be asked for counts."""
    command = [sys.executable, "-m", "tests.chaos.scale", "--trials", str(trials), "--drive", str(folder)]
    subprocess.run(command, check=True)
    return peak_mb(resource.RUSAGE_CHILDREN)


def measure(trials: int, folder: Path) -> dict[str, float]:
    run = run_at("noop", folder)
    alone = driver_mb(1, folder / "one")
    began = time.perf_counter()
    held = driver_mb(trials, folder)
    figures = {"driver s": time.perf_counter() - began, "driver MB": held, "driver MB beyond": held - alone}
    figures["journal bytes a trial"] = Path(run.journal).stat().st_size / trials
    figures["resume s"] = resume_seconds(run, trials)
    began = time.perf_counter()
    command = [sys.executable, "-m", "orchestrator", "status", "noop", "--runs", str(folder), "--json"]
    answer = subprocess.run(
        ["/usr/bin/env", "time", "-f", "%M", *command] if Path("/usr/bin/time").exists() else command,
        capture_output=True,
        text=True,
        check=True,
    )
    figures["status s"] = time.perf_counter() - began
    if Path("/usr/bin/time").exists():
        figures["status MB"] = int(answer.stderr.split()[-1]) / 1024
    assert sum(json.loads(answer.stdout)["trials"].values()) >= trials
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drive:
        drive(run_at("noop", asked.drive), asked.trials + 1, upto=asked.trials)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(asked.trials, Path(folder))
    over = [name for name, limit in LIMITS.items() if figures.get(name, 0) > limit]
    for name, value in figures.items():
        limit = f" (limit {LIMITS[name]:g})" if name in LIMITS else ""
        print(f"{asked.trials} no-op trials: {name} {value:.2f}{limit}")
    sys.exit(1 if over else 0)


if __name__ == "__main__":
    main()
