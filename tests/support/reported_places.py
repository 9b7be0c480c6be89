"""Lightning's ways to say how long and how often to train, and the places at which reports come out."""

from __future__ import annotations

from typing import Any

from tests.support.cut_runs import Plans

TWO = {"max_epochs": 2}
LONGER: dict[str, Any] = {"max_epochs": 9}
UNTIL = {"unit": "samples", "until": 31}
STEPS = {"unit": "steps"}
NEVER: dict[str, Any] = {"limit_val_batches": 0}
EVERY: dict[str, Any] = {"check_val_every_n_epoch": None}

# An epoch has 8 batches: 7 of three points and one of two. Each report: epochs, steps, samples.
PLACES: dict[str, tuple[Plans, list[tuple[float, int, int]]]] = {
    "max_epochs": (Plans({"kind": "map"}, {}, TWO), [(1, 8, 23), (2, 16, 46)]),
    "a fraction": (
        Plans({"kind": "map"}, {}, {**TWO, "val_check_interval": 0.5}),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (2, 16, 46)],
    ),
    "a count": (
        Plans({"kind": "map"}, {}, {**TWO, "val_check_interval": 3}),
        [(0.375, 3, 9), (0.75, 6, 18), (1.375, 11, 32), (1.75, 14, 41)],
    ),
    "a count over epochs": (
        Plans({"kind": "map"}, {}, {**TWO, **EVERY, "val_check_interval": 5}),
        [(0.625, 5, 15), (1.25, 10, 29), (1.875, 15, 44)],
    ),
    "every second epoch": (
        Plans({"kind": "map"}, {}, {"max_epochs": 4, "check_val_every_n_epoch": 2}),
        [(2, 16, 46), (4, 32, 92)],
    ),
    "max_steps": (
        Plans({"kind": "map"}, {}, {"max_epochs": -1, "max_steps": 12, "val_check_interval": 4}, progress=STEPS),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35)],
    ),
    "max_steps between two validations": (
        Plans(
            {"kind": "map"}, {}, {**LONGER, "max_steps": 13, "val_check_interval": 4}, progress={**STEPS, "until": 13}
        ),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (1.625, 13, 38)],
    ),
    "every second epoch, until three": (
        Plans(
            {"kind": "map"},
            {},
            {"max_epochs": 3, "check_val_every_n_epoch": 2},
            progress={"unit": "epochs", "until": 3},
        ),
        [(2, 16, 46), (3, 24, 69)],
    ),
    "until so many samples": (
        Plans({"kind": "map"}, {}, {**LONGER, "val_check_interval": 4}, progress=UNTIL),
        [(0.5, 4, 12), (1, 8, 23), (1.375, 11, 32)],
    ),
    "until one and a half epochs": (
        Plans({"kind": "map"}, {}, LONGER, progress={"unit": "epochs", "until": 1.5}),
        [(1, 8, 23), (1.5, 12, 35)],
    ),
    "until a counter of the module": (
        Plans({"kind": "map"}, {}, LONGER, progress={"unit": "metric:seen", "until": 30}),
        [(1, 8, 23), (1.375, 11, 32)],
    ),
    "until so many steps of a stream": (
        Plans({"kind": "stream"}, {}, LONGER, progress=UNTIL),
        [(1, 8, 23), (1, 11, 32)],
    ),
    "until so many samples without validation": (
        Plans({"kind": "map"}, {}, {**LONGER, **NEVER}, metric="train_loss", progress=UNTIL),
        [(1, 8, 23), (1.375, 11, 32)],
    ),
    "limit_train_batches": (
        Plans({"kind": "map"}, {}, {**TWO, "limit_train_batches": 4, "val_check_interval": 2}),
        [(0.5, 2, 6), (1, 4, 12), (1.5, 6, 18), (2, 8, 24)],
    ),
    "accumulation": (
        Plans({"kind": "map"}, {}, {**TWO, "accumulate_grad_batches": 4, "val_check_interval": 3}),
        [(0.375, 0, 9), (0.75, 1, 18), (1.375, 2, 32), (1.75, 3, 41)],
    ),
    "two optimizers by hand": (
        Plans({"kind": "map"}, {"manual": True}, {**TWO, "val_check_interval": 0.5}),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (2, 16, 46)],
    ),
    "loaders made anew": (
        Plans({"kind": "map"}, {}, {**TWO, "reload_dataloaders_every_n_epochs": 1}),
        [(1, 8, 23), (2, 16, 46)],
    ),
    "two validation loaders": (
        Plans({"kind": "map", "val_loaders": 2}, {}, TWO, metric="val_loss/dataloader_idx_1"),
        [(1, 8, 23), (2, 16, 46)],
    ),
    "no validation": (Plans({"kind": "map"}, {}, {**TWO, **NEVER}, metric="train_loss"), [(1, 8, 23), (2, 16, 46)]),
    "no validation, every 3 steps": (
        Plans({"kind": "map"}, {}, {"max_epochs": 1, **NEVER}, metric="train_loss", progress={**STEPS, "every": 3}),
        [(0.375, 3, 9), (0.75, 6, 18), (1, 8, 23)],
    ),
    "no validation, every 10 samples": (
        Plans(
            {"kind": "map"},
            {},
            {"max_epochs": 1, **NEVER},
            metric="train_loss",
            progress={"unit": "samples", "every": 10},
        ),
        [(0.5, 4, 12), (0.875, 7, 21), (1, 8, 23)],
    ),
    "iterable with a length": (
        Plans({"kind": "sized"}, {}, {**TWO, "val_check_interval": 0.5}),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (2, 16, 46)],
    ),
    "iterable without a length, in steps": (
        Plans({"kind": "stream"}, {}, {**TWO, "val_check_interval": 4}, progress=STEPS),
        [(0, 4, 12), (1, 8, 23), (1, 12, 35), (2, 16, 46)],
    ),
}
