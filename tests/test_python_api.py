"""The Python API: Python can do what the command line can; every public name is documented, and its examples run."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import orchestrator
from orchestrator import Callback, Sweep, SweepError, TrialInfo, UsageError
from orchestrator.cli import app
from tests.support.page_blocks import blocks
from tests.support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

MODEL = """
from tests.support.tiny import DataWithTest, WithTest


class Net(WithTest):
    pass


class Digits(DataWithTest):
    pass
"""
SPEC = """
name: quickstart
seed: 3
objective: {metric: val_loss, mode: min}
model: my_model.Net
data: my_model.Digits
trainer: {max_epochs: 2, accelerator: cpu}
space: {model.learning_rate: {log_uniform: [1e-3, 1e-1]}}
scheduler: fifo
budget: {trials: 2}
"""


def command(*words: str, code: int = 0) -> str:
    """Run a command in this process; return what it prints."""
    ended = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert ended.exit_code == code, ended.output
    return ended.output


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a user's module and sweep file, and two runs that the command line has launched."""
    path = tmp_path_factory.mktemp("launched")
    (path / "my_model.py").write_text(MODEL)
    (path / "sweep.yaml").write_text(SPEC)
    with pytest.MonkeyPatch.context() as patch:
        in_folder(path, patch)
        command("launch", "sweep.yaml", "--local")
        command("launch", "sweep.yaml", "--local", "--name", "paused", "--set", "budget.trials=1")
        yield path


