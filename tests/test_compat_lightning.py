"""Canaries for the private parts of Lightning in use: a failure names the installed and the last tested version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.errors import SweepError
from orchestrator.training import compat_lightning as compat


@contextmanager
def canary() -> Iterator[None]:
    """Add the versions to whatever fails inside."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}; {compat.version_hint()}") from error


class Steps(Logger):
    """Records the step of each call that logs an epoch's training loss."""

    name, version = "", ""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int | None] = []

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if "train_loss" in metrics:
            self.steps.append(step)


class Probe(L.Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        compat.restart_data_fetcher(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.steps.append(compat.logged_step(trainer))


class Loader(DataLoader[Any]):
    starts = 0

    def __iter__(self) -> Any:
        self.starts += 1
        return super().__iter__()


def trainer(tmp_path: Path, **arguments: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=2,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        **arguments,
    )


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_training_loader_is_restarted_and_its_step_known(tmp_path: Path) -> None:
    features = torch.randn(12, 4)
    loader = Loader(TensorDataset(features, torch.randint(2, (12,))), batch_size=4)
    logger, probe = Steps(), Probe()
    with canary():
        trainer(tmp_path, logger=logger, callbacks=[probe]).fit(EpochLoss(), loader)
        assert loader.starts == 4  # in each epoch, one start by Lightning and one by the probe
        assert probe.steps == logger.steps == [2, 5]


class EpochLoss(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_lightning_reads_entry_points_by_the_name_that_is_replaced(tmp_path: Path) -> None:
    with canary():
        original: Any = vars(registry)["entry_points"]
        with compat.cached_entry_points():
            cached = vars(registry)["entry_points"]
            trainer(tmp_path, logger=False)
            assert cached.cache_info().currsize >= 1
        assert vars(registry)["entry_points"] is original


@pytest.mark.slow
def test_wandb_loggers_run_and_arguments(tmp_path: Path) -> None:
    with canary():
        logger = WandbLogger(project="canary", save_dir=str(tmp_path), mode="offline")
        assert compat.wandb_run(logger) is None
        assert compat.wandb_init_arguments(logger)["project"] == "canary"
        run = SimpleNamespace(id="mine")
        compat.set_wandb_run(logger, run)
        assert logger.experiment is run


@pytest.mark.slow  # importing MLflow takes seconds
@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow")
def test_mlflow_loggers_client_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    with canary():
        first = MLFlowLogger("canary", tracking_uri=uri)
        assert compat.mlflow_ids(first) == (None, None)
        assert first.run_id is not None
        assert compat.mlflow_ids(first) == (first.experiment_id, first.run_id)
        second = MLFlowLogger("canary", tracking_uri=uri)
        assert compat.mlflow_client(second).get_experiment_by_name("canary") is not None
        assert compat.mlflow_ids(second) == (None, None)
        compat.set_mlflow_run_id(second, first.run_id)
        assert second.run_id == first.run_id


def test_optimizers_move_with_their_state() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    torch.autograd.backward(parameter.sum())
    optimizer.step()
    with canary():
        compat.move_optimizers([optimizer], torch.device("meta"))
        assert optimizer.state[parameter]["momentum_buffer"].device.type == "meta"


def test_a_renamed_part_is_an_error_that_names_both_versions() -> None:
    stranger: Any = SimpleNamespace(fit_loop=SimpleNamespace(epoch_loop=SimpleNamespace()))
    for call in (compat.logged_step, compat.restart_data_fetcher, compat.wandb_run, compat.mlflow_client):
        with pytest.raises(SweepError, match="has no _") as caught:
            call(stranger)
        assert L.__version__ in caught.value.hint
        assert compat.LAST_TESTED in caught.value.hint


class Hooked(L.Callback):
    """Notes what the functions that watch the training loops see."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        compat.on_train_loaders(trainer, lambda combined: self.seen.append(("loaders", len(combined.flattened))))
        compat.around_batches(trainer, first=self._first, after_each=lambda: self._after(trainer))

    def _first(self) -> None:
        self.seen.append("first")

    def _after(self, trainer: L.Trainer) -> None:
        combined = trainer.fit_loop._combined_loader
        assert combined is not None
        progress = compat.combined_progress(combined)
        ends = (compat.epoch_is_complete(trainer), compat.steps_epoch_schedulers(trainer))
        logged = [item["key"] for item in compat.logged_so_far(trainer)]
        self.seen.append((progress, ends, compat.is_accumulating(trainer), compat.batches_ahead(trainer), logged))
        assert compat.last_reload(trainer) == 0
        assert not compat.fetches_ahead(trainer)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_training_loops_are_watched_between_batches(tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(torch.randn(8, 4), torch.randint(2, (8,))), batch_size=4)
    hooked = Hooked()
    with canary():
        one = trainer(tmp_path, logger=False, callbacks=[hooked], accumulate_grad_batches=2)
        one.fit_loop.max_epochs = 1
        one.fit(EpochLoss(), loader)
    logged = ["training_step.train_loss"]
    assert hooked.seen == [
        ("loaders", 1),
        "first",
        ((1, [False]), (False, False), True, 0, logged),
        ((2, [False]), (True, True), False, 0, logged),
    ]
