"""One segment: what it reports, that it equals a plain Trainer, goes on exactly, and leaves no trace."""

from __future__ import annotations

import builtins
import csv
import gc
import logging
import math
import os
import random
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import pytest
import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.data import DigitsDataModule
from orchestrator.errors import CheckpointError, ObjectiveError, UsageError
from orchestrator.models import LitModel
from orchestrator.training import EpochSeed, Job, Report, derive_seed, fit, resolve_precision
from orchestrator.training.checkpoints import verify
from orchestrator.training.fresh_metrics import as_floats
from orchestrator.training.process_state import isolated
from tests.support.markers import sampled

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6 under torch 2.15

SHAPE = (1, 16, 16)
SMALL: dict[str, Any] = {"batch_size": 32, "image_size": 16, "channels": 1}
BRIEF = {"max_epochs": 3, "limit_train_batches": 4, "limit_val_batches": 2, "accelerator": "cpu"}


class Shuffled(L.LightningDataModule):
    """A user's own: plain DataLoaders, one shuffled, one with its own generator if asked."""

    def __init__(self, own_generator: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.points = TensorDataset(torch.randn(48, 1, 16, 16, generator=generator), torch.arange(48) % 10)
        self.generator = torch.Generator().manual_seed(3) if own_generator else None

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, 8, shuffle=True, generator=self.generator)

    def val_dataloader(self) -> Any:
        return DataLoader(self.points, 24)


class Odd(L.LightningModule):
    """A module with a fault to order."""

    def __init__(self, fault: str = "", plateau: bool = False) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.fault = fault
        self.plateau = plateau
        self.layer = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(nn.functional.dropout(batch[0])), batch[1])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        if self.fault == "silent":
            return
        value = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("val_loss", value * math.nan if self.fault == "nan" and self.current_epoch < 2 else value)

    def on_fit_start(self) -> None:
        if self.fault == "leaky":
            torch.set_default_dtype(torch.float64)
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.set_num_threads(torch.get_num_threads() + 1)
            torch.set_flush_denormal(True)
            os.environ["LEAK"] = "1"
            os.chdir("/")
            logging.getLogger().addHandler(logging.NullHandler())
            warnings.simplefilter("ignore")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=3.0, momentum=0.9)
        if not self.plateau:
            return optimizer
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}


def spec(cls: type, **arguments: Any) -> dict[str, Any]:
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}


def lit(folder: Path, trainer: dict[str, Any] | None = None, **model: Any) -> Job:
    return Job(
        trial=7,
        segment=0,
        seed=derive_seed(1, "trial", 7),
        metric="val_acc",
        model={"class_path": "orchestrator.models.LitModel", "init_args": {"input_shape": SHAPE, **model}},
        data={"class_path": "orchestrator.data.DigitsDataModule", "init_args": SMALL},
        trainer={**BRIEF, **(trainer or {})},
        folder=str(folder / "run/trials/0007"),
    )


def odd(folder: Path, trainer: dict[str, Any] | None = None, **model: Any) -> Job:
    job = replace(lit(folder, trainer), model=spec(Odd, **model), data=spec(Shuffled))
    return replace(job, metric="val_loss")


def run(job: Job, answer: Callable[[Report], bool] = lambda report: True) -> list[Report]:
    """Train; check at each report that its checkpoint is there and is what it says."""
    reports: list[Report] = []

    def note(report: Report) -> bool:
        assert report.checkpoint is not None
        verify(job.run_directory, report.checkpoint)
        assert all(type(value) is float for value in report.metrics.values())
        reports.append(report)
        return answer(report)

    fit(job, note)
    return reports


def load(job: Job, report: Report) -> dict[str, Any]:
    assert report.checkpoint is not None
    return dict(torch.load(job.run_directory / report.checkpoint.path))


def weights(job: Job, report: Report) -> dict[str, Tensor]:
    return dict(load(job, report)["state_dict"])


def same(one: Any, other: Any) -> bool:
    """Equality to the bit, through dicts and lists."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def table(job: Job) -> list[dict[str, str]]:
    with (job.logs / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def checkpoints(job: Job) -> list[str]:
    return sorted(path.name for path in job.checkpoints.iterdir())


def plain_trainer(**arguments: Any) -> L.Trainer:
    """In the precision that ours takes by itself, which is the processor's to say."""
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    silent["precision"] = resolve_precision(accelerator="cpu")
    return L.Trainer(**{**BRIEF, **silent, "enable_model_summary": False, "num_sanity_val_steps": 0, **arguments})


