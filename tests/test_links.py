"""Links in a run directory: a removal follows none, and a folder of checkpoints may be one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.errors import UsageError
from orchestrator.journal import Event
from orchestrator.results import Results
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.sweep import launch, resume
from orchestrator.training.checkpoints import remove_leftovers
from tests.support import small_sweeps

NAME = "epoch=0001-segment=0.ckpt"
PATH = f"trials/0000/checkpoints/{NAME}"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run whose first trial has one checkpoint."""
    run = RunDirectory(tmp_path / "runs" / "linked")
    (run.trial(0) / "checkpoints").mkdir(parents=True)
    (run.root / "journal.jsonl").touch()
    (run.root / PATH).write_bytes(b"weights")
    return run


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder elsewhere with a file that is named as a checkpoint of the run."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / NAME).write_bytes(b"not the run's")
    return tmp_path / "outside"


def clean(run: RunDirectory, *recorded: str) -> None:
    DriverHost(run, StopRequests()).delete_unrecorded(recorded)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_link_beside_a_checkpoint_costs_nobody_its_target(run: RunDirectory) -> None:
    folder = run.trial(0) / "checkpoints"
    for name in ("best-epoch=1.ckpt", "epoch=0009-segment=0.ckpt", "last.ckpt"):
        (folder / name).symlink_to(NAME)
    clean(run, PATH)
    run.remove("trials/0000/checkpoints/epoch=0009-segment=0.ckpt")
    assert (folder / NAME).read_bytes() == b"weights"
    assert (folder / "best-epoch=1.ckpt").is_symlink()


def test_files_that_a_user_keeps_beside_the_checkpoints_stay(run: RunDirectory) -> None:
    mine = ["best-epoch=1.ckpt", "epoch=1-step=20.ckpt", "epoch=0001-segment=0.ckpt.bak", ".epoch=1.tmp"]
    for name in mine:
        (run.trial(0) / "checkpoints" / name).touch()
    for name in ("epoch=0002-segment=0.ckpt", ".epoch=0003-segment=0.ckpt.77.tmp"):
        (run.trial(0) / "checkpoints" / name).touch()
    clean(run, PATH)
    assert names(run.trial(0) / "checkpoints") == sorted([NAME, *mine])


def test_removing_a_checkpoint_that_is_a_link_removes_the_link(run: RunDirectory, outside: Path) -> None:
    (run.root / PATH).unlink()
    (run.root / PATH).symlink_to(outside / NAME)
    run.remove(PATH)
    assert not (run.root / PATH).is_symlink()
    assert (outside / NAME).exists()


def link_trial(run: RunDirectory, target: Path) -> None:
    (target / "checkpoints").mkdir()
    (target / NAME).rename(target / "checkpoints" / NAME)
    run.trial(1).symlink_to(target)


def link_trials(run: RunDirectory, target: Path) -> None:
    (run.root / "trials").rename(run.root / "before")
    (target / "0001").mkdir()
    (target / "0001" / "checkpoints").mkdir()
    (target / NAME).rename(target / "0001" / "checkpoints" / NAME)
    (run.root / "trials").symlink_to(target)


@pytest.mark.parametrize(("link", "name"), [(link_trial, "trials/0001"), (link_trials, "trials")])
def test_a_link_above_the_folder_of_checkpoints_is_named_with_what_may_be_linked(
    run: RunDirectory, outside: Path, link: Callable[[RunDirectory, Path], None], name: str
) -> None:
    link(run, outside)
    with pytest.raises(UsageError, match="which is outside") as caught:
        run.resolve(f"trials/0001/checkpoints/{NAME}")
    assert caught.value.hint.startswith(f"{name} is a link: move it back, and link the run directory")
    with pytest.raises(UsageError) as caught:
        run.resolve("../elsewhere")
    assert not caught.value.hint


