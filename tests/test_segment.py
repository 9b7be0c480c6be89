"""What a segment says of its own end: whose fault it was, the same mistake under the same name, and nothing kept."""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from orchestrator.durable_files import storage_fault
from orchestrator.engine.segment_runner import attempt
from orchestrator.errors import DataError
from orchestrator.training import Job, Report
from orchestrator.training.memory import out_of_memory
from tests.support.callbacks import Recorded
from tests.support.tiny import Tiny

kept: list[weakref.ref[Tensor]] = []


class Clumsy(Tiny):
    """Goes wrong in its first training step, the way ``fault`` says."""

    def __init__(self, fault: str, words: str = "") -> None:
        super().__init__()
        self.how, self.words = fault, words

    def training_step(self, batch: Any, index: int) -> Any:
        if self.current_epoch == 1:
            return FAULTS[self.how](self.words)
        return super().training_step(batch, index)


def _allocate(words: str) -> None:
    torch.empty(1 << 55)


def _allocate_while_it_holds(words: str) -> None:
    held = torch.ones(1000, requires_grad=True)
    graph = (held * 2).exp()
    kept.extend([weakref.ref(held), weakref.ref(graph)])
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def _raise(error: BaseException) -> Callable[[str], None]:
    def fault(words: str) -> None:
        raise error

    return fault


def _wrap(words: str) -> None:
    try:
        _allocate(words)
    except RuntimeError as problem:
        raise ValueError("my own words for it") from problem


def _circle(words: str) -> None:
    problem = ValueError("itself")
    raise problem from problem


def _deep_in_torch(words: str) -> None:
    nn.Linear(2, 2)(torch.ones(3))


def _deeper_in_torch(words: str) -> None:
    nn.Sequential(nn.Sequential(nn.Linear(2, 2)))(torch.ones(3))


def _either_depth(words: str) -> None:
    (nn.Linear(2, 2) if words == "shallow" else nn.Sequential(nn.Sequential(nn.Linear(2, 2))))(torch.ones(3))


def _message(words: str) -> None:
    raise ValueError(f"a message with {words}")


FAULTS: dict[str, Callable[[str], Any]] = {
    "allocate": _allocate,
    "hold": _allocate_while_it_holds,
    "wrap": _wrap,
    "circle": _circle,
    "memory": _raise(MemoryError()),
    "fork": _raise(OSError(errno.ENOMEM, "Cannot allocate memory")),
    "cublas": _raise(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")),
    "full": _raise(OSError(errno.ENOSPC, "No space left on device")),
    "data": _raise(DataError("there is no such data set")),
    "absent": _raise(FileNotFoundError(errno.ENOENT, "No such file")),
    "shape": _deep_in_torch,
    "deeper": _deeper_in_torch,
    "either": _either_depth,
    "message": _message,
    "accent": _raise(ValueError("\udcff is no text")),
}


def _job(folder: Path, fault: str = "message", words: str = "", **others: Any) -> Job:
    known: dict[str, Any] = {
        "trial": 0,
        "segment": 0,
        "seed": 1,
        "metric": "val_loss",
        "model": {"class_path": f"{__name__}.Clumsy", "init_args": {"fault": fault, "words": words}},
        "data": {"class_path": "tests.support.tiny.TinyData", "init_args": {}},
        "trainer": {"max_epochs": 3, "accelerator": "cpu"},
        "folder": str(folder / "run/trials/0000"),
    }
    return Job(**known | others)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("allocate", "memory"),
        ("wrap", "memory"),
        ("memory", "memory"),
        ("fork", "memory"),
        ("cublas", "memory"),
        ("full", "storage"),
        ("data", "data"),
        ("absent", "user"),
        ("shape", "user"),
        ("message", "user"),
        ("circle", "user"),
        ("accent", "user"),
    ],
)
def test_whose_fault_it_was(tmp_path: Path, fault: str, kind: str) -> None:
    reports = Recorded[Report]()
    failed = attempt(_job(tmp_path, fault), reports.keep)
    assert failed is not None
    assert (failed.kind, len(reports)) == (kind, 1)
    assert "Traceback" in (tmp_path / "run/trials/0000/logs/error_segment_0.txt").read_text()


def test_what_is_no_fault_of_the_module(tmp_path: Path) -> None:
    def kind(job: Job) -> str:
        failed = attempt(job, lambda report: True)
        assert failed is not None
        return failed.kind

    tiny = {"class_path": "tests.support.tiny.Tiny", "init_args": {}}
    assert kind(_job(tmp_path, metric="val_f1", model=tiny)) == "objective"
    gone = {"path": "trials/0000/checkpoints/x.ckpt", "size": 1, "sha256": "0", "epoch": 1}
    assert kind(_job(tmp_path, checkpoint=gone)) == "checkpoint"
    assert kind(_job(tmp_path, model={"class_path": "tests.support.tiny.Tiny", "init_args": {"no_such": 1}})) == "user"
    assert kind(_job(tmp_path, trainer={"max_epochs": 1, "accelerator": "no such"})) == "user"
    assert kind(_job(tmp_path, model={"class_path": "orchestrator.models.LitModel", "init_args": {}})) == "user"