# What it reports


def test_every_epoch_is_reported_with_floats_and_a_verified_checkpoint(tmp_path: Path) -> None:
    job = lit(tmp_path)
    reports = run(job)
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert reports[-1].checkpoint is not None
    assert reports[-1].checkpoint.path == "trials/0007/checkpoints/epoch=0003-segment=0.ckpt"
    assert {"train_loss", "train_acc", "val_loss", "val_acc"} <= reports[0].metrics.keys()
    assert Job(**asdict(job)) == job


def test_every_checkpoint_stays_and_no_two_segments_write_the_same_file(tmp_path: Path) -> None:
    job = lit(tmp_path)
    first = run(job, lambda report: report.epoch < 2)
    before = {path.name: path.read_bytes() for path in job.checkpoints.iterdir()}
    (job.checkpoints / ".epoch=0003-segment=0.ckpt.99.tmp").write_bytes(b"what a dead process left")
    assert first[0].checkpoint is not None
    run(replace(job, segment=1, checkpoint=asdict(first[0].checkpoint)))
    again = ["epoch=0002-segment=1.ckpt", "epoch=0003-segment=1.ckpt"]
    assert checkpoints(job) == sorted([*before, *again])
    assert all((job.checkpoints / name).read_bytes() == content for name, content in before.items())


def test_lit_model_loads_from_the_file_as_it_is(tmp_path: Path) -> None:
    job = lit(tmp_path, {"max_epochs": 1}, dropout=0.25)
    [report] = run(job)
    model = LitModel.load_from_checkpoint(job.checkpoints / "epoch=0001-segment=0.ckpt")
    assert model.hparams["dropout"] == 0.25
    assert same(dict(model.state_dict()), weights(job, report))


def test_the_csv_has_one_row_an_epoch_before_the_report(tmp_path: Path) -> None:
    job = lit(tmp_path)
    rows: list[int] = []

    def count(report: Report) -> bool:
        rows.append(len(table(job)))
        return True

    reports = run(job, count)
    assert rows == [1, 2, 3]
    assert [float(row["val_acc"]) for row in table(job)] == [report.metrics["val_acc"] for report in reports]
    assert [row["epoch"] for row in table(job)] == ["0", "1", "2"]


@pytest.mark.parametrize("trainer", [{}, {"min_epochs": 3}])
def test_false_ends_the_training_after_that_epoch(tmp_path: Path, trainer: dict[str, Any]) -> None:
    assert len(run(lit(tmp_path, trainer), lambda report: report.epoch < 2)) == 2


def test_system_exit_inside_a_report_passes_through_with_everything_on_disk(tmp_path: Path) -> None:
    job = lit(tmp_path)

    def leave(report: Report) -> bool:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        run(job, leave)
    assert checkpoints(job) == ["epoch=0001-segment=0.ckpt"]
    assert len(table(job)) == 1
    assert float(table(job)[0]["train_loss"]) > 0


def test_a_missing_objective_is_refused_by_name_and_nothing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveError, match=r"LitModel never logged 'val_f1': it logs train_acc.*val_acc, val_loss"):
        run(replace(lit(tmp_path), metric="val_f1"))
    with pytest.raises(ObjectiveError, match="no validation has run"):
        run(odd(tmp_path, {"check_val_every_n_epoch": 9}))


class Exhausted(Odd):
    """Takes the next item of a second source, which has none left, in a hook."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook = hook

    def _take(self, hook: str) -> None:
        if hook == self.hook:
            next(iter(()))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        self._take(f"training_step {batch_idx}")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self._take("validation_step")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._take("on_train_batch_start")

    def on_validation_epoch_end(self) -> None:
        self._take("on_validation_epoch_end")

    def on_train_epoch_end(self) -> None:
        self._take("on_train_epoch_end")


@pytest.mark.parametrize(
    "hook",
    ["training_step 0", "training_step 1", "validation_step", "on_train_batch_start", "on_validation_epoch_end",
     "on_train_epoch_end"],
)  # fmt: skip
def test_an_exhausted_iterator_in_a_hook_is_no_end_of_the_data(tmp_path: Path, hook: str) -> None:
    job = replace(odd(tmp_path), model=spec(Exhausted, hook=hook))
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        run(job)
    assert hook.split()[0] in str(caught.value)


class OwnEnd(Odd):
    """Ends each epoch in a way that Lightning documents."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 2 else None


