"""TensorBoard and MLflow by name, and what a trial's own loggers do and leave alone."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
from lightning.pytorch.loggers import WandbLogger

from orchestrator.engine.simulator import simulate
from orchestrator.errors import UsageError
from orchestrator.spec import Notification, from_mapping
from orchestrator.sweep import Outcome, launch, resume
from orchestrator.tracking import check
from orchestrator.tracking.metric_stream import integer_steps, points
from orchestrator.tracking.uploader_processes import send
from orchestrator.training import Job, fit
from tests.support.callbacks import Recorded
from tests.support.small_sweeps import spec
from tests.support.wandb_processes import processes
from tests.support.wandb_server import wandb_server

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:mlflow"),
]

TRAINER = {"max_epochs": 3, "log_every_n_steps": 1, "accelerator": "cpu"}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.uploader_processes.PATIENCE_SECONDS", 60.0)  # for busy machines


def tracked(tracking: dict[str, Any], **fields: Any) -> Any:
    few = {
        "scheduler": "fifo",
        "budget": {"trials": 2},
        "trainer": TRAINER,
        "model": "tests.support.tracked.Steps",
    }
    return spec(**{**few, "tracking": tracking, **fields})


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's event files hold: steps and values by tag."""
    Event: Any = importlib.import_module("tensorboardX.proto.event_pb2").Event  # no type information

    found: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            size = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + size])
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
            place += size + 16
    return found


def test_tensorboard_has_every_epoch_in_the_trials_folder(tmp_path: Path) -> None:
    outcome = launch(tracked({"tensorboard": True}), tmp_path, local=True)
    for number, trial in outcome.state.trials.items():
        found = events(outcome.run.trial(number) / "tensorboard")
        values = [report.metrics["val_loss"] for report in trial.reports.values()]
        assert [value for _, value in found["val_loss"]] == pytest.approx(values)
        assert [step for step, _ in found["val_loss"]] == [3, 7, 11]
        assert len(found["step_loss"]) == 12
    assert outcome.notices == []


