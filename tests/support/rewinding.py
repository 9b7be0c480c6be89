"""A callback that moves the Trainer, as those do that train on their own before the fit begins."""

from __future__ import annotations

import lightning as L


class Moved(L.Callback):
    """Lets a segment that resumes continue from so many finished epochs, whatever its checkpoint says."""

    def __init__(self, epochs: int = 0) -> None:
        self.epochs = epochs

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch > 0:
            progress = trainer.fit_loop.epoch_progress.current
            for name in vars(progress):
                setattr(progress, name, self.epochs)