class Iterated(Odd):
    def training_step(self, dataloader_iter: Any) -> Tensor:  # type: ignore[override]
        batch, _, _ = next(dataloader_iter)
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


@pytest.mark.filterwarnings("ignore:Found `dataloader_iter`")
@pytest.mark.parametrize(("cls", "metric"), [(OwnEnd, "train_loss"), (Iterated, "val_loss")])
def test_a_module_may_end_an_epoch_and_read_the_loader_itself(tmp_path: Path, cls: type, metric: str) -> None:
    job = replace(odd(tmp_path, {"limit_train_batches": 1.0}), model=spec(cls), metric=metric)
    assert len(run(job)) == 3


def test_nan_is_reported_as_nan(tmp_path: Path) -> None:
    job = odd(tmp_path, fault="nan")
    values = [report.metrics["val_loss"] for report in run(job)]
    assert [math.isnan(value) for value in values] == [True, True, False]


def test_an_epoch_without_validation_is_not_reported_unless_the_objective_is_trained_on(tmp_path: Path) -> None:
    rare = {"check_val_every_n_epoch": 2, "max_epochs": 5}
    assert [report.epoch for report in run(odd(tmp_path / "a", rare))] == [2, 4]
    assert [report.epoch for report in run(replace(odd(tmp_path / "b", rare), metric="train_loss"))] == [1, 2, 3, 4, 5]


def test_metrics_become_floats_without_losing_digits() -> None:
    metrics = {"a": torch.tensor(0.1), "b": 2, "c": torch.tensor([3]), "d": torch.tensor(0.1, dtype=torch.float64)}
    assert as_floats(metrics) == {"a": float(torch.tensor(0.1)), "b": 2.0, "c": 3.0, "d": 0.1}
    assert list(as_floats(metrics)) == list(metrics)
    assert as_floats({}) == {}


# Against a plain Trainer, to the bit


def test_it_equals_a_plain_trainer(tmp_path: Path) -> None:
    job = lit(tmp_path)
    L.seed_everything(job.seed)
    model, data = LitModel(SHAPE), DigitsDataModule(**SMALL)
    plain_trainer().fit(model, data)
    assert same(weights(job, run(job)[-1]), dict(model.state_dict()))


@pytest.mark.slow
def test_with_dropout_it_equals_a_plain_trainer_that_has_epoch_seed(tmp_path: Path) -> None:
    job = lit(tmp_path, dropout=0.5)
    L.seed_everything(job.seed)
    model, data = LitModel(SHAPE, dropout=0.5), DigitsDataModule(**SMALL)
    plain_trainer(callbacks=[EpochSeed(job.seed)]).fit(model, data)
    assert same(weights(job, run(job)[-1]), dict(model.state_dict()))


@pytest.mark.slow
def test_two_trials_in_one_process_are_what_each_is_alone(tmp_path: Path) -> None:
    first = run(lit(tmp_path / "a", dropout=0.5))
    run(odd(tmp_path / "b", fault="leaky"))
    assert [report.metrics for report in run(lit(tmp_path / "c", dropout=0.5))] == [each.metrics for each in first]


# Going on from a checkpoint


def resumed(job: Job, after: int) -> tuple[Job, list[Report], list[Report]]:
    """The job in two segments, the second from the checkpoint of epoch ``after``; and its reports."""
    first = run(job, lambda report: report.epoch < after)
    assert first[-1].checkpoint is not None
    second = replace(job, segment=1, checkpoint=asdict(first[-1].checkpoint))
    return second, first, run(second)