@pytest.mark.parametrize("link", [link_trial, link_trials])
def test_no_removal_follows_a_link_above_the_folder_of_checkpoints(
    run: RunDirectory, outside: Path, link: Callable[[RunDirectory, Path], None]
) -> None:
    link(run, outside)
    clean(run, PATH)
    with pytest.raises(OSError):  # noqa: PT011  (ENOTDIR or ELOOP, as the system has it)
        run.remove(f"trials/0001/checkpoints/{NAME}")
    assert [path.read_bytes() for path in outside.rglob(NAME)] == [b"not the run's"]


@pytest.mark.parametrize("link", [link_trial, link_trials])
def test_a_segment_removes_no_leftovers_behind_a_link_above_its_folder(
    run: RunDirectory, outside: Path, link: Callable[[RunDirectory, Path], None]
) -> None:
    link(run, outside)
    leftover = run.trial(1) / "checkpoints" / ".epoch=0002-segment=0.ckpt.9.tmp"
    leftover.touch()
    remove_leftovers(run.trial(1) / "checkpoints", segment=1)
    assert leftover.exists()


def test_a_folder_of_checkpoints_may_lie_on_a_bigger_disk(run: RunDirectory, tmp_path: Path) -> None:
    folder, disk = run.trial(0) / "checkpoints", tmp_path / "disk" / "of-trial-0"
    disk.parent.mkdir()
    folder.rename(disk)
    folder.symlink_to(disk)
    (disk / "epoch=0002-segment=0.ckpt").touch()
    (disk / "mine.ckpt").touch()
    assert run.resolve(PATH) == disk / NAME
    assert run.size(PATH) == len(b"weights")
    clean(run, PATH)
    assert names(disk) == [NAME, "mine.ckpt"]
    run.remove(PATH)
    assert names(disk) == ["mine.ckpt"]
    assert folder.is_symlink()
    with pytest.raises(UsageError, match="outside"):
        run.resolve("trials/0000/checkpoints/mine.ckpt")  # the journal names checkpoints alone


def test_nothing_is_removed_from_a_folder_that_belongs_to_another_trial_or_run(
    run: RunDirectory, tmp_path: Path
) -> None:
    other = RunDirectory(tmp_path / "runs" / "other")
    (other.trial(0) / "checkpoints").mkdir(parents=True)
    (other.root / "journal.jsonl").touch()
    disk = tmp_path / "disk"
    disk.mkdir()
    targets = [other.trial(0) / "checkpoints", run.trial(0) / "checkpoints", disk, disk]
    for number, target in enumerate(targets, 1):
        (target / NAME).touch()
        run.trial(number).mkdir()
        (run.trial(number) / "checkpoints").symlink_to(target)
    clean(run, PATH)
    for number, target in enumerate(targets, 1):
        with pytest.raises(OSError, match="of another trial or run"):
            run.remove(f"trials/{number:04d}/checkpoints/{NAME}")
        assert (target / NAME).exists()


def test_a_folder_of_requests_that_is_a_link_is_neither_read_nor_emptied(run: RunDirectory, outside: Path) -> None:
    (outside / "stop").touch()
    run.requests.symlink_to(outside)
    assert run.pending_requests() == set()
    run.clear_requests()
    assert (outside / "stop").exists()
    with pytest.raises(UsageError, match="is a link"):
        run.add_request(run.stop_request())


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_a_sweep_is_resumed_verified_and_ranked_with_its_checkpoints_on_another_disk(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / "tiny")

    def stop_after_two(state: SweepState, event: Event) -> None:
        if event.type == "trial.finished" and event["trial"] == 1:
            small_sweeps.request(run)

    described = small_sweeps.spec(scheduler="fifo", budget={"trials": 3}, trainer={"max_epochs": 2})
    paused = launch(described, tmp_path / "runs", local=True, observer=stop_after_two)
    for number in (0, 1):
        folder, disk = paused.run.trial(number) / "checkpoints", tmp_path / f"disk-{number}"
        folder.rename(disk)
        folder.symlink_to(disk)
    resumed = resume("tiny", tmp_path / "runs", local=True)
    findings = check(resumed.run)
    assert (resumed.exit_code, findings.violations, findings.checkpoints) == (0, [], 3)
    assert Results(resumed.run).best().checkpoint is not None
    assert (paused.run.trial(0) / "checkpoints").is_symlink()
