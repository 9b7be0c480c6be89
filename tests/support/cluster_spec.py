"""A spec for sweeps as Ray Jobs."""

from __future__ import annotations

SPEC = {
    "name": "far",
    "seed": 3,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "mine.Mine", "init_args": {}},
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": 2},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": 36},
    "resources": {"cpus": 1},
}
