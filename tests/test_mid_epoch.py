"""A training that is cut after any batch and resumed equals the unbroken one to the bit: weights, state, reports."""

from __future__ import annotations

import os
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.training import Interim, Job, Report, fit
from tests.chaos.forked import context, start_server
from tests.support import cut_ranks
from tests.support.cut_runs import POINTS, Plans, Points, compared, draw, job, run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 under torch 2.15
    pytest.mark.filterwarnings("ignore:.*`__len__` defined"),  # of iterable data with a length
    pytest.mark.filterwarnings("ignore:.*ambiguous collection"),
]
MAP: dict[str, Any] = {"kind": "map", "source": "torch"}


def _differences(tmp_path: Path, plans: Plans, *cuts: int) -> list[str]:
    unbroken = run(tmp_path / "unbroken", plans)
    drawn = cuts or (random.Random(plans.seed).randrange(1, unbroken.batches),)
    return compared(unbroken, run(tmp_path / "cut", plans, drawn))


@pytest.mark.parametrize("seed", range(18))
def test_a_run_that_is_cut_at_any_batch_equals_the_unbroken_one(seed: int, tmp_path: Path) -> None:
    assert not _differences(tmp_path, draw(seed))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(20, 220, 10))
def test_ten_more_runs_that_are_cut_equal_the_unbroken_ones(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 10):
        assert not _differences(tmp_path / str(seed), draw(seed)), draw(seed)


@pytest.fixture(scope="module")
def forked() -> None:
    """Start the process that others are forked from, once: it imports torch."""
    start_server()
    first = context.Process(target=os.getpid)
    first.start()
    first.join()


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("seed", "kind", "manual"),
    [(2, "map", True), pytest.param(11, "stream", False, marks=pytest.mark.slow)],  # each starts two processes
)
def test_a_training_of_two_processes_that_is_cut_equals_the_unbroken_one(
    seed: int, kind: str, manual: bool, tmp_path: Path
) -> None:
    """Map-style data with gradients that are kept over batches by manual optimization, and a stream."""
    plans = cut_ranks.draw(seed)
    assert (plans.data["kind"], plans.model["manual"]) == (kind, manual)
    assert cut_ranks.differences((seed,), tmp_path) == {seed: []}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 140, 10))
def test_ten_more_trainings_of_two_processes_that_are_cut_equal_the_unbroken_ones(first: int, tmp_path: Path) -> None:
    found = cut_ranks.differences(range(first, first + 10), tmp_path)
    assert found == {seed: [] for seed in range(first, first + 10)}


def test_a_run_that_is_cut_after_each_batch_of_an_epoch_equals_the_unbroken_one(tmp_path: Path) -> None:
    plans = Plans({**MAP, "generator": True}, {"scheduler": "step"}, {"max_epochs": 2, "accumulate_grad_batches": 4})
    assert not _differences(tmp_path, plans, 1, 2, 3, 6, 7, 8, 10)


@pytest.mark.parametrize(
    ("monitor", "metric", "trainer", "cuts"),
    [
        ("train_loss", "val_loss", {"max_epochs": 3, "val_check_interval": 3}, (8, 16)),  # no report at an epoch's end
        ("val_loss", "train_loss", {"max_epochs": 4, "check_val_every_n_epoch": 2}, (24,)),  # an earlier epoch's value
    ],
)
@pytest.mark.filterwarnings("ignore:.*not available but strict is set to")
def test_a_plateau_scheduler_takes_the_step_of_an_epoch_that_ends_with_a_cut(
    monitor: str, metric: str, trainer: dict[str, Any], cuts: tuple[int, ...], tmp_path: Path
) -> None:
    """Lightning takes that step after the last hook of the epoch, and so after the checkpoint."""
    plans = Plans(MAP, {"scheduler": "plateau", "monitor": monitor}, trainer, metric=metric)
    assert not _differences(tmp_path, plans, *cuts)


