"""The sealed test set: looked at when somebody asks, never before, and every look is on record."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from orchestrator import sweep
from orchestrator.errors import CheckpointError, RunHeldError, UsageError
from orchestrator.journal import Journal, read
from orchestrator.results import read_state
from orchestrator.results.verdict import evaluations_on_test_set
from orchestrator.results.verify import check
from orchestrator.results.winner import winner
from orchestrator.rundir import RunDirectory
from orchestrator.spec import Finalists
from orchestrator.sweep import Outcome, confirm, launch
from orchestrator.training import resolve_precision
from tests.support.paths import ROOT
from tests.support.small_sweeps import spec as local_spec
from tests.support.tiny import DataWithTest, WithTest

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A sweep with its finals, during which each reading of the test points leaves a line in ``read.txt``."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINY_TEST_READ", str(folder / "read.txt"))
        described = local_spec(
            model="tests.support.tiny.WithTest",
            data="tests.support.tiny.DataWithTest",
            budget={"trials": 3},
        )
        outcome = launch(described, folder, local=True)
        confirm(outcome.run.name, folder, finalists=Finalists(top=1, trials=3), local=True)
    return outcome


@pytest.fixture
def run(confirmed: Outcome, tmp_path: Path) -> RunDirectory:
    target = tmp_path / "runs" / confirmed.run.name
    shutil.copytree(confirmed.run.root, target)
    return RunDirectory(target)


def test_a_search_and_its_finals_read_no_test_point(confirmed: Outcome) -> None:
    assert not (confirmed.run.root.parent / "read.txt").exists()
    assert not read_state(confirmed.run).test_evaluations


def test_a_look_is_what_a_plain_trainer_sees_and_is_on_record(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_TEST_READ", str(tmp_path / "read.txt"))
    seen = sweep.test(run.name, run.root.parent)
    assert (tmp_path / "read.txt").read_text() == "read\n"
    won = winner(run, read_state(run))
    assert won.confirmed
    module = WithTest.load_from_checkpoint(won.run.resolve(won.checkpoint.path), weights_only=True)
    precision: Any = resolve_precision(accelerator="cpu")
    plain = L.Trainer(logger=False, enable_progress_bar=False, accelerator="cpu", precision=precision)
    (expected,) = plain.test(module, datamodule=DataWithTest(), verbose=False)
    assert seen.metrics == expected
    assert (seen.number, seen.earlier) == (1, [])
    again = sweep.test(run.name, run.root.parent)
    assert again.number == 2
    assert [known["metrics"] for known in again.earlier] == [seen.metrics]
    state = read_state(run)
    assert [known["look"] for known in state.test_evaluations] == [1, 2]
    assert len(evaluations_on_test_set(state)) == 2
    assert not check(run).violations


def test_a_look_that_was_cut_off_counts(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.training.checkpoint_evaluation import Evaluation

    def dies(*given: Any) -> dict[str, float]:
        assert [event.type for event in read(run.journal)][-1] == "test.begun", "on record before it is touched"
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "run", dies)
        with pytest.raises(KeyboardInterrupt):
            sweep.test(run.name, run.root.parent)
    seen = sweep.test(run.name, run.root.parent)
    assert seen.number == 2
    assert "interrupted" in evaluations_on_test_set(read_state(run))[0]


def test_what_is_not_confirmed_is_sealed_unless_somebody_insists(run: RunDirectory) -> None:
    with pytest.raises(UsageError, match="sealed until a winner is confirmed"):
        sweep.test(run.name, run.root.parent, trial=0)
    assert not read_state(run).test_evaluations
    assert sweep.test(run.name, run.root.parent, trial=0, unconfirmed=True).winner.trial.number == 0


def test_without_a_test_nothing_is_looked_at(tmp_path: Path) -> None:
    for model, data, missing in (
        ("tests.support.tiny.Tiny", "tests.support.tiny.DataWithTest", "Tiny has no test_step"),
        ("tests.support.tiny.WithTest", "tests.support.tiny.TinyData", "TinyData has no test_dataloader"),
    ):
        described = local_spec(name=missing.split()[0], model=model, data=data, budget={"trials": 1})
        outcome = launch(described, tmp_path, local=True)
        with pytest.raises(UsageError, match=missing):
            sweep.test(outcome.run.name, tmp_path, unconfirmed=True)
        assert not read_state(outcome.run).test_evaluations


def test_a_damaged_checkpoint_is_not_evaluated(run: RunDirectory) -> None:
    won = winner(run, read_state(run))
    path = won.run.resolve(won.checkpoint.path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        sweep.test(run.name, run.root.parent)
    assert not read_state(run).test_evaluations


def test_nobody_looks_while_the_sweep_is_held(run: RunDirectory) -> None:
    journal = Journal.open(run.journal)
    try:
        with pytest.raises(RunHeldError):
            sweep.test(run.name, run.root.parent)
    finally:
        journal.close()


@pytest.mark.slow
def test_the_command_prints_the_metrics_and_says_what_was_seen_before(run: RunDirectory) -> None:
    def command() -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "orchestrator", "test", run.name, "--runs", str(run.root.parent)]
        return subprocess.run(asked, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT)

    first, second = command(), command()
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout == second.stdout
    assert first.stdout.startswith("test_loss: ")
    assert "before" not in first.stderr
    assert "used once before" in second.stderr
