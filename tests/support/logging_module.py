"""A module that uses Trainer features which write files, as a user's own would."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from tests.support.tiny import Tiny


class Histograms(Tiny):
    """Logs by the experiment of Lightning's default logger."""

    def on_validation_epoch_end(self) -> None:
        logger: Any = self.logger
        logger.experiment.add_histogram("weights", self.layer.weight, self.current_epoch)
        logger.log_metrics({"own": 1.0}, self.current_epoch)
        assert self.loggers[0] is logger
        assert self.trainer.default_root_dir in str(logger.log_dir)


class Configured(Tiny):
    """Configures a callback with a fixed folder."""

    def configure_callbacks(self) -> list[ModelCheckpoint]:
        return [ModelCheckpoint(dirpath="configured", filename="best", monitor="val_loss")]


class FirstLogger(Tiny):
    """Expects the logger of its Trainer's arguments to be the first."""

    def on_fit_start(self) -> None:
        assert isinstance(self.logger, CSVLogger)
