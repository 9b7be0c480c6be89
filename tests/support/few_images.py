"""Arguments for a data set of few images."""

from __future__ import annotations

FEW = ["trainer.limit_train_batches=3", "trainer.limit_val_batches=2", "trainer.max_epochs=2", "budget.trials=2"]
