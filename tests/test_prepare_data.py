"""`prepare_data` runs in one process of a host at a time, whoever's class it is, and whoever dies meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from orchestrator.training import Job, fit, host_lock
from orchestrator.training.host_lock import held, lock_prepare_data
from tests.support.downloading import Download, DownloadingModule

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:lightning", "ignore:.*multi-threaded.*fork:DeprecationWarning"
)
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def started(target: Any, *arguments: Any) -> Any:
    process = FORK.Process(target=target, args=arguments)
    process.start()
    return process


def prepare(folder: str) -> None:
    data = Download(folder)
    lock_prepare_data(data)
    data.prepare_data()


def test_downloads_of_several_processes_do_not_meet(tmp_path: Path) -> None:
    processes = [started(prepare, str(tmp_path)) for _ in range(3)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "calls").read_text().split() == ["download", "found", "found"]


def test_without_the_lock_they_would_meet(tmp_path: Path) -> None:
    """What the test above is worth."""
    processes = [started(Download(str(tmp_path), seconds=1.0).prepare_data) for _ in range(2)]
    for process in processes:
        process.join(60)
    assert sorted(process.exitcode for process in processes) == [0, 1]


def hold(marker: Path) -> None:
    with held():
        marker.touch()
        if os.fork():
            os._exit(1)
        time.sleep(5)  # a child that lives on does not keep the lock
        os._exit(0)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_holder_that_died_does_not_block(tmp_path: Path) -> None:
    marker = tmp_path / "held"
    holder = os.fork()
    if not holder:
        hold(marker)
    os.waitpid(holder, 0)
    assert marker.exists()
    began = time.monotonic()
    with held():
        assert time.monotonic() - began < 4


def keep(marker: str, seconds: float) -> None:
    with held():
        Path(marker).touch()
        time.sleep(seconds)


def test_who_waits_says_that_it_is_alive(tmp_path: Path) -> None:
    marker = tmp_path / "held"
    process = started(keep, str(marker), 1.0)
    while not marker.exists():
        time.sleep(0.01)
    beats: list[float] = []
    with held(lambda: beats.append(time.monotonic())):
        assert beats
    process.join()


def job(tmp_path: Path, model: str, data: str) -> Job:
    arguments = {"folder": str(tmp_path)}
    trainer = {"max_epochs": 1, "accelerator": "cpu"}
    of_model = {"class_path": model, "init_args": arguments if "Downloading" in model else {}}
    of_data = {"class_path": data, "init_args": arguments if "Download" in data else {}}
    return Job(0, 0, 7, "val_loss", of_model, of_data, trainer, str(tmp_path / "trials/0000"))


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("tests.support.tiny.Tiny", "tests.support.downloading.Download"),
        ("tests.support.downloading.DownloadingModule", "tests.support.tiny.TinyData"),
    ],
)
def test_a_trial_prepares_once_under_the_lock(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks: list[int] = []
    real = host_lock.held

    def counted(on_wait: Any) -> Any:
        locks.append(1)
        return real(on_wait)

    monkeypatch.setattr(host_lock, "held", counted)
    fit(job(tmp_path, model, data), lambda report: True)
    assert (tmp_path / "calls").read_text().split() == ["download"]
    assert len(locks) == 1


def test_a_module_without_the_hook_is_left_alone(tmp_path: Path) -> None:
    plain: Any = L.LightningDataModule()
    lock_prepare_data(plain)
    assert "prepare_data" not in vars(plain)
    own = DownloadingModule(str(tmp_path))
    lock_prepare_data(own)
    assert pickle.loads(pickle.dumps(own)).folder == str(tmp_path)  # as for a spawned process
    own.prepare_data()
    assert "prepare_data" not in vars(own)


def test_a_folder_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = tmp_path / f"sweep-orchestrator-{os.getuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    taken.symlink_to(elsewhere)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with held():
        assert (tmp_path / "cache/sweep-orchestrator/prepare_data.lock").exists()
    assert not list(elsewhere.iterdir())