@pytest.fixture
def folder(launched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of that folder, as the current one."""
    shutil.copytree(launched, tmp_path, dirs_exist_ok=True)
    in_folder(tmp_path, monkeypatch)
    yield tmp_path
    sys.modules.pop("my_model", None)


def in_folder(path: Path, patch: pytest.MonkeyPatch) -> None:
    patch.chdir(path)
    patch.delenv("SWEEP_RUNS", raising=False)
    patch.syspath_prepend(str(path))
    sys.modules.pop("my_model", None)


def stop_after(reports: int) -> Callback:
    """Return a callback that asks for a stop, as Ctrl-C does, at a number of reports."""

    class Stop(Callback):
        seen = 0

        def on_trial_report(self, trial: TrialInfo) -> None:
            self.seen += 1
            if self.seen == reports:
                signal.raise_signal(signal.SIGINT)

    return Stop()


MEASURING = {"Costs", "Sweep.measure"}  # their examples train in processes of their own


def examples() -> Iterator[Any]:
    """Yield each example in the docstring of a public name, or of a public method of a public class."""
    for name in orchestrator.__all__:
        value = getattr(orchestrator, name)
        if not callable(value):
            continue
        objects = {name: value}
        if inspect.isclass(value):
            objects |= {f"{name}.{key}": member for key, member in vars(value).items() if not key.startswith("_")}
        for path, documented in objects.items():
            text = inspect.getdoc(getattr(documented, "__func__", documented)) or ""
            for code in re.findall(r"```python\n(.*?)```", text, re.S):
                marks = [pytest.mark.slow] if path in MEASURING else []
                yield pytest.param(textwrap.dedent(code), id=path, marks=marks)


@pytest.mark.parametrize("code", list(examples()))
def test_an_example_runs(code: str, folder: Path) -> None:
    sweep = Sweep.from_file("sweep.yaml", name="example")
    names = {name: getattr(orchestrator, name) for name in orchestrator.__all__}
    exec(compile(code, "example", "exec"), {**names, "orchestrator": orchestrator, "sweep": sweep})


def test_every_public_name_that_is_called_has_an_example() -> None:
    exempt = {
        name
        for name in orchestrator.__all__
        if inspect.isclass(value := getattr(orchestrator, name)) and issubclass(value, Exception)
    }
    for name in set(orchestrator.__all__) - exempt:
        value = getattr(orchestrator, name)
        if callable(value):
            assert "Example:" in (inspect.getdoc(value) or ""), name
    for name, method in vars(Sweep).items():
        if not name.startswith("_") and callable(getattr(method, "__func__", method)):
            assert "Example:" in (inspect.getdoc(getattr(method, "__func__", method)) or ""), f"Sweep.{name}"


def test_the_public_names_are_those_of_the_page() -> None:
    table = (ROOT / "docs/python.md").read_text().split("## Public names")[1]
    listed = [
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(listed) == sorted(orchestrator.__all__) == dir(orchestrator)
    assert len(set(listed)) == len(listed)


def test_every_error_is_public() -> None:
    from orchestrator import errors

    tree = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert tree <= set(orchestrator.__all__)


def test_the_page_runs_from_top_to_bottom(folder: Path) -> None:
    names: dict[str, Any] = {}
    for code in blocks("docs/python.md", "python"):
        exec(compile(code, "docs/python.md", "exec"), names)
    assert names["sweep"].best().confirmed
    assert (names["folder"] / "MANIFEST.json").is_file()


@pytest.mark.slow
def test_a_script_continues_a_run_of_the_command_line(folder: Path) -> None:
    script = ROOT / "docs/examples/python_api/after_the_search.py"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "quickstart"],
        cwd=folder, env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "completed" in ended.stdout.splitlines()[0]
    assert "trial 2: finished" in ended.stdout
    assert "True" in ended.stdout
    assert (folder / "bundle" / "MANIFEST.json").is_file()
    assert len(Sweep.attach("quickstart").trials()) == 3


@pytest.mark.parametrize("form", ["name", "path", "text", "folder"])
def test_a_run_is_attached_by_name_or_path(form: str, folder: Path) -> None:
    attached = {
        "name": lambda: Sweep.attach("quickstart"),
        "path": lambda: Sweep.attach(folder / "runs" / "quickstart"),
        "text": lambda: Sweep.attach("runs/quickstart/"),
        "folder": lambda: Sweep.attach("quickstart", "runs"),
    }[form]()
    assert (attached.name, attached.status().status) == ("quickstart", "completed")
    assert attached.spec.budget.trials == 2


def test_a_run_that_is_not_there_is_refused_with_the_nearest_name(folder: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'quickstart'"):
        Sweep.attach("quickstrat")


def test_callbacks_see_every_trial_from_its_start_to_its_end(folder: Path) -> None:
    class Record(Callback):
        def __init__(self) -> None:
            self.calls: list[tuple[Any, ...]] = []

        def on_trial_start(self, trial: TrialInfo) -> None:
            self.calls.append(("start", trial.number, trial.epoch))

        def on_trial_report(self, trial: TrialInfo) -> None:
            self.calls.append(("report", trial.number, trial.epoch, "val_loss" in trial.metrics))

        def on_trial_end(self, trial: TrialInfo) -> None:
            self.calls.append(("end", trial.number, trial.status))

        def on_sweep_end(self, status: str, reason: str) -> None:
            self.calls.append(("sweep", status, reason))

    record = Record()
    Sweep.from_file("sweep.yaml", name="watched").launch(local=True, callbacks=[record])
    trials = [
        call
        for number in (0, 1)
        for call in [
            ("start", number, 0), ("report", number, 1, True), ("report", number, 2, True), ("end", number, "finished"),
        ]
    ]  # fmt: skip
    assert record.calls == [*trials, ("sweep", "completed", "all trials ended")]


def test_a_callback_that_raises_is_disabled_and_the_sweep_completes(folder: Path) -> None:
    class Broken(Callback):
        calls = 0

        def on_trial_report(self, trial: TrialInfo) -> None:
            self.calls += 1
            raise ValueError("planted")

    broken = Broken()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = Sweep.from_file("sweep.yaml", name="broken").launch(local=True, callbacks=[broken])
    assert broken.calls == 1
    assert results.state.status == "completed"
    assert any("planted" in str(warning.message) for warning in caught)


def test_a_stopped_run_is_resumed_by_name(folder: Path) -> None:
    sweep = Sweep.from_file("sweep.yaml", ["budget.trials=3"], name="stopped")
    results = sweep.launch(local=True, callbacks=[stop_after(2)])
    assert results.state.status == "paused"
    assert Sweep.attach("stopped").resume(local=True).state.status == "completed"
    assert [trial.status for trial in sweep.trials()] == ["finished"] * 3
    with pytest.raises(SweepError, match="no process runs 'stopped'"):
        sweep.stop()


def test_typed_options_equal_those_of_a_sweep_file() -> None:
    from orchestrator import ASHA, TPE, Budget

    fields: dict[str, Any] = {
        "model": "tests.support.tiny.Tiny", "objective": ("val_loss", "min"), "name": "typed",
        "trainer": {"max_epochs": 9},
        "space": {"model.learning_rate": orchestrator.log_uniform(1e-3, 0.1)},
    }  # fmt: skip
    typed = Sweep(**fields, searcher=TPE(startup_trials=20), scheduler=ASHA(grace=3), budget=Budget(trials=7))
    written = Sweep(
        **fields,
        searcher={"name": "tpe", "startup_trials": 20},
        scheduler={"name": "asha", "grace_epochs": 3},
        budget={"trials": 7},
    )
    assert typed.spec == written.spec
