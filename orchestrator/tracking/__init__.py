"""Trackers that talk to a server (W&B, MLflow), each in a process of its own beside the driver.

    beside(run, spec)  starts them, and gives them nine seconds at the end of the sweep; `launch` and `resume` use it
    unsent(run)        what W&B has not been sent, and the command that sends it
    send(run, spec)    sends it, for as long as that takes

They read the journal and the segments' CSV files, and write into ``<run>/wandb``, ``<run>/mlruns`` and
``<run>/tracking``. No trial waits for them, and nothing of the sweep depends on them.
"""

from __future__ import annotations

from orchestrator.tracking.uploader_processes import beside, check, send
from orchestrator.tracking.wandb_offline_runs import unsent

__all__ = ["beside", "check", "send", "unsent"]
