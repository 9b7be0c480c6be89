"""Several processes that train one trial together: each calls `fit`, in the environment that torchrun would give."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
import torch.distributed as dist

from orchestrator.errors import UsageError
from orchestrator.training.job import Job


def environment(rank: int, ranks: int, address: str, port: int) -> dict[str, str]:
    """What torchrun would set for the process of that rank, each on a node of its own as far as it can tell.

    By the first of them Lightning takes the processes as started by others, and starts none.
    """
    return {
        "TORCHELASTIC_RUN_ID": "sweep",
        "RANK": str(rank),
        "LOCAL_RANK": "0",
        "GROUP_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": address,
        "MASTER_PORT": str(port),
    }


def rank(job: Job) -> int:
    """This process's among those that train the job, from 0. Raises UsageError where nobody has told it."""
    if job.workers == 1:
        return 0
    told = os.environ.get("WORLD_SIZE")
    if told != str(job.workers) or "RANK" not in os.environ:
        raise UsageError(
            f"a trial of {job.workers} workers trains in as many processes, and this one is told of {told or 'none'}",
            hint="--local runs trials of one process alone: --set resources.workers=1",
        )
    return int(os.environ["RANK"])


def arguments(job: Job) -> dict[str, Any]:
    """What a Trainer needs to know of it; the user's own arguments count more."""
    return {"num_nodes": job.workers, "strategy": "ddp"} if job.workers > 1 else {}


def part(job: Job) -> None:
    """The processes go their ways. Without it the next segment of a process would join the group of this one."""
    if job.workers > 1 and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def mean_of_ranks(trainer: L.Trainer, metrics: Mapping[str, float]) -> dict[str, float]:
    """Each metric that rank 0 logged, as the mean over the ranks that have it; the same on all.

    Metrics that were logged with ``sync_dist=True``, or by torchmetrics, are the same on all ranks before.
    """
    if trainer.world_size == 1:
        return dict(metrics)
    told: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(told, dict(metrics))
    found = {}
    for name in told[0]:
        values = torch.tensor([one[name] for one in told if name in one], dtype=torch.float64)
        found[name] = float(values.mean())
    return found
