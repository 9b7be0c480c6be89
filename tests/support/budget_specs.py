"""Specs for tests of budgets."""

from __future__ import annotations

from typing import Any

from orchestrator.spec import SweepSpec, from_mapping


def described(limits: dict[str, Any], **fields: Any) -> SweepSpec:
    base: dict[str, Any] = {
        "name": "s",
        "seed": 3,
        "objective": {"metric": "val_acc", "mode": "max"},
        "model": "nowhere.Never",
        "trainer": {"max_epochs": 8},
        "space": {"model.width": {"int": [1, 64]}, "model.rate": {"log_uniform": [1e-4, 1e-1]}},
        "searcher": "random",
        "scheduler": "fifo",
        "budget": limits,
        "resources": {"gpus": 2, "price": 7.2},
    }
    return from_mapping(base | fields)
