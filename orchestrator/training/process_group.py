"""Train one trial by several processes: each calls `fit`, in the environment that torchrun would set."""

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
    """Return what torchrun would set for the process of that rank, as if each process were on a node of its own.

    By TORCHELASTIC_RUN_ID Lightning detects that the processes are started externally, and starts none.
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
    """Return this process's rank among those that train the job, from 0.

    Raises:
        UsageError: the environment has no rank, or another number of processes than the job.
    """
    if job.workers == 1:
        return 0
    world_size = os.environ.get("WORLD_SIZE")
    if world_size != str(job.workers) or "RANK" not in os.environ:
        raise UsageError(
            f"a trial of {job.workers} workers needs as many processes, but WORLD_SIZE is {world_size or 'not set'}",
            hint="--local runs each trial in one process: add --set resources.workers=1",
        )
    return int(os.environ["RANK"])


def arguments(job: Job) -> dict[str, Any]:
    """Return the Trainer arguments for several processes; the user's own override them."""
    return {"num_nodes": job.workers, "strategy": "ddp"} if job.workers > 1 else {}


def leave(job: Job) -> None:
    """Destroy the process group, so that the next segment in this process does not join it."""
    if job.workers > 1 and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def mean_of_ranks(trainer: L.Trainer, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return each metric that rank 0 logged, as the mean over the ranks that logged it; the same on all ranks.

    Metrics logged with ``sync_dist=True`` or by torchmetrics are the same on all ranks already.
    """
    if trainer.world_size == 1:
        return dict(metrics)
    by_rank: list[Any] = [None] * trainer.world_size
    dist.all_gather_object(by_rank, dict(metrics))
    means = {}
    for name in by_rank[0]:
        values = torch.tensor([logged[name] for logged in by_rank if name in logged], dtype=torch.float64)
        means[name] = float(values.mean())
    return means
