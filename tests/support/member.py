"""One process of a trial of several: `python -m tests.support.member JOB RANK PORT`; rank 0 prints what it reports."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader, DistributedSampler

from orchestrator.engine.listening_ports import listening_ports
from orchestrator.training import Job, Report, fit
from orchestrator.training.process_group import environment
from tests.support.tiny import Tiny, TinyData


class Straight(TinyData):
    """In the order that they are in: then ranks together see what one process sees in a batch as large.

    Lightning would shuffle what a plain loader trains on among ranks, in another order than one process has.
    """

    def train_dataloader(self) -> DataLoader[tuple[torch.Tensor, ...]]:
        if not torch.distributed.is_initialized():
            return DataLoader(self.points, self.batch_size)
        return DataLoader(self.points, self.batch_size, sampler=DistributedSampler(self.points, shuffle=False))


class Told(Tiny):
    """Logs its rank, how many of its ports other hosts reach, and one metric on rank 0 alone."""

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        super().validation_step(batch, index)
        self.log("rank", float(self.global_rank))
        self.log("open", float(sum(not port.is_loopback for port in listening_ports([os.getpid()]))))
        if self.global_rank == 0:
            self.log("first", 7.0, rank_zero_only=True)


class Sharded(Told):
    """Its weights are shared out over the processes (FSDP2), where there are several."""

    def configure_model(self) -> None:
        if self.device_mesh is not None:
            fully_shard(self.layer, mesh=self.device_mesh["data_parallel"])
            assert isinstance(self.layer.weight, DTensor)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """With moments: Lightning 2.6 does not load what an optimizer without any has saved of it."""
        return torch.optim.Adam(self.parameters(), lr=self.hparams["learning_rate"])


class Second(Told):
    """Of which rank 1 alone breaks down."""

    def break_down(self) -> None:
        if self.global_rank == 1:
            super().break_down()


def main(job: str, rank: str, port: str) -> None:
    os.environ.update(environment(int(rank), Job(**json.loads(job)).workers, "127.0.0.1", int(port)))

    def report(epoch: Report) -> bool:
        print(json.dumps(asdict(epoch)), flush=True)
        return epoch.epoch < 3  # whoever asks for more of five has not heard

    fit(Job(**json.loads(job)), report)
    assert not torch.distributed.is_initialized()


if __name__ == "__main__":
    main(*sys.argv[1:])
