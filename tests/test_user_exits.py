"""What a user's code raises or calls to leave is that trial's failure, with its text; a signal is an interruption."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.segment_runner import _lost_loader_worker, attempt
from orchestrator.engine.stop_requests import SecondSignal
from orchestrator.errors import describe
from orchestrator.sweep import Outcome, launch, resume
from orchestrator.training import Job, Report
from tests.support.exiting import Unprintable
from tests.support.ray_sweeps import events, rows, sweep, written
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

TEXTS = {
    "exit 0": "SystemExit: 0",
    "exit text": "SystemExit: the data is bad",
    "interrupt": "KeyboardInterrupt: from the module",
    "unprintable": "Unprintable (its text cannot be shown: its __str__ raised AttributeError)",
    "unclassed": "Unclassed: odd",
    "unusual": "Unusual: of its own kind",
}


def exits(**fields: Any) -> Any:
    kinds = {"model.kind": {"choice": [*TEXTS, "ok"]}}
    base = {"model": "tests.support.exiting.Exiting", "space": kinds, "searcher": "grid", "scheduler": "fifo"}
    return spec(**{**base, "budget": {"trials": 7}, "trainer": {"max_epochs": 1}, **fields})


def check_each_is_a_user_failure(outcome: Outcome) -> None:
    trials = {trial.params["model.kind"]: trial for trial in outcome.state.trials.values()}
    assert outcome.state.status == "completed"
    assert outcome.exit_code == 0
    assert trials["ok"].status == "finished"
    for kind, text in TEXTS.items():
        failures = trials[kind].failures
        assert [(failure.kind, failure.message) for failure in failures] == [("user", text)], kind
        log = outcome.run.trial(trials[kind].number) / "logs/error_segment_0.txt"
        assert "exiting.py" in log.read_text()


def test_leaving_the_program_fails_the_trial_and_not_the_sweep(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    check_each_is_a_user_failure(launch(exits(), tmp_path, local=True))
    assert signal.getsignal(signal.SIGINT) is before, "Lightning ignores Ctrl-C after a KeyboardInterrupt"


def test_a_sweep_whose_every_trial_exits_with_zero_does_not_exit_with_zero(tmp_path: Path) -> None:
    kinds = {"model.kind": {"choice": ["exit 0"]}}
    outcome = launch(exits(space=kinds, budget={"trials": 1}), tmp_path, local=True)
    assert outcome.exit_code == 1
    assert outcome.state.count("failed") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_is_left")
def test_leaving_the_program_is_a_user_failure_under_ray(where: list[str], tmp_path: Path) -> None:
    space = {"model.kind": {"choice": ["ok", "unprintable", "exit text", "interrupt", "unusual"]}}
    model = "tests.support.exiting.Exiting"
    fields = {"model": model, "space": space, "trainer": {"max_epochs": 1}, "resources": {"cpus": 2}}
    sweep("launch", written(tmp_path, searcher="grid", scheduler="fifo", budget={}, **fields), *where)
    kinds = {row["trial"]: row["params"]["model.kind"] for row in rows()}
    failures = {kinds[each["trial"]]: each for each in events() if each["type"] == "segment.failed"}
    assert {kind: failure["message"] for kind, failure in failures.items()} == {
        kind: TEXTS[kind] for kind in kinds.values() if kind != "ok"
    }
    assert {failure["kind"] for failure in failures.values()} == {"user"}


def test_a_constructor_that_exits_fails_its_trial(tmp_path: Path) -> None:
    space = {"model.kind": {"choice": ["bad", "ok"]}}
    outcome = launch(exits(model="tests.support.exiting.ExitingInConstructor", space=space), tmp_path, local=True)
    assert {trial.params["model.kind"]: trial.status for trial in outcome.state.trials.values()} == {
        "bad": "failed",
        "ok": "finished",
    }


def job(tmp_path: Path, data: str = "tests.support.tiny.TinyData", **init_args: Any) -> Job:
    model = {"class_path": "tests.support.exiting.Exiting", "init_args": init_args}
    trainer = {"max_epochs": 1, "accelerator": "cpu"}
    folder = str(tmp_path / "trials/0000")
    return Job(0, 0, 7, "val_loss", model, {"class_path": data, "init_args": {}}, trainer, folder)


@pytest.mark.parametrize("end", [SystemExit(0), SecondSignal(), GeneratorExit()])
def test_what_the_report_raises_to_end_the_segment_passes(end: BaseException, tmp_path: Path) -> None:
    def report(report: Report) -> bool:
        raise end

    with pytest.raises(BaseException) as ended:  # noqa: PT011 (whatever it is)
        attempt(job(tmp_path), report)
    assert isinstance(ended.value, SystemExit | type(end))


def test_a_second_ctrl_c_passes_through_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.support.exiting import Exiting

    def interrupted(*args: Any) -> None:
        raise SecondSignal

    monkeypatch.setattr(Exiting, "training_step", interrupted)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        attempt(job(tmp_path), lambda report: True)


@pytest.mark.slow
def test_a_loaders_worker_that_exits_is_a_user_failure(tmp_path: Path) -> None:
    failure = attempt(job(tmp_path, "tests.support.exiting.ExitingWorker"), lambda report: True)
    assert failure is not None
    assert failure.kind == "user"


@pytest.mark.parametrize(("code", "lost"), [(3, False), (-15, True)])
def test_a_workers_end_that_is_noticed_late_is_told_by_its_exit_code(code: int, lost: bool) -> None:
    class Worker:
        exitcode = code

    class Loader:
        _workers = (Worker(),)

    fetch = "def get(self):\n    raise RuntimeError('DataLoader worker (pid(s) 7) exited unexpectedly')"
    names: dict[str, Any] = {}
    exec(compile(fetch, "/lib/torch/utils/data/dataloader.py", "exec"), names)
    with pytest.raises(RuntimeError) as raised:
        names["get"](Loader())
    assert _lost_loader_worker(raised.value) is lost


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_loaders_worker_that_a_signal_ends_is_lost(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import multiprocessing

    from tests.support.exiting import Exiting

    def signalled(self: Any, batch: Any, index: int) -> None:
        for child in multiprocessing.active_children():
            assert child.pid
            os.kill(child.pid, number)
            child.join()

    monkeypatch.setattr(Exiting, "training_step", signalled)
    failure = attempt(job(tmp_path, "tests.support.exiting.WorkerData"), lambda report: True)
    assert failure is not None
    assert failure.kind == "lost"


def test_a_signal_to_the_process_group_is_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C in a terminal: the sweep's process and a loader's worker receive it at once."""
    import multiprocessing

    from tests.support.exiting import Exiting

    step = Exiting.training_step

    def signalled(self: Any, batch: Any, index: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for child in multiprocessing.active_children():
            assert child.pid
            os.kill(child.pid, signal.SIGINT)
            child.join()

    monkeypatch.setattr(Exiting, "training_step", signalled)
    described = exits(
        data="tests.support.exiting.WorkerData", space={"model.kind": {"choice": ["ok"]}}, budget={"trials": 1}
    )
    outcome = launch(described, tmp_path, local=True)
    assert outcome.exit_code == 130
    assert outcome.state.status == "paused"
    assert not any(trial.failures for trial in outcome.state.trials.values())
    monkeypatch.setattr(Exiting, "training_step", step)
    assert resume("tiny", tmp_path, local=True).exit_code == 0


def test_an_error_is_described_whatever_its_methods_do() -> None:
    assert describe(ValueError("no data")) == "ValueError: no data"
    assert describe(ValueError()) == "ValueError"
    assert describe(Unprintable()).startswith("Unprintable (its text cannot be shown")
