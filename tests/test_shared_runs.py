"""Who may open a run directory: its owner alone, or with ``share: group`` its group, who may then steer the sweep."""

from __future__ import annotations

import multiprocessing
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.journal import Journal, read
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import SweepSpec
from orchestrator.sweep import launch, resume
from tests.support.small_sweeps import spec

TEAM = 54321  # a group that no account of the machine has
COLLEAGUE, STRANGER = 54322, 65534
STEPS: dict[str, Any] = {"searcher": "grid", "scheduler": "fifo", "budget": {"trials": 2}, "trainer": {"max_epochs": 1}}


def small(**fields: Any) -> SweepSpec:
    return spec(space={"model.learning_rate": {"choice": [0.1, 0.2]}}, **STEPS, **fields)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs that other users reach, with the team's group."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    folder = tmp_path / "runs"
    folder.mkdir()
    os.chown(folder, 0, TEAM)
    folder.chmod(0o2775)
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.geteuid() and parent != Path("/") and not parent.is_mount():
            parent.chmod(mode(parent) | 0o011)
    tmp_path.chmod(0o711)
    load_modules(tmp_path / "loaded")
    return folder


def load_modules(folder: Path) -> None:
    """Import what a process of another user needs to take over a journal: it may not read Python's own folder."""
    folder.mkdir()
    for opened in (Journal.create, Journal.open):
        journal = opened(folder / "journal.jsonl")
        journal.append("first")
        journal.close()


def as_user(user: int, groups: list[int], action: Callable[[], object]) -> int:
    """Run ``action`` in a process of another user; return its exit status, 13 if permission was denied."""

    def child() -> None:
        os.setgroups(groups)
        os.setgid(user)
        os.setuid(user)
        try:
            action()
        except PermissionError:
            os._exit(13)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(30)
    assert process.exitcode is not None
    return process.exitcode


def tried(root: Path) -> dict[str, Callable[[], object]]:
    """What somebody else may try with a run directory."""
    run = RunDirectory(root)
    checkpoint = next(root.glob("trials/*/checkpoints/*.ckpt"))
    return {
        "list": lambda: list(root.iterdir()),
        "read": lambda: run.journal.read_bytes(),  # type: ignore[union-attr]
        "write": lambda: run.journal.open("ab").close(),  # type: ignore[union-attr]
        "stop": lambda: run.add_request(run.stop_request()),
        "checkpoint": lambda: checkpoint.open("r+b").close(),
        "trial": lambda: (root / "trials" / "0000" / "new").touch(),
    }


@pytest.mark.usefixtures("usual_umask")
def test_a_new_run_is_closed_and_a_wider_one_with_a_notice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "tiny"
    root.mkdir()
    launch(small(), tmp_path, local=True, preflight=False)
    assert f"{root} was open to other users (mode 0755); now only you can open it" in capsys.readouterr().err
    assert mode(root) == 0o700
    other = launch(small(name="other"), tmp_path, local=True, preflight=False).run.root
    assert "open to other users" not in capsys.readouterr().err
    assert mode(other) == 0o700


@pytest.mark.usefixtures("usual_umask")
def test_a_resume_closes_a_directory_that_was_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_at("tiny", tmp_path)
    journal = Journal.create(run.journal)
    created = small().model_dump(mode="json")
    journal.append("sweep.created", format=1, spec=created, seed=0, versions={}, git=None, roots=[])
    journal.close()
    run.root.chmod(0o2775)
    resume("tiny", tmp_path, local=True, trust=True)
    assert "(mode 2775); now only you can open it" in capsys.readouterr().err
    assert mode(run.root) == 0o700


@pytest.mark.usefixtures("usual_umask")
def test_a_stranger_and_a_colleague_are_kept_out_of_a_run(runs: Path) -> None:
    root = launch(small(), runs, local=True, preflight=False).run.root
    for user, groups in ((COLLEAGUE, [TEAM]), (STRANGER, [])):
        outcomes = {name: as_user(user, groups, action) for name, action in tried(root).items()}
        assert outcomes == dict.fromkeys(outcomes, 13)


@pytest.mark.usefixtures("usual_umask")
def test_a_shared_run_is_open_to_the_group_and_to_nobody_else(runs: Path) -> None:
    root = launch(small(share="group"), runs, local=True, preflight=False).run.root
    assert (mode(root), root.stat().st_gid) == (0o2770, TEAM)
    paths = [path for path in root.rglob("*") if not path.is_symlink()]
    assert {path.relative_to(root) for path in paths if path.stat().st_gid != TEAM} == set()
    assert {path.relative_to(root) for path in paths if path.is_file() and mode(path) & 0o067 != 0o060} == set()
    assert {path.relative_to(root) for path in paths if path.is_dir() and mode(path) != 0o2770} == set()
    attempts = tried(root)
    assert {name: as_user(STRANGER, [], action) for name, action in attempts.items()} == dict.fromkeys(attempts, 13)
    assert {name: as_user(COLLEAGUE, [TEAM], action) for name, action in attempts.items()} == dict.fromkeys(attempts, 0)


@pytest.mark.usefixtures("usual_umask")
def test_a_colleague_stops_a_shared_sweep_and_takes_its_lease(runs: Path) -> None:
    run = run_at("tiny", runs)
    journal = Journal.create(run.journal)
    assert run.restrict(share=True) == ""
    assert as_user(COLLEAGUE, [TEAM], lambda: run.add_request(run.stop_request(3))) == 0
    assert run.pending_requests() == {"stop-3"}
    run.clear_requests()
    assert not run.requests.exists()
    journal.append("first")
    journal.close()

    def take_over() -> None:
        os.umask(0o022)
        other = Journal.open(run.journal)
        other.append("second")
        other.close()

    assert as_user(COLLEAGUE, [TEAM], take_over) == 0
    journal = Journal.open(run.journal)
    journal.append("third")
    journal.close()
    assert [event.type for event in read(run.journal)] == ["first", "second", "third"]


def test_requests_of_others_count_in_a_shared_run_only(runs: Path) -> None:
    run = RunDirectory(runs / "one")
    run.root.mkdir(0o700)
    run.add_request(run.stop_request(3))
    os.chown(run.stop_request(3), COLLEAGUE, TEAM)
    assert run.pending_requests() == set()
    run.restrict(share=True)
    assert run.pending_requests() == {"stop-3"}
    run.requests.chmod(0o2777)  # now a stranger could have written it
    assert run.pending_requests() == set()


def test_a_directory_of_another_user_is_reported(runs: Path) -> None:
    root = runs / "one"
    root.mkdir()
    os.chown(root, COLLEAGUE, TEAM)
    assert f"belongs to another user (number {COLLEAGUE})" in RunDirectory(root).restrict(share=False)
    assert RunDirectory(root).restrict(share=True) == ""


@pytest.mark.usefixtures("usual_umask")
def test_without_default_acls_the_umask_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse, raising=False)
    notice = RunDirectory(tmp_path).restrict(share=True)
    assert "follow your umask (0022)" in notice
    assert mode(tmp_path) == 0o2770
    os.umask(0o007)
    assert RunDirectory(tmp_path).restrict(share=True) == ""


def test_nothing_outside_the_run_is_opened_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(0o700)
    (outside / "file").touch(0o600)
    root = tmp_path / "run"
    root.mkdir()
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "file")
    assert RunDirectory(root).restrict(share=True) == ""
    assert (mode(outside), mode(outside / "file")) == (0o700, 0o600)


def test_only_a_group_can_share() -> None:
    with pytest.raises(SpecError, match="share"):
        small(share="everybody")