def test_our_own_mistake_is_called_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.report_callback._KEY", [])  # which no dict takes
    failed = attempt(_job(tmp_path), lambda report: True)
    assert failed is not None
    assert failed.kind == "bug", failed


def test_what_is_no_error_passes_through(tmp_path: Path) -> None:
    def leave(report: Report) -> bool:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        attempt(_job(tmp_path), leave)


def _fingerprint(folder: Path, fault: str, words: str = "") -> str:
    failed = attempt(_job(folder, fault, words), lambda report: True)
    assert failed is not None
    return failed.fingerprint


def test_the_same_mistake_has_the_same_fingerprint(tmp_path: Path) -> None:
    message = _fingerprint(tmp_path / "a", "message", "one value")
    assert message == _fingerprint(tmp_path / "b", "message", "another")
    shape = _fingerprint(tmp_path / "c", "either", "shallow")
    assert shape == _fingerprint(tmp_path / "d", "either", "deep"), "however deep in torch it surfaces"
    assert len({message, shape, _fingerprint(tmp_path / "e", "shape"), _fingerprint(tmp_path / "f", "deeper")}) == 4


def test_without_a_users_frame_the_librarys_counts(tmp_path: Path) -> None:
    def fingerprint(**trainer: Any) -> str:
        failed = attempt(_job(tmp_path, trainer=trainer), lambda report: True)
        assert failed is not None
        return failed.fingerprint

    one = fingerprint(accelerator="no such")
    assert one == fingerprint(accelerator="no such", max_epochs=2)
    assert one != fingerprint(accelerator="cpu", precision="no such")


@pytest.mark.parametrize("fault", ["hold", "message"])
def test_an_error_keeps_nothing_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    kept.clear()
    modules: list[weakref.ref[Any]] = []
    monkeypatch.setattr(L.LightningModule, "on_fit_start", lambda self: modules.append(weakref.ref(self)))
    failed = attempt(_job(tmp_path, fault), lambda report: True)
    assert failed is not None
    assert all(tensor() is None for tensor in kept)
    if fault == "hold":
        assert (failed.kind, len(kept)) == ("memory", 2)
        assert modules
        assert modules[0]() is None, "not even the module waits for the collector"


def test_after_running_out_of_memory_the_next_segment_in_the_process_trains(tmp_path: Path) -> None:
    reports = Recorded[Report]()
    assert attempt(_job(tmp_path, "allocate"), reports.keep) is not None
    assert reports[-1].checkpoint is not None
    again = _job(
        tmp_path,
        segment=1,
        checkpoint=vars(reports[-1].checkpoint),
        model={"class_path": "tests.support.tiny.Tiny"},
    )
    assert attempt(again, reports.keep) is None
    assert [report.epoch for report in reports] == [1, 2, 3]


@pytest.mark.parametrize("text", ["value", "index out of memory range"])
def test_other_errors_are_not_taken_for_memory(text: str) -> None:
    assert not out_of_memory(RuntimeError(text))
    assert not out_of_memory(ValueError("DefaultCPUAllocator: can't allocate memory"))
    assert not out_of_memory(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
    assert not out_of_memory(None)


def test_causes_that_make_a_circle_come_to_an_end() -> None:
    one, other = ValueError(), OSError(errno.EROFS, "read-only")
    one.__cause__, other.__cause__ = other, one
    assert storage_fault(one) == storage_fault(other) == "the file system is read-only"
    one.__cause__ = one
    assert storage_fault(one) == ""


def test_an_error_log_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    job = _job(tmp_path)
    reports: list[Report] = []

    def block(report: Report) -> bool:
        (Path(job.folder) / "logs/error_segment_0.txt").mkdir()  # even root cannot write a directory
        reports.append(report)
        return True

    failed = attempt(job, block)
    assert reports
    assert failed is not None
    assert failed.kind == "user"
    assert "ValueError: a message" in failed.message


def test_keys_are_in_neither_message_nor_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    failed = attempt(_job(tmp_path, words="0123456789abcdef in it"), lambda report: True)
    assert failed is not None
    assert failed.message == "ValueError: a message with *** in it"
    log = (tmp_path / "run/trials/0000/logs/error_segment_0.txt").read_text()
    assert "a message with *** in it" in log
    assert "0123456789abcdef" not in log
