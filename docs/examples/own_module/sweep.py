"""The sweep of sweep.yaml, in Python: python sweep.py."""

from __future__ import annotations

from my_model import Diabetes, Regressor

from orchestrator import Sweep, choice, log_uniform

sweep = Sweep(
    name="own-module",
    model=Regressor,
    data=Diabetes,
    trainer={"max_epochs": 9},
    objective=("val_loss", "min"),
    space={
        "model.learning_rate": log_uniform(1e-4, 1e-1),
        "model.hidden": choice(8, 16, 32),
        "data.batch_size": choice(16, 32, 64),
    },
    scheduler={"name": "asha", "grace": 1, "reduction_factor": 3},
    budget=8,
)

if __name__ == "__main__":
    sweep.launch()
    print(sweep.best())