def _jobs() -> dict[str, Callable[[Path], Job]]:
    longer = {"max_epochs": 5}
    return {
        "dropout": lambda folder: lit(folder, longer, dropout=0.5),
        "step schedule": lambda folder: lit(folder, longer, lr_schedule="step", lr_step_size=2, optimizer="sgd"),
        "one cycle, accumulation": lambda folder: lit(
            folder, longer | {"accumulate_grad_batches": 3}, lr_schedule="onecycle", dropout=0.1
        ),
        "shuffled DataLoader": lambda folder: odd(folder, longer),
        "plateau": lambda folder: odd(folder, longer, plateau=True),
        "own generator": lambda folder: replace(odd(folder, longer), data=spec(Shuffled, own_generator=True)),
        "unbounded loader": lambda folder: odd(folder, longer | {"limit_train_batches": 1.0}, plateau=True),
    }


@pytest.mark.parametrize("name", sampled(_jobs(), {"dropout", "step schedule", "one cycle, accumulation"}))
def test_a_resumed_trial_is_the_unbroken_one(tmp_path: Path, name: str) -> None:
    unbroken = _jobs()[name](tmp_path / "unbroken")
    whole = run(unbroken)
    second, first, rest = resumed(_jobs()[name](tmp_path / "broken"), 2)
    assert [(report.epoch, report.metrics) for report in (*first, *rest)] == [
        (report.epoch, report.metrics) for report in whole
    ]
    one, other = load(unbroken, whole[-1]), load(second, rest[-1])
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch"):
        assert same(one[part], other[part]), part
    assert [row["step"] for row in table(second)] == [row["step"] for row in table(unbroken)][-len(table(second)) :]


def test_a_damaged_checkpoint_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    job = lit(tmp_path)
    [report] = run(job, lambda report: False)
    assert report.checkpoint is not None
    path = job.run_directory / report.checkpoint.path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    broken = replace(job, segment=1, checkpoint=asdict(report.checkpoint), model={"class_path": "no.such.Class"})
    with pytest.raises(CheckpointError, match="SHA-256"):
        run(broken)


class FolderIO(TorchCheckpointIO):
    """Writes a folder, as strategies with sharded state do."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        Path(path).mkdir(parents=True)
        super().save_checkpoint(checkpoint, Path(path) / "shard", storage_options)


def test_a_checkpoint_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    job = lit(tmp_path)
    job.trainer["plugins"] = [{"class_path": f"{__name__}.FolderIO"}]
    with pytest.raises(UsageError, match="writes a checkpoint as a folder"):
        run(job)


def test_a_checkpoint_outside_the_run_directory_is_refused(tmp_path: Path) -> None:
    job = lit(tmp_path)
    [report] = run(job, lambda report: False)
    assert report.checkpoint is not None
    path = job.run_directory / report.checkpoint.path
    path.rename(tmp_path / "elsewhere.ckpt")
    path.symlink_to(tmp_path / "elsewhere.ckpt")
    with pytest.raises(CheckpointError, match="outside the run directory"):
        run(replace(job, segment=1, checkpoint=asdict(report.checkpoint)))


EARLY = {
    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
    "init_args": {"monitor": "val_loss", "mode": "max", "patience": 1, "min_delta": 1e9},
}


@pytest.mark.parametrize(
    ("trainer", "epochs"),
    [
        ({}, [1, 2, 3]),
        ({"max_epochs": -1, "max_steps": 8}, [1, 2]),
        ({"max_epochs": 9, "callbacks": [EARLY]}, [1, 2]),
        ({"max_epochs": 9, "min_epochs": 3, "callbacks": [EARLY]}, [1, 2, 3]),
    ],
    ids=["max_epochs", "max_steps", "early stopping", "early stopping and min_epochs"],
)
def test_a_finished_trial_has_nothing_left_to_train(tmp_path: Path, trainer: dict[str, Any], epochs: list[int]) -> None:
    """Its process died between the last report and the record of its end."""
    job = odd(tmp_path, trainer)
    reports = run(job)
    assert [report.epoch for report in reports] == epochs
    for segment, report in enumerate(reports, 1):
        assert report.checkpoint is not None
        again = run(replace(job, segment=segment, checkpoint=asdict(report.checkpoint)))
        assert [later.epoch for later in again] == epochs[int(report.epoch) :]


@pytest.mark.parametrize(
    "trainer", [{"max_epochs": 5, "check_val_every_n_epoch": 2}, {"max_epochs": -1, "max_steps": 6}]
)
def test_a_last_stretch_without_validation_has_nothing_to_report(tmp_path: Path, trainer: dict[str, Any]) -> None:
    job = odd(tmp_path, trainer)
    last = run(job)[-1].checkpoint
    assert last is not None
    assert run(replace(job, segment=1, checkpoint=asdict(last))) == []


def test_steps_without_validation_go_on_from_their_checkpoint(tmp_path: Path) -> None:
    job = replace(odd(tmp_path, {"max_epochs": -1, "max_steps": 8, "limit_val_batches": 0}), metric="train_loss")
    first = run(job)[0].checkpoint
    assert first is not None
    assert [report.epoch for report in run(replace(job, segment=1, checkpoint=asdict(first)))] == [2]


def test_another_trials_early_stop_is_not_ours(tmp_path: Path) -> None:
    """A trial that takes over another's weights goes on from them, though the other had come to its end."""
    wanted = {"max_epochs": 9, "callbacks": [EARLY]}
    ended = run(odd(tmp_path, wanted))[-1].checkpoint
    assert ended is not None
    taker = replace(odd(tmp_path, wanted), trial=8, segment=1, checkpoint=asdict(ended))
    assert [report.epoch for report in run(taker)] == [3], "until its own callback says so"


