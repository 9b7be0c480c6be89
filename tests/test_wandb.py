"""W&B for real: offline runs that W&B itself writes, `wandb sync` that sends them, and servers of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.journal import read
from orchestrator.results.verify import check
from orchestrator.rundir import run_at
from orchestrator.state import SweepState
from orchestrator.sweep import Outcome, launch, resume, send
from orchestrator.tracking import unsent, wandb_transaction_log
from orchestrator.tracking.wandb_offline_runs import Ledger, parts
from orchestrator.tracking.wandb_sync import WandbSync
from tests.support.markers import sampled
from tests.support.small_sweeps import spec
from tests.support.wandb_processes import processes
from tests.support.wandb_server import WandbServer, wandb_server

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

KEY = "0123456789abcdef" * 2 + "01234567"
EPOCHS = {"max_epochs": 3, "log_every_n_steps": 1, "accelerator": "cpu"}
FIFO = {"scheduler": "fifo", "budget": {"trials": 2}, "trainer": EPOCHS}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory in which nothing is left: W&B's commands write logs, which belong to the run."""
    folder = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(folder)
    yield
    assert list(folder.iterdir()) == []


@pytest.fixture(autouse=True)
def logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, as if its owner had logged in, and nobody at the other end."""
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr("orchestrator.tracking.uploader_processes.PATIENCE_SECONDS", 60.0)  # for busy machines
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


def tracked(mode: str = "offline", model: str = "tests.support.tiny.Tiny", **fields: Any) -> Any:
    wandb = {"project": "p", "mode": mode, "log_model": "best"}
    return spec(**{**FIFO, "model": model, "tracking": {"wandb": wandb}, **fields})


def sync(outcome: Outcome, server: WandbServer) -> None:
    """Run the command that the end of the sweep told, as its reader would."""
    (notice,) = outcome.notices
    command = notice.rpartition("to send: ")[2].split()
    assert command == ["wandb", "sync", str(outcome.run.root / "wandb")]
    around = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_DIR": str(outcome.run.root)}
    done = subprocess.run([sys.executable, "-m", *command], env=around, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def by_number(server: WandbServer, what: str) -> Any:
    return next(run for name, run in server.runs.items() if name.endswith(f"-{what}"))


def assert_whole(outcome: Outcome, server: WandbServer) -> None:
    """Every epoch of the journal is there, with its values, and none twice."""
    state = SweepState(read(outcome.run.journal))
    assert len(server.runs) == len(state.trials) + 1
    for number, trial in state.trials.items():
        run = by_number(server, f"{number:04d}")
        rows = [row for row in run.rows if state.objective.metric in row]
        assert [row["epoch"] for row in rows] == sorted(trial.reports)
        for row in rows:
            assert {name: row[name] for name in trial.reports[row["epoch"]].metrics if name in row}.items() <= (
                trial.reports[row["epoch"]].metrics.items()
            )


@pytest.mark.slow
def test_what_is_told_at_the_end_sends_every_point_once(tmp_path: Path) -> None:
    outcome = launch(tracked(model="tests.support.tracked.Steps"), tmp_path, local=True)
    assert unsent(outcome.run) == outcome.notices[0]
    with wandb_server() as server:
        sync(outcome, server)
    assert_whole(outcome, server)
    trial, run = outcome.state.trials[0], by_number(server, "0000")
    assert [row["trainer/global_step"] for row in run.rows if "step_loss" in row] == list(range(12))
    rate = trial.params["model.learning_rate"]
    assert {"model.learning_rate": rate, "trial": 0, "searcher": trial.by}.items() <= run.config.items()
    assert (run.about["groupName"], run.about["jobType"], run.about["tags"]) == ("tiny", "trial", ["finished"])
    best = outcome.state.objective.best(trial)
    assert best is not None
    assert {"val_loss": best.value, "best_epoch": best.progress, "status": "finished"}.items() <= run.summary.items()
    axes = {metric["1"]: metric.get("5") for metric in run.config["_wandb"]["m"]}
    names = [metric["1"] for metric in run.config["_wandb"]["m"]]
    assert names[axes["val_loss"] - 1] == "epoch"
    assert names[axes["step_loss"] - 1] == "trainer/global_step"
    whole = by_number(server, "sweep")
    assert whole.about["jobType"] == "sweep"
    assert whole.rows[0]["ranking"]["nrows"] == 2
    winner = outcome.state.winner()
    assert winner is not None
    assert whole.summary["best_trial"] == winner.number
    kinds = {artifact["input"]["artifactTypeName"] for artifact in server.artifacts}
    assert kinds == {"run_table", "model"}
    assert check(outcome.run).violations == []


@pytest.mark.slow
def test_a_trial_that_goes_on_in_another_segment_is_one_run(tmp_path: Path) -> None:
    run = run_at("tiny", tmp_path)

    def stop_in_the_middle(state: SweepState, event: Any) -> None:
        if event.type == "segment.reported" and event["epoch"] == 2 and event["trial"] == 0:
            signal.raise_signal(signal.SIGINT)

    first = launch(tracked(model="tests.support.tracked.Own"), tmp_path, local=True, observer=stop_in_the_middle)
    assert first.state.status == "paused"
    outcome = resume("tiny", tmp_path, local=True)
    assert outcome.state.trials[0].segments == 2
    assert [part.kind for part in parts(run) if part.id.endswith("0000")].count("segment") == 2
    with wandb_server() as server:
        sync(outcome, server)
    assert_whole(outcome, server)
    found = by_number(server, "0000")
    assert [row["own"] for row in found.rows if "own" in row] == [0.0, 1.0, 2.0]
    assert len([name for name in found.files if name.startswith("media/images/picture")]) == 3
    assert found.summary["status"] == "finished"
    assert found.about["tags"] == ["finished"]


@pytest.mark.slow
def test_online_all_is_sent_when_the_sweep_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        outcome = launch(tracked("auto"), tmp_path, local=True)
    assert unsent(outcome.run) == ""
    assert_whole(outcome, server)
    for file in outcome.run.root.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file


@pytest.mark.slow
def test_what_was_cut_off_while_it_was_sent_does_not_arrive_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = launch(tracked(), tmp_path, local=True)
    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        server.keep_but_hang = 100
        options = outcome.state.spec["tracking"]["wandb"]
        shipping = WandbSync(outcome.run, Ledger(outcome.run), options)
        assert shipping.begin(set())
        until = time.monotonic() + 60
        while len([run for run in server.runs.values() if run.rows]) < 3 and time.monotonic() < until:
            time.sleep(0.1)
        assert shipping._process is not None
        shipping._process.kill()
        shipping._process.wait()
        assert "sweep sync tiny" in unsent(outcome.run)
        server.keep_but_hang = 0
        again = WandbSync(outcome.run, Ledger(outcome.run), options)
        again.finish()
    assert unsent(outcome.run) == ""
    assert_whole(outcome, server)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", sampled(["refuses", "hangs", "errors", "drops", "slow"], slow=["hangs", "errors", "drops", "slow"])
)
def test_a_hostile_server_costs_the_sweep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    ends: list[float] = []

    def note(state: SweepState, event: Any) -> None:
        if event.type == "sweep.completed":
            ends.append(time.monotonic())

    monkeypatch.setattr("orchestrator.tracking.uploader_processes.PATIENCE_SECONDS", 8.0)
    with wandb_server(mode) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        outcome = launch(tracked("online"), tmp_path, local=True, observer=note)
        # Eight seconds and little more; W&B's own limits are minutes. A busy machine gets some seconds more.
        assert time.monotonic() - ends[0] < 20.0
        assert outcome.exit_code == 0
        if mode == "slow":  # what it has, it has: the rest goes there, too
            server.mode = "good"
            assert send(outcome.run, tracked("online")) == []
    if mode != "slow":
        (notice,) = outcome.notices
        with wandb_server() as server:
            monkeypatch.setenv("WANDB_BASE_URL", server.url)
            if "sweep sync" in notice:  # a machine so busy that there was no time to write all
                assert send(outcome.run, tracked("online")) == []
            else:
                sync(outcome, server)
    assert unsent(outcome.run) == ""
    assert_whole(outcome, server)


@pytest.mark.slow
def test_nothing_outlives_a_killed_driver(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.test_wandb import tracked; from orchestrator.sweep import launch\n"
        f"launch(tracked(trainer={{'max_epochs': 10**6}}), {str(tmp_path)!r}, local=True)"
    )
    driver = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], start_new_session=True)
    try:
        until = time.monotonic() + 90
        while not (found := processes(tmp_path)) and time.monotonic() < until:
            time.sleep(0.2)
        assert found
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
    until = time.monotonic() + 20
    while processes(tmp_path) and time.monotonic() < until:
        time.sleep(0.2)
    assert processes(tmp_path) == {}


@pytest.mark.slow
def test_a_running_sweep_is_not_sent_by_hand(tmp_path: Path) -> None:
    refused: list[str] = []

    def try_to(state: SweepState, event: Any) -> None:
        if event.type == "segment.started" and not refused:
            with pytest.raises(UsageError, match="is running, and sends by itself") as caught:
                send(run_at("tiny", tmp_path), tracked())
            refused.append(str(caught.value))

    launch(tracked(budget={"trials": 1}), tmp_path, local=True, observer=try_to)
    assert refused


@pytest.mark.slow
def test_a_log_is_cut_where_it_is_told(tmp_path: Path) -> None:
    """Against W&B's own reading of what it has written: rows that span blocks of the log among them."""
    import wandb

    from orchestrator.training.loggers import QUIET

    run = wandb.init(project="p", mode="offline", dir=str(tmp_path), id="x", settings=wandb.Settings(**QUIET))
    for number in range(40):
        run.log({"number": number, "text": f"{number}" * 3000})
    run.finish()
    (log,) = tmp_path.glob("wandb/offline-run-*/run-x.wandb")
    assert wandb_transaction_log.wait_for_end(log)
    assert wandb_transaction_log.rows(log) == 40
    wandb_transaction_log.cut(log, 15)
    assert wandb_transaction_log.rows(log) == 25
    with wandb_server() as server:
        around = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_DIR": str(tmp_path)}
        subprocess.run(
            [sys.executable, "-m", "wandb", "sync", log.parent],
            env=around,
            check=True,
            timeout=60,
            capture_output=True,
        )
    assert [row["number"] for row in server.runs["x"].rows] == list(range(15, 40))