WORKERS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, ...]]] = {
    "the first batches": (MAP, {}, (1,)),
    "the second epoch": ({**MAP, "source": "numpy"}, {}, (11,)),
    "validations": ({**MAP, "source": "python", "generator": True}, {"val_check_interval": 3}, (12,)),
    "workers that outlive an epoch": ({**MAP, "source": "numpy", "persistent": True}, {}, (4, 11)),
    "between two epochs": ({**MAP, "source": "numpy", "persistent": True}, {}, (8, 11)),
    "a stream": ({"kind": "stream", "source": "torch"}, {}, (6,)),
    "two loaders": ({**MAP, "second": True}, {}, (5,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKERS)
def test_with_processes_that_load_a_cut_run_equals_the_unbroken_one(name: str, tmp_path: Path) -> None:
    data, trainer, cuts = WORKERS[name]
    assert not _differences(tmp_path, Plans({**data, "workers": 2}, {}, {"max_epochs": 2, **trainer}), *cuts)


def test_two_processes_that_load_draw_the_same_after_a_cut(tmp_path: Path) -> None:
    assert not _differences(tmp_path, Plans({**MAP, "workers": 2}, {}, {"max_epochs": 1}), 3)


def test_what_was_trained_on_is_not_loaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 1, "limit_val_batches": 0}, metric="train_loss")
    read: list[int] = []
    original = Points.__getitem__

    def noted(self: Points, index: int) -> Any:
        read.append(index)
        return original(self, index)

    monkeypatch.setattr(Points, "__getitem__", noted)
    run(tmp_path, plans, (5,))
    assert sorted(read) == list(range(POINTS))


@pytest.mark.parametrize("cut", [2, 3])
def test_after_a_cut_smaller_batches_take_up_the_data_where_the_larger_ones_left(cut: int, tmp_path: Path) -> None:
    """As after running out of memory: half the batch, twice the accumulation, and the same optimizer steps."""
    whole = {"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 16}}
    halves = {"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 8}}
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {}}
    asked = Job(
        trial=0, segment=0, seed=1, metric="val_loss", model=model, data=whole,
        trainer={"max_epochs": 2, "precision": "32-true"},  # in bf16 two halves do not add up to the whole
        folder=str(tmp_path / "runs/t/trials/0000"), save_every={"seconds": 0.0},
    )  # fmt: skip
    saved: list[Interim] = []
    expected: list[Report] = []
    fit(asked, lambda report: expected.append(report) or True, interim=saved.append)  # type: ignore[func-returns-value]
    at = next(interim for interim in saved if interim.step == cut)
    assert at.checkpoint is not None

    resumed: list[Report] = []
    smaller = replace(asked, segment=1, checkpoint=asdict(at.checkpoint), data=halves)
    smaller = replace(smaller, trainer={**asked.trainer, "accumulate_grad_batches": 2}, save_every=None)
    fit(smaller, lambda report: resumed.append(report) or True)  # type: ignore[func-returns-value]
    assert [report.step for report in resumed] == [report.step for report in expected] == [4, 8]
    assert [report.samples for report in resumed] == [64, 128]
    for one, other in zip(resumed, expected, strict=True):
        assert one.metrics["val_loss"] == pytest.approx(other.metrics["val_loss"], rel=1e-5)
        assert one.metrics["train_loss"] == pytest.approx(other.metrics["train_loss"], rel=1e-5)


def test_data_without_state_are_read_again_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert not _differences(tmp_path, Plans({"kind": "stream", "source": "numpy"}, {}, {"max_epochs": 1}), 5)
    assert "Stream has no state_dict() and is no map-style data" in caplog.text
    assert "5 batches were read again in" in caplog.text


def test_a_stop_ends_the_segment_at_the_next_batch_with_one_checkpoint(tmp_path: Path) -> None:
    each = job(tmp_path, replace(draw(4), trainer={"max_epochs": 3}))
    batches = 0
    saved: list[Interim] = []

    def stop() -> bool:
        nonlocal batches
        batches += 1
        return batches == 11

    fit(each, lambda report: True, interim=saved.append, stop=stop)
    assert [(interim.epoch, interim.samples) for interim in saved] == [(1 + 3 / 8, POINTS + 9)]
    assert sorted(path.name for path in each.checkpoints.iterdir()) == [
        "epoch=0001-batch=000003-segment=0.ckpt",
        "epoch=0001-segment=0.ckpt",
    ]