# One process, many segments


def test_what_a_segment_changes_in_the_process_is_put_back(tmp_path: Path) -> None:
    def look() -> Any:
        torch_state = (torch.get_default_dtype(), torch.get_num_threads(), torch.get_deterministic_debug_mode())
        filters = list(warnings.filters)
        denormal = (torch.tensor(1e-310, dtype=torch.float64) / 2).item() > 0
        return torch_state, denormal, dict(os.environ), Path.cwd(), list(logging.getLogger().handlers), filters

    before = look()
    run(odd(tmp_path, fault="leaky"))
    assert look() == before
    assert "LEAK" not in os.environ


def test_a_log_file_that_a_segment_opens_is_closed_after_it(tmp_path: Path) -> None:
    """A process trains hundreds of trials, and may have some thousand files open."""
    with isolated():
        handler = logging.FileHandler(tmp_path / "train.log")
        logging.getLogger().addHandler(handler)
        stream = handler.stream
    assert stream is not None
    assert stream.closed
    assert handler not in logging.getLogger().handlers


def test_figures_that_a_segment_leaves_open_are_closed_after_it() -> None:
    """Else pyplot keeps those of all trials of a process. The user's own, in a notebook, stay open."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    own = pyplot.figure()
    with isolated():
        pyplot.figure()
        assert len(pyplot.get_fignums()) == 2
    assert pyplot.get_fignums() == [own.number]
    pyplot.close(own)


def test_what_a_segment_adds_to_loggers_and_built_in_functions_is_taken_away(tmp_path: Path) -> None:
    """Else each line of a later trial would be in the files of all earlier ones, as often as there were trials."""
    known = logging.getLogger("lightning.fabric")
    before, kept = list(known.handlers), logging.StreamHandler()
    with isolated():
        own = logging.getLogger("a-script-of-its-own")
        file = logging.FileHandler(tmp_path / "train.log")
        for logger in (own, known):
            logger.addHandler(file)
        own.setLevel(logging.DEBUG)
        library = logging.getLogger(f"{__name__.partition('.')[0]}.new")
        library.addHandler(kept)  # the module that did so remains loaded, and does it only once
        logging.disable(logging.WARNING)
        builtins.print = lambda *words: None  # type: ignore[assignment]
    assert (own.handlers, own.level, known.handlers, library.handlers) == ([], logging.NOTSET, before, [kept])
    assert file.stream is None
    assert logging.root.manager.disable == 0
    assert print.__module__ == "builtins"
    library.removeHandler(kept)


class Hooks(L.Callback):
    """Notes which of the Trainer's callbacks Lightning calls around a batch."""

    called: ClassVar[dict[str, set[str]]] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            names = [name for name in dir(L.Callback) if "_batch_" in name or "backward" in name]
            self.called[type(callback).__name__] = {name for name in names if callable(getattr(callback, name))}


