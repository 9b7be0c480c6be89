"""Before the first trial one batch of the user's code is run: what would fail every trial is refused by its rule."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from orchestrator.data import image_cache
from orchestrator.errors import Problem, SpecError
from orchestrator.rundir import RunDirectory
from orchestrator.sweep import code_run, preflight
from orchestrator.sweep.code_run import CodeRun
from orchestrator.training import Job
from orchestrator.training.check_finding import RULES
from orchestrator.training.code_check import one_batch
from orchestrator.training.sealed_process import load_in_process
from tests.support.mnist_files import write_mnist
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning warns of the faults, and pytest would raise
FAULTY = "tests.support.faulty_modules"
TINY = "tests.support.tiny"


def _job(folder: Path, model: str = f"{TINY}.Tiny", data: str | None = f"{TINY}.TinyData", **trainer: Any) -> Job:
    return Job(
        0, 0, 1, "val_loss", {"class_path": model, "init_args": {}}, {"class_path": data} if data else None,
        {"max_epochs": 7, **trainer}, str(folder / "run/trials/0000"), threads=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "data", "rule", "message"),
    [
        ("NoOptimizer", "TinyData", "optimizer", "NoOptimizer has no configure_optimizers"),
        ("NoneForAnOptimizer", "TinyData", "optimizer", "returns no optimizer"),
        ("NoStep", "TinyData", "step", "NoStep has no training_step"),
        ("Tiny", None, "data", "Tiny has no training data"),
        ("Tiny", "Empty", "data", "has no batch"),
        ("Tiny", "InSequence", "data", "does not train on CombinedLoader"),
        ("LogsAnotherName", "TinyData", "objective", "never logged 'val_loss'"),
    ],
)
def test_a_fault_of_every_trial_is_refused_by_its_rule(
    model: str, data: str | None, rule: str, message: str, tmp_path: Path
) -> None:
    paths = [name and f"{TINY if name in ('Tiny', 'TinyData') else FAULTY}.{name}" for name in (model, data)]
    finding = one_batch(_job(tmp_path, str(paths[0]), paths[1]))
    assert (finding.outcome, finding.rule) == ("refused", rule), finding
    assert rule in RULES
    assert message in finding.message
    assert finding.hint


def test_a_validation_at_a_part_of_data_without_a_length_is_refused(tmp_path: Path) -> None:
    finding = one_batch(_job(tmp_path, data=f"{FAULTY}.Streamed", val_check_interval=0.5))
    assert (finding.outcome, finding.rule) == ("refused", "interval"), finding
    assert "interval" in RULES
    assert finding.hint == "give a number of batches: trainer: {val_check_interval: 500}"
    assert one_batch(_job(tmp_path / "sized", val_check_interval=0.5)).outcome == "passed"


def test_state_without_a_plain_form_is_refused_by_its_key_path(tmp_path: Path) -> None:
    callbacks = [{"class_path": "tests.support.odd_state.Unwritable"}]
    finding = one_batch(_job(tmp_path, callbacks=callbacks))
    assert (finding.outcome, finding.rule) == ("refused", "state")
    assert "callbacks.Unwritable.rules[0].f" in finding.message


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Raises", "ValueError: only on this machine at "),
        ("Exits", "SystemExit: 0"),
        ("LogsLater", "never logged 'val_loss'"),
        ("CannotContinue", "could not continue from its checkpoint: KeyError: 'mine'"),
    ],
)
def test_what_may_be_of_this_machine_or_of_one_batch_is_no_refusal(model: str, message: str, tmp_path: Path) -> None:
    finding = one_batch(_job(tmp_path, f"{FAULTY}.{model}"))
    assert finding.outcome == "unclear"
    assert message in finding.message
    if model == "Raises":
        assert "faulty_modules.py:" in finding.message


@pytest.mark.parametrize(
    ("model", "trainer"),
    [
        ("tests.support.tiny.Tiny", {}),
        ("tests.support.odd_state.OddLoop", {"callbacks": [{"class_path": "tests.support.odd_state.Keep"}]}),
        ("tests.support.faulty_modules.Manual", {}),
        ("tests.support.tiny.Tiny", {"val_check_interval": 3, "precision": "16-mixed", "devices": 8, "max_steps": 100}),
        ("tests.support.tiny.Tiny", {"strategy": "ddp", "min_epochs": 5, "check_val_every_n_epoch": 3}),
        ("tests.support.tiny.Tiny",
         {"callbacks": [{"class_path": "lightning.pytorch.callbacks.LearningRateFinder"}], "num_sanity_val_steps": 2}),
    ],
)  # fmt: skip
def test_what_can_be_trained_passes(model: str, trainer: dict[str, Any], tmp_path: Path) -> None:
    assert one_batch(_job(tmp_path, model, **trainer)).outcome == "passed"


@pytest.mark.parametrize(("keeps", "workers", "reads"), [(False, 0, True), (True, 0, False), (True, 2, True)])
def test_data_that_a_resumed_trial_reads_again_are_named(
    keeps: bool, workers: int, reads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DataLoader, "__init__", DataLoader.__init__)  # as it was, after the test
    load_in_process()
    job = _job(tmp_path, data=f"{FAULTY}.Streamed")
    assert job.data is not None
    finding = one_batch(replace(job, data={**job.data, "init_args": {"keeps": keeps, "workers": workers}}))
    assert finding.outcome == "passed", finding
    name = "Remembering" if keeps else "Stream"
    expected = [f"the training data ({name}) have no state_dict()"] if reads else []
    assert [note.partition(":")[0] for note in finding.notes] == expected


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(code_run.OFF, raising=False)
    return tmp_path / "cache"


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


USERS = """
import pathlib
from tests.support.faulty_modules import Workers
from tests.support.tiny import Tiny

