"""Small sweeps of the tiny module, and what their journals tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.journal import read
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.training import Job


def spec(**fields: Any) -> SweepSpec:
    base = {
        "name": "tiny",
        "seed": 3,
        "objective": {"metric": "val_loss", "mode": "min"},
        "model": "tests.support.tiny.Tiny",
        "data": "tests.support.tiny.TinyData",
        "trainer": {"max_epochs": 3},
        "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
        "searcher": {"name": "tpe", "startup_trials": 3},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
        "budget": {"trials": 6},
    }
    return from_mapping({**base, **fields})


def tiny_job(folder: Path, trial: int = 0, epochs: int = 2, **arguments: Any) -> Job:
    """A trial's first segment of the tiny module, in the run directory ``folder/run``."""
    return Job(
        trial=trial,
        segment=0,
        seed=1,
        metric="val_loss",
        model={"class_path": "tests.support.tiny.Tiny", "init_args": arguments},
        data={"class_path": "tests.support.tiny.TinyData", "init_args": {}},
        trainer={"max_epochs": epochs, "accelerator": "cpu"},
        folder=str(folder / f"run/trials/{trial:04d}"),
    )


def request(run: RunDirectory, trial: int | None = None) -> None:
    """What `sweep stop` leaves in the run directory."""
    run.requests.mkdir(exist_ok=True)
    run.stop_request(trial).touch()


def story(run: RunDirectory) -> list[tuple[Any, ...]]:
    """What was decided and measured, without times, files and segments: suggestions, reports, stops, ends."""
    told: list[tuple[Any, ...]] = []
    for event in read(run.journal):
        if event.type == "trial.suggested":
            told.append((event["trial"], "suggested", event["params"]))
        elif event.type == "segment.reported":
            metrics = {name: value for name, value in event["metrics"].items() if name != "pid"}
            told.append((event["trial"], "reported", event["epoch"], metrics))
        elif event.type.startswith("trial."):
            told.append((event["trial"], event.type, event.fields.get("rule"), event.fields.get("why")))
    return told
