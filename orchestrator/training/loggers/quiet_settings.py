"""Settings of W&B and MLflow for runs that are written during training; no heavy imports."""

from __future__ import annotations

from typing import Any

# Nothing is printed or measured. Without the last setting `wandb.init` lists every package: 200 ms instead of 10.
QUIET: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "symlink": False,
    "disable_git": True,
    "disable_code": True,
    "x_disable_stats": True,
    "x_disable_meta": True,
    "x_disable_machine_info": True,
    "x_save_requirements": False,
}

# By default, MLflow retries a server that does not answer for more than ten minutes.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
MLFLOW_TAG = "sweep.run"
"""The tag of an MLflow run that holds the sweep's id of it."""
