"""`verify`: a run that is whole is found whole, and each thing that is not is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import JournalError
from orchestrator.journal import Event, encode, read
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState
from orchestrator.sweep import launch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    spec = from_mapping(
        {
            "name": "tiny",
            "objective": {"metric": "val_loss", "mode": "min"},
            "model": "tests.support.tiny.Tiny",
            "data": "tests.support.tiny.TinyData",
            "trainer": {"max_epochs": 2},
            "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
            "searcher": {"name": "tpe", "startup_trials": 2},
            "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
            "budget": {"trials": 4},
        }
    )
    return launch(spec, tmp_path_factory.mktemp("runs"), local=True).run


@pytest.fixture
def run(whole: RunDirectory, tmp_path: Path) -> RunDirectory:
    shutil.copytree(whole.root, tmp_path / "tiny")
    return RunDirectory(tmp_path / "tiny")


def checkpoints(run: RunDirectory) -> list[Path]:
    state = SweepState(read(run.journal))
    return [run.resolve(held.path) for trial in state.trials.values() for held in trial.checkpoints.values()]


def test_a_whole_run_is_found_whole(run: RunDirectory) -> None:
    findings = check(run)
    assert findings.violations == []
    events = list(read(run.journal))
    assert findings.records == len(events)
    assert findings.suggestions == 4
    assert findings.decisions == sum(event.type == "trial.stopped" for event in events) > 0
    held = checkpoints(run)
    assert findings.checkpoints == len(held) > 0
    assert findings.bytes == sum(path.stat().st_size for path in held)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(("damage", "says"), [(Path.unlink, "is gone"), (cut, "bytes"), (flip, "SHA-256")])
def test_a_damaged_checkpoint_is_named(run: RunDirectory, damage: Callable[[Path], None], says: str) -> None:
    path = checkpoints(run)[0]
    damage(path)
    [sentence] = check(run).violations
    assert says in sentence
    assert path.name in sentence


def rewritten(run: RunDirectory, change: Callable[[Event], dict[str, Any]]) -> None:
    """The journal as a forger would write it, with checksums that match."""
    events = [replace(event, fields={**event.fields, **change(event)}) for event in read(run.journal)]
    Path(run.journal).write_bytes(b"".join(map(encode, events)))


def test_other_parameters_are_not_what_the_searcher_suggests(run: RunDirectory) -> None:
    rewritten(run, lambda e: {"params": {"model.learning_rate": 0.1}} if e.fields.get("trial") == 3 else {})
    found = check(run).violations
    assert any("trial.suggested, trial 3" in sentence and "tpe suggests" in sentence for sentence in found)


def test_a_better_metric_is_not_what_was_judged(run: RunDirectory) -> None:
    stopped = next(event["trial"] for event in read(run.journal) if event.type == "trial.stopped")

    def change(event: Event) -> dict[str, Any]:
        mine = event.type == "segment.reported" and event["trial"] == stopped
        return {"metrics": {"val_loss": 1e-9}} if mine else {}

    rewritten(run, change)
    assert any("the scheduler made no such decision" in sentence for sentence in check(run).violations)


def test_a_path_cannot_leave_the_run_directory(run: RunDirectory) -> None:
    rewritten(run, lambda event: {"path": "../../outside.ckpt"} if event.type == "segment.checkpointed" else {})
    found = check(run).violations
    assert any("outside the run directory" in sentence for sentence in found)
    assert any(sentence.startswith("trial ") and "outside" in sentence for sentence in found)


def test_a_link_cannot_leave_the_run_directory(run: RunDirectory, tmp_path: Path) -> None:
    path = checkpoints(run)[0]
    (tmp_path / "elsewhere").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    [sentence] = check(run).violations
    assert "outside" in sentence


def test_a_damaged_journal_is_an_error(run: RunDirectory) -> None:
    flip(Path(run.journal))
    with pytest.raises(JournalError, match="damaged at byte"):
        check(run)


def test_a_journal_with_nothing_in_it_is_named(run: RunDirectory) -> None:
    Path(run.journal).write_bytes(b"")
    assert check(run).violations == ["the journal holds no record"]
    Path(run.journal).write_bytes(encode(Event(0, 1, 0.0, "sweep.launched", {"slots": 1})))
    [sentence] = check(run).violations
    assert "holds no spec" in sentence