def mlflow_runs(outcome: Outcome) -> Any:
    from mlflow.tracking import MlflowClient

    client = MlflowClient((outcome.run.root / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment
    return client, {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.slow
def test_mlflow_has_a_run_a_trial_with_every_point_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    def stop_in_the_middle(state: Any, event: Any) -> None:
        if event.type == "segment.reported" and event["epoch"] == 2 and event["trial"] == 0:
            signal.raise_signal(signal.SIGINT)

    launch(tracked({"mlflow": True}), tmp_path, local=True, observer=stop_in_the_middle)
    outcome = resume("tiny", tmp_path, local=True)
    if (
        outcome.notices
    ):  # beside other tests MLflow may not be done when the sweep ends, which says how to send the rest
        assert all("MLflow has not received everything" in notice for notice in outcome.notices)
        assert send(outcome.run, tracked({"mlflow": True})) == []
    client, found = mlflow_runs(outcome)
    assert sorted(found) == ["tiny-0000", "tiny-0001", "tiny-sweep"]
    for number, trial in outcome.state.trials.items():
        tracked_run = found[f"tiny-{number:04d}"]
        history = client.get_metric_history(tracked_run.info.run_id, "val_loss")
        assert [(point.step, point.value) for point in history] == [
            (epoch, report.metrics["val_loss"]) for epoch, report in trial.reports.items()
        ]
        steps = client.get_metric_history(tracked_run.info.run_id, "step_loss")
        assert sorted(point.step for point in steps) == list(range(12))
        assert tracked_run.data.params["model.learning_rate"] == str(trial.params["model.learning_rate"])
        assert tracked_run.data.tags["mlflow.parentRunId"] == found["tiny-sweep"].info.run_id
        assert tracked_run.info.status == "FINISHED"
    winner = outcome.state.winner()
    assert winner is not None
    assert found["tiny-sweep"].data.tags["sweep.best_trial"] == str(winner.number)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hangs", "errors"])
def test_a_hostile_mlflow_costs_the_sweep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("orchestrator.tracking.uploader_processes.PATIENCE_SECONDS", 9.0)
    ends: list[float] = []

    def note(state: Any, event: Any) -> None:
        if event.type == "sweep.completed":
            ends.append(time.monotonic())

    with wandb_server(mode) as server:
        outcome = launch(tracked({"mlflow": {"tracking_uri": server.url}}), tmp_path, local=True, observer=note)
        assert time.monotonic() - ends[0] < 20.0  # nine seconds, and some more on a busy machine
    assert outcome.exit_code == 0
    (notice,) = outcome.notices
    assert notice.endswith(f"sweep sync tiny --runs {tmp_path}")


@pytest.mark.slow
def test_where_all_hang_the_end_waits_for_them_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.uploader_processes.PATIENCE_SECONDS", 9.0)
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    ends: list[float] = []

    def note(state: Any, event: Any) -> None:
        if event.type == "sweep.completed":
            ends.append(time.monotonic())

    with wandb_server("hangs") as server:
        for name in ("WANDB_BASE_URL", "HOOK"):
            monkeypatch.setenv(name, server.url)
        monkeypatch.setenv("SWEEP_WEBHOOK_HOSTS", "127.0.0.1")
        wanted = tracked({"mlflow": {"tracking_uri": server.url}, "wandb": {"project": "p", "mode": "online"}})
        told = wanted.model_copy(update={"notify": [Notification.model_validate({"webhook": "$HOOK"})]})
        outcome = launch(told, tmp_path, local=True, observer=note)
        assert 8.0 < time.monotonic() - ends[0] < 17.0  # one after another would take 27 s
    assert (outcome.exit_code, len(outcome.notices)) == (0, 2)


@pytest.mark.slow
def test_the_processes_beside_give_way_to_all_others(tmp_path: Path) -> None:
    pids: set[int] = set()

    def note(state: Any, event: Any) -> None:
        until = time.monotonic() + 60
        while event.type == "sweep.completed" and not pids and time.monotonic() < until:
            pids.update(pid for pid in processes(tmp_path) if os.getpriority(os.PRIO_PROCESS, pid) == 19)
            time.sleep(0.01)

    launch(tracked({"wandb": {"project": "p", "mode": "offline"}}), tmp_path, local=True, observer=note)
    assert len(pids) == 1


def test_a_missing_mlflow_is_said_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.extras.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="needs mlflow, which is not installed"):
        launch(tracked({"mlflow": True}), tmp_path, local=True)
    assert not (tmp_path / "tiny").exists()
    check(tracked({"tensorboard": True}))


def job(folder: Path, **tracking: dict[str, Any]) -> Job:
    named = {"id": "run-x-0003", "name": "run-0003", "group": "run"}
    return Job(
        trial=3,
        segment=0,
        seed=11,
        metric="val_loss",
        model={"class_path": "tests.support.tracked.Steps", "init_args": {}},
        data={"class_path": "tests.support.tiny.TinyData", "init_args": {}},
        trainer={**TRAINER, "callbacks": [{"class_path": "tests.test_trackers.NoteLoggers", "init_args": {}}]},
        folder=str(folder / "run/trials/0003"),
        tracking={name: {**options, **named} for name, options in tracking.items()},
    )


class NoteLoggers(L.Callback):
    """Notes the trainer's loggers."""

    seen: ClassVar[list[Any]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        type(self).seen[:] = trainer.loggers


ALONE = """
import socket, sys
from pathlib import Path
from tests.test_trackers import NoteLoggers, job
from orchestrator.training import fit
from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger, WandbLogger

def refuse(*args):
    raise AssertionError("a trial has talked to the network")

socket.socket.connect = refuse
for name in ("wandb", "mlflow"):
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]
server = {"tracking_uri": "http://127.0.0.1:9", "experiment": "e"}
trackers = {"wandb": {"project": "p"}, "mlflow": server, "tensorboard": {"flush_secs": 30}}
fit(job(Path(sys.argv[1]), **trackers), lambda report: True)
kinds = [WandbLogger, MLFlowLogger, TensorBoardLogger]
print([isinstance(logger, kind) for logger, kind in zip(NoteLoggers.seen, kinds)])
print([name for name in ("wandb", "mlflow") if name in sys.modules])
"""


@pytest.mark.slow
def test_loggers_are_lightnings_own_and_none_asks_the_network(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ALONE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == ["[True, True, True]", "[]"], done.stderr
    assert not (tmp_path / "run/wandb").exists()


def test_a_broken_wandb_costs_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import wandb

    begin = wandb.init

    def refuse(*args: Any, **options: Any) -> Any:
        if options["mode"] == "disabled":
            return begin(*args, **options)
        raise RuntimeError("no service")

    monkeypatch.setattr(wandb, "init", refuse)
    wanted = job(tmp_path, wandb={"project": "p"})
    reports = Recorded[Any]()
    own = {**wanted.model, "class_path": "tests.support.tracked.Own"}
    fit(replace(wanted, model=own), reports.keep)
    assert len(reports) == 3
    assert "continues without W&B: RuntimeError: no service" in caplog.text


def test_a_disabled_wandb_is_no_logger(tmp_path: Path) -> None:
    fit(job(tmp_path, wandb={"project": "p", "mode": "disabled"}), lambda report: True)
    assert not any(isinstance(logger, WandbLogger) for logger in NoteLoggers.seen)


def test_values_of_steps_and_of_reports_are_told_apart(tmp_path: Path) -> None:
    outcome = launch(
        spec(model="tests.support.tracked.Steps", trainer=TRAINER, budget={"trials": 1}), tmp_path, local=True
    )
    (trial,) = outcome.state.trials.values()
    found = points(outcome.run, trial, "val_loss")
    assert [point.epoch for point in found if point.of_report] == [1, 2, 3]
    assert [point.step for point in found if "step_loss" in point.values] == list(range(12))
    assert not any("step_loss" in point.values for point in found if point.of_report)
    assert {point.epoch for point in points(outcome.run, trial, "val_loss", skip=[1, 2])} == {3}
    (outcome.run.trial(0) / "logs/segment_0/metrics.csv").write_text("step,epoch\nx,y\n")
    assert [point.values for point in points(outcome.run, trial, "val_loss")] == [
        report.metrics for report in trial.reports.values()
    ]


def test_the_steps_before_a_report_within_an_epoch_are_streamed_once(tmp_path: Path) -> None:
    trainer = {**TRAINER, "val_check_interval": 0.5}
    outcome = launch(
        spec(model="tests.support.tracked.Steps", trainer=trainer, budget={"trials": 1}), tmp_path, local=True
    )
    (trial,) = outcome.state.trials.values()
    assert list(trial.reports) == [0.5, 1, 1.5, 2, 2.5, 3]
    found = points(outcome.run, trial, "val_loss")
    by_report = {
        progress: [point.step for point in found if point.progress == progress and "step_loss" in point.values]
        for progress in trial.reports
    }
    assert by_report == {0.5: [0, 1], 1: [2, 3], 1.5: [4, 5], 2: [6, 7], 2.5: [8, 9], 3: [10, 11]}
    assert integer_steps(outcome.state, trial) == {0.5: 2, 1: 4, 1.5: 6, 2: 8, 2.5: 10, 3: 12}


@pytest.mark.parametrize(
    ("trainer", "progress", "expected"),
    [
        ({"max_epochs": 3}, None, [1, 2, 3]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, None, [2, 3]),
        ({"max_epochs": 2, "val_check_interval": 0.5}, None, [1, 2, 3, 4]),  # the simulator counts no steps here
        ({"max_steps": 300}, {"unit": "steps", "every": 100}, [100, 200, 300]),
        ({}, {"unit": "samples", "every": 1000, "until": 3000}, [1, 2, 3]),
    ],
)
def test_steps_of_a_tracker_are_whole_and_increase(trainer: Any, progress: Any, expected: list[int]) -> None:
    described = {
        "name": "a", "model": "a.B", "objective": {"metric": "loss", "mode": "min"}, "budget": {"trials": 1},
        "space": {"model.x": {"uniform": [0, 1]}}, "scheduler": "fifo", "trainer": trainer, "progress": progress,
    }  # fmt: skip
    state = simulate(from_mapping(described)).state
    trial = state.trials[0]
    steps = integer_steps(state, trial)
    assert list(steps.values()) == expected
    assert list(steps) == sorted(trial.reports)
    last = max(trial.reports)
    del trial.reports[last]  # what is sent already keeps its step when others follow
    assert integer_steps(state, trial) == {at: step for at, step in steps.items() if at != last}