def test_a_batch_calls_those_hooks_of_ours_that_do_something(tmp_path: Path) -> None:
    run(odd(tmp_path, {"max_epochs": 1, "callbacks": [spec(Hooks)]}))
    ours = {name: hooks for name, hooks in Hooks.called.items() if name != "Hooks"}
    assert {"on_train_batch_start", "on_train_batch_end"} <= ours["ProgressMeter"]
    assert "on_train_batch_end" in ours["ReportCallback"]
    assert not any(hooks & {"on_before_backward", "on_after_backward"} for hooks in ours.values())
    assert "on_train_batch_end" not in ours["EpochSeed"]
    assert "on_after_backward" in Hooks.called["Hooks"], "the user's own are left alone"


def test_threads_are_the_jobs(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def note(report: Report) -> bool:
        seen.append(torch.get_num_threads())
        return True

    run(replace(lit(tmp_path), threads=1), note)
    assert set(seen) == {1}
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_the_memory_of_a_finished_trial_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules: list[weakref.ref[Any]] = []
    monkeypatch.setattr(LitModel, "on_fit_start", lambda self: modules.append(weakref.ref(self)))
    run(lit(tmp_path))
    assert modules
    module = modules[0]()
    assert module is None or all(parameter.grad is None for parameter in module.parameters())
    del module
    gc.collect()
    assert modules[0]() is None


def test_epoch_seed_depends_on_seed_and_epoch_alone(tmp_path: Path) -> None:
    draws = []
    for _ in range(2):
        trainer = plain_trainer()
        EpochSeed(5).on_train_epoch_start(trainer, LitModel(SHAPE))
        draws.append((random.random(), float(np.random.rand()), float(torch.rand(()))))
    assert draws[0] == draws[1]


# Trainer arguments


@pytest.mark.slow
def test_the_trainers_own_features_work(tmp_path: Path) -> None:
    early = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val_acc", "mode": "min", "patience": 1},
    }
    keeper = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"monitor": "val_loss"}}
    wanted = {
        "callbacks": [early, keeper],
        "gradient_clip_val": 0.5,
        "accumulate_grad_batches": 2,
        "max_epochs": 9,
        "devices": 1,
        "strategy": "auto",
        "precision": "bf16-mixed",
        "limit_train_batches": 1.0,
    }
    job = lit(tmp_path, wanted)
    assert 1 < len(run(job)) < 9, "stopped early"
    assert len(list(Path(job.folder, "files/checkpoints").glob("*.ckpt"))) == 1


def test_validate_test_and_predict_take_the_shipped_modules(tmp_path: Path) -> None:
    job = lit(tmp_path)
    reports = run(job)
    model, data = (
        LitModel.load_from_checkpoint(job.checkpoints / "epoch=0003-segment=0.ckpt"),
        DigitsDataModule(**SMALL),
    )
    trainer = plain_trainer(limit_test_batches=2, limit_predict_batches=2)
    [validated] = trainer.validate(model, data, verbose=False)
    assert validated["val_acc"] == reports[-1].metrics["val_acc"]
    [tested] = trainer.test(model, data, verbose=False)
    assert 0 <= tested["test_acc"] <= 1
    predicted = trainer.predict(model, data)
    assert predicted is not None
    assert [len(batch) for batch in predicted] == [32, 32]


@pytest.mark.parametrize(
    ("cuda", "bf16", "capability", "cpu", "expected"),
    [
        (True, True, (8, 0), {}, "bf16-mixed"),
        (True, False, (7, 5), {}, "16-mixed"),
        (True, False, (6, 1), {"avx512_bf16": True}, "32-true"),
        (False, False, (0, 0), {"avx512_bf16": True}, "bf16-mixed"),
        (False, False, (0, 0), {"amx_bf16": True}, "bf16-mixed"),
        (False, False, (0, 0), {"avx2": True, "avx512_f": True}, "32-true"),
    ],
)
def test_automatic_precision(
    monkeypatch: pytest.MonkeyPatch,
    cuda: bool,
    bf16: bool,
    capability: tuple[int, int],
    cpu: dict[str, bool],
    expected: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_precision("auto") == expected
    assert resolve_precision("16-mixed") == "16-mixed"


def test_a_job_needs_no_torch() -> None:
    code = "import sys, orchestrator.training as t; t.Job, t.Report, t.derive_seed; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
