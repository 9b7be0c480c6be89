"""Objectives and a study as Optuna's documentation has them, with nothing of this project."""

from __future__ import annotations

from typing import Any

import lightning as L
import optuna

from tests.support.tiny import Tiny, TinyData


def objective(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("rate", 1e-5, 1e-1, log=True)
    layers = trial.suggest_int("layers", 1, 3)
    optimizer = trial.suggest_categorical("optimizer", ["Adam", "SGD", None])
    units = [trial.suggest_int(f"units_{layer}", 4, 128, log=True) for layer in range(2)]
    dropped = 0.0
    for layer in range(2):
        dropped += trial.suggest_float("drop_{}".format(layer), 0.0, 0.5, step=0.1)  # noqa: UP032
    trial.set_user_attr("units", units)
    return rate + layers + dropped + (optimizer is None) + sum(units) / 100


def pruning(trial):  # type: ignore[no-untyped-def]
    """Reports from step 0 on, and prunes itself in any case."""
    x = trial.suggest_float("x", -5, 5)
    for step in range(6):
        value = (x - 1) ** 2 + 1 / (step + 1)
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
        if step == 3 and trial.number == 0:
            raise optuna.exceptions.TrialPruned
    return value


def pruned_at_once(trial: optuna.trial.Trial) -> float:
    raise optuna.TrialPruned(trial.suggest_float("x", -5, 5))


class Prunes(L.Callback):
    """As Optuna's callback for Lightning: it reports each validation, while the Trainer fits."""

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._trial.report(trainer.callback_metrics["val_loss"].item(), step=pl_module.current_epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def with_trainer(trial: optuna.Trial) -> Any:
    rate = trial.suggest_float("rate", 1e-3, 1e-1, log=True)
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                        callbacks=[Prunes(trial)])  # fmt: skip
    trainer.fit(Tiny(rate), TinyData())
    return trainer.callback_metrics["val_loss"].item()


if __name__ == "__main__":
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=100, timeout=600)
