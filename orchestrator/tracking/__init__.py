"""Trackers that talk to a server (W&B, MLflow), each in a process of its own beside the driver.

    check(spec)           refuse a tracker whose library is missing
    run_trackers(run, spec)  run them during a sweep; they have eight seconds at its end
    unsent(run)           describe what W&B has not received, and the command that sends it
    send(run, spec)       upload the rest, without a time limit

They read the journal and the segments' CSV files, and write to ``<run>/wandb``, ``<run>/mlruns`` and
``<run>/tracking``. Trials do not wait for them, and the sweep does not depend on them.
"""

from __future__ import annotations

from orchestrator.tracking.uploader_processes import check, run_trackers, send
from orchestrator.tracking.wandb_offline_runs import unsent

__all__ = ["check", "run_trackers", "send", "unsent"]