class Mine(Tiny):
    def {method}:
        {body}
"""


def _launch(folder: Path, method: str, body: str, *words: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(USERS.format(method=method, body=body))
    (folder / "sweep.yaml").write_text(
        "objective: {metric: val_loss, mode: min}\nmodel: mine.Mine\ndata: mine.Workers\ntrainer: {max_epochs: 1}\n"
        "searcher: random\nscheduler: fifo\nbudget: {trials: 1}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", "launch", "sweep.yaml", "--local", "--runs", "runs", *words],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_refused_launch_takes_no_name_and_leaves_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "user"
    ended = _launch(folder, "configure_optimizers(self)", "return None")
    assert ended.returncode == 2
    assert "Mine.configure_optimizers returns no optimizer" in ended.stderr
    assert "--no-preflight" in ended.stderr
    assert _files(folder) == {"mine.py", "sweep.yaml"}
    assert not (folder / "runs").exists()
    again = _launch(folder, "configure_optimizers(self)", "return None", "--no-preflight")
    assert "one batch was run" not in again.stderr
    assert (folder / "runs/sweep/journal.jsonl").exists()


@pytest.mark.slow
def test_a_launch_goes_on_with_a_warning_where_the_check_may_be_wrong(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "user"
    body = "pathlib.Path('left.txt').write_text('a'); return super().training_step(batch, index)"
    ended = _launch(folder, "training_step(self, batch, index)", body)
    assert ended.returncode == 0, ended.stderr
    assert "the check stopped where the code writes left.txt" in ended.stderr
    assert "warning: one batch was run before the start" in ended.stderr
    assert not (cache / "sweep-orchestrator").exists()


def _passed(run: CodeRun) -> bool:
    assert run._process is not None
    run.begin(run._spec)
    run._process.wait(120)
    run.require([])
    return run._process is None


@pytest.mark.slow
def test_a_run_that_passed_is_not_repeated_until_code_or_spec_change(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "own_code.py").write_text("from tests.support.tiny import Tiny\nclass Own(Tiny): ...\n")
    roots = [str(tmp_path), str(Path(__file__).parents[1])]
    fields: dict[str, Any] = {"model": "own_code.Own"}
    with CodeRun(spec(**fields), roots) as first:
        assert _passed(first)
    assert len(_files(cache / "sweep-orchestrator")) == 1
    with CodeRun(spec(**fields), roots) as second:
        assert second._process is None
    with CodeRun(spec(**fields, trainer={"max_epochs": 2}), roots) as third:
        assert third._process is not None
    (tmp_path / "own_code.py").write_text("from tests.support.tiny import Tiny\nclass Own(Tiny): x = 1\n")
    with CodeRun(spec(**fields), roots) as fourth:
        assert fourth._process is not None
        process = fourth._process
    assert process.poll() is not None  # closing it ends it


@pytest.mark.slow
@pytest.mark.usefixtures("cache")
def test_a_slow_check_does_not_hold_up_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_run, "_PATIENCE_SECONDS", 0.01)
    with CodeRun(spec(), [str(Path(__file__).parents[1])]) as run:
        folder, process = Path(run._folder), run._process
        run.begin(spec())
        run.require([])
        assert process is not None
        assert process.poll() is None
    assert process.poll() is not None
    assert not folder.exists()


def test_the_code_is_run_once_classes_are_right_and_shipped_data_are_there(tmp_path: Path) -> None:
    """The process has been started by then, and would read files that are being written, or code of any kind."""
    write_mnist(tmp_path)
    arguments: dict[str, Any] = {"data_dir": str(tmp_path), "val_size": 10}
    run = RunDirectory(tmp_path / "run")
    decoded: list[set[str]] = []

    def try_code() -> None:
        decoded.append(_files(tmp_path / image_cache.FOLDER))

    data = {"class_path": "orchestrator.data.MNISTDataModule", "init_args": arguments}
    preflight.check(spec(data=data), run, local=True, try_code=try_code)
    assert any("mnist-fit" in name for name in decoded[0]), decoded
    wrong = {**data, "init_args": {**arguments, "val_sise": 10}}
    with pytest.raises(SpecError, match="val_sise"):
        preflight.check(spec(data=wrong), run, local=True, try_code=try_code)
    assert len(decoded) == 1


def test_the_environment_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv(code_run.OFF, value)
        assert code_run.is_off() is expected


def test_a_suspicion_from_the_source_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    code_run.warn_of([Problem("Net never logs 'val_los'", "did you mean val_loss?", file="a.yaml", line=1, column=2)])
    assert capsys.readouterr().err == "warning: a.yaml:1:2: Net never logs 'val_los'\n  hint: did you mean val_loss?\n"


@pytest.mark.parametrize(("load", "seconds"), [(0.0, 15.0), (4.0, 15.0), (8.0, 30.0), (400.0, 120.0)])
def test_a_busy_machine_is_given_more_time(load: float, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert code_run._patience() == seconds


BESIDE = """
import sys
from pathlib import Path
from orchestrator.training.sealed_process import SealedWriteError, sealed_off, work_beside
project, scratch = sys.argv[1:]
work_beside(scratch)
sealed_off([project], scratch)
assert Path("own.txt").read_text() == "own"
assert Path("../data/x.txt").read_text() == "x"
assert Path("../../top.txt").read_text() == "top"
Path("../made.txt").write_text("made")
Path("made.txt").write_text("made")
for linked in ("own.txt", "../data/x.txt", "../../top.txt", "../data/new.txt"):
    try:
        Path(linked).write_text("changed")
    except SealedWriteError:
        continue
    raise AssertionError(linked)
"""


def test_a_script_reads_beside_and_above_its_folder_and_changes_nothing_there(tmp_path: Path) -> None:
    here = tmp_path / "repository/project/run"
    (here.parent / "data").mkdir(parents=True)
    here.mkdir()
    texts = {"run/own.txt": "own", "data/x.txt": "x", "../top.txt": "top"}
    for name, text in texts.items():
        (here.parent / name).write_text(text)
    (tmp_path / "scratch").mkdir()
    words = [sys.executable, "-c", BESIDE, str(here), str(tmp_path / "scratch")]
    environment = {**os.environ, "PYTHONPATH": str(Path(code_run.__file__).parents[2])}
    done = subprocess.run(words, cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {name: (here.parent / name).read_text() for name in texts} == texts
    assert not list((tmp_path / "repository").rglob("made.txt"))
