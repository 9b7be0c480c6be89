"""A Lightning strategy that trains one model by all XLA processes of a trial.

``spmd``: one process a host; each batch is sharded over all devices, and XLA's compiler inserts the collectives, so
that values are those of the global batch. ``xla``: one process a chip; gradients are averaged by XLA's collectives.
``gloo``: the same through the hosts' network, for a rehearsal only. The plan determines which one is used; there is no
fallback. Python objects (the answer to a report, a barrier) always go through gloo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.plugins.precision.xla import XLAPrecision
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities import find_shared_parameters, set_shared_parameters
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from orchestrator.training.compat_lightning import move_optimizers
from orchestrator.xla.global_batches import GlobalBatches
from orchestrator.xla.process_env import Process

_COLLECTIVES = {"xla-spmd": "spmd", "rehearsal-spmd": "spmd", "xla-mp": "xla", "rehearsal-gloo": "gloo"}


class PlannedEnvironment(LightningEnvironment):
    """The ranks of the plan, for processes that are started externally."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    @property
    def creates_processes_externally(self) -> bool:
        """True: Lightning launches nothing."""
        return True

    @property
    def main_address(self) -> str:
        """The address of the rendezvous."""
        return self._process.env["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        """The port of the rendezvous."""
        return int(self._process.env["MASTER_PORT"])

    def world_size(self) -> int:
        """Return the number of processes."""
        return self._process.world

    def set_world_size(self, size: int) -> None:
        """Do nothing: the plan determines it."""

    def global_rank(self) -> int:
        """Return the rank among all processes."""
        return self._process.rank

    def set_global_rank(self, rank: int) -> None:
        """Do nothing: the plan determines it."""

    def local_rank(self) -> int:
        """Return the rank among the host's processes."""
        return self._process.local_rank

    def node_rank(self) -> int:
        """Return the host's number."""
        return self._process.host

    def teardown(self) -> None:
        """Do nothing: nothing was changed."""


class XlaStrategy(ParallelStrategy):
    """Trains on the XLA devices of a plan.

    Each process loads its own part of the data, as under DDP, so the global batch has ``batch_size`` rows for each
    process (under SPMD, for each host). Checkpoints hold CPU tensors and are written once, by rank 0.
    """

    def __init__(self, process: Process) -> None:
        super().__init__(cluster_environment=PlannedEnvironment(process))
        self._process = process
        self.collectives = _COLLECTIVES[process.runtime]
        self._device: torch.device | None = None
        self._mesh: Any = None

    @property
    def is_distributed(self) -> bool:
        """Whether Lightning gives each process its part of the data."""
        return self._process.world > 1

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """The number of parts of the data, and the number of this process's."""
        return {"num_replicas": self._process.world, "rank": self._process.rank}

    @property
    def root_device(self) -> torch.device:
        """The XLA device of this process."""
        if self._device is None:
            import torch_xla

            self._device = torch_xla.device()
        return self._device

    def callbacks(self) -> list[L.Callback]:
        """Return the callbacks that the strategy needs."""
        return [GlobalMetrics(self)]

    def setup_environment(self) -> None:
        """Connect the processes, and create the mesh of devices under SPMD."""
        rank_zero_only.rank = self.global_rank  # type: ignore[attr-defined]
        if self._process.world > 1 and not dist.is_initialized():
            address = f"tcp://{self._process.env['MASTER_ADDR']}:{self._process.env['MASTER_PORT']}"
            dist.init_process_group(
                "gloo", init_method=address, rank=self._process.rank, world_size=self._process.world
            )
        if self.collectives == "spmd":
            self._mesh = _mesh(self._process.devices)
        super().setup_environment()

    def setup(self, trainer: L.Trainer) -> None:
        """Move the model and the optimizers to the device, with rank 0's values on all processes."""
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.precision_plugin.convert_module(self.model)
        shared = find_shared_parameters(self.model)
        self.model_to_device()
        set_shared_parameters(self.model, shared)
        self._broadcast_values([*self.model.parameters(), *self.model.buffers()])
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        move_optimizers(self.optimizers, self.root_device)

    def model_to_device(self) -> None:
        """Move the model to the device."""
        assert self.model is not None
        self.model.to(self.root_device)

    def process_dataloader(self, dataloader: Any) -> Any:
        """Return a loader whose batches are global under SPMD on several hosts; else the loader unchanged."""
        if self.collectives == "spmd" and self._process.world > 1:
            return GlobalBatches(dataloader, devices=self._process.own, shard=self._shard, replicate=self._replicate)
        return dataloader

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        """Move a batch to the device; under SPMD, shard it over the devices."""
        if self.collectives == "spmd":
            batch = tree_map_only(Tensor, self._shard_batch, batch)
        return super().batch_to_device(batch, device, dataloader_idx)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run a training step with rank 0's buffers on all processes."""
        assert self.model is not None
        self._broadcast_values(list(self.model.buffers()))
        return super().training_step(*args, **kwargs)

    def on_validation_start(self) -> None:
        """Broadcast rank 0's buffers, so that all processes validate the model that rank 0 saves.

        After the last training step, statistics such as BatchNorm's differ between the processes.
        """
        assert self.model is not None
        self._broadcast_values(list(self.model.buffers()))

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run a validation step, and execute its graph."""
        import torch_xla

        output = super().validation_step(*args, **kwargs)
        torch_xla.sync()  # otherwise one graph grows over all batches of the validation
        return output

    def average_gradients(self, optimizer: Any) -> None:
        """Replace each gradient by the mean over all processes. Under SPMD it is the mean already."""
        if self.collectives == "xla":
            import torch_xla.core.xla_model as xm

            xm.reduce_gradients(optimizer)
        elif self.collectives == "gloo" and dist.is_initialized():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad = self._sum_by_gloo(parameter.grad) / self._process.world

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """Return the mean or sum over all processes. Under SPMD a tensor is global already."""
        if self.collectives == "spmd" or self._process.world == 1:
            return tensor
        value = tensor if isinstance(tensor, Tensor) else torch.tensor(tensor, device=self.root_device)
        total = self._gather(value.detach()).sum(dim=0)
        mean = str(reduce_op).lower() in ("mean", "avg", "redopttype.avg")
        return total / self._process.world if mean else total

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """Return the tensors of all processes as (processes, …); under SPMD or for one process, the tensor itself."""
        if self.collectives == "spmd" or self._process.world == 1:
            return tensor
        return self._gather(tensor)

    def barrier(self, name: str | None = None) -> None:
        """Wait for all processes."""
        if dist.is_initialized():
            dist.barrier()

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Return the object of rank ``src``."""
        if not dist.is_initialized():
            return obj
        box = [tree_map_only(Tensor, _on_cpu, obj)]
        dist.broadcast_object_list(box, src)
        return box[0]

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Return whether all processes, or any, decided True."""
        if not dist.is_initialized():
            return decision
        votes = torch.tensor(int(decision))
        dist.all_reduce(votes)
        return bool(votes == self._process.world) if all else bool(votes)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write the checkpoint on rank 0, as CPU tensors."""
        import torch_xla

        torch_xla.sync()  # on every process: the pending graph may contain a collective
        if self.is_global_zero:
            on_cpu = tree_map_only(Tensor, _on_cpu, checkpoint)
            self.checkpoint_io.save_checkpoint(on_cpu, filepath, storage_options=storage_options)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the optimizers' state without ``fused``, which XLA lacks: the trial may come from a CPU or GPU."""
        for state in checkpoint["optimizer_states"]:
            for group in state["param_groups"]:
                if group.get("fused"):
                    group["fused"] = False
        super().load_optimizer_state_dict(checkpoint)

    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove the checkpoint on rank 0."""
        if self.is_global_zero:
            self.checkpoint_io.remove_checkpoint(filepath)

    def teardown(self) -> None:
        """Disconnect the processes."""
        super().teardown()
        if dist.is_initialized():
            dist.destroy_process_group()

    def gather_for_metrics(self, tensor: Tensor, group: Any = None) -> list[Tensor]:
        """Return a metric's state of all processes, of any shapes: torchmetrics' ``dist_sync_fn``."""
        return [part.to(tensor.device) for part in gather_all_tensors(tensor.detach().cpu())]

    def _gather(self, tensor: Tensor) -> Tensor:
        if self.collectives == "xla":
            import torch_xla.core.xla_model as xm

            return xm.all_gather(tensor.unsqueeze(0))  # type: ignore[no-any-return]
        parts = [torch.empty_like(tensor, device="cpu") for _ in range(self._process.world)]
        dist.all_gather(parts, tensor.cpu().contiguous())
        return torch.stack(parts).to(self.root_device)

    def _sum_by_gloo(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().cpu()
        dist.all_reduce(total)
        return total.to(self.root_device)

    def _broadcast_values(self, tensors: list[Any]) -> None:
        """Copy rank 0's values to every process, as DDP does for parameters at the start and buffers at each step."""
        if self.collectives == "spmd" or not dist.is_initialized():
            return
        for tensor in tensors:
            value = tensor.detach().cpu().contiguous()
            dist.broadcast(value, 0)
            with torch.no_grad():  # not by .data, which is another tensor under XLA
                tensor.copy_(value)

    def _shard_batch(self, tensor: Tensor) -> Tensor:
        """Shard a batch over the devices of a single host by rows.

        If the rows are not a multiple of the devices, the batch is replicated later: slower, with the same values.
        """
        if tensor.device.type == "xla" or not tensor.dim() or tensor.shape[0] % self._process.own:
            return tensor
        return self._shard(tensor)

    def _shard(self, tensor: Tensor) -> Tensor:
        """Shard this host's rows of a batch over its devices."""
        import torch_xla.core.xla_model as xm
        import torch_xla.distributed.spmd as xs

        if not tensor.dim():
            return self._replicate(tensor)
        several = self._process.world > 1
        spec = xs.ShardingSpec(self._mesh, ("data",) + (None,) * (tensor.dim() - 1), minibatch=several)
        return xm.send_cpu_data_to_device([tensor], self.root_device, input_sharding=spec)[0]  # type: ignore[no-any-return]

    def _replicate(self, tensor: Tensor) -> Tensor:
        """Put the same rows on every device of every host."""
        return tensor.to(self.root_device)


class XlaPrecision(XLAPrecision):
    """Lightning's ``XLAPrecision``, with gradients averaged by the strategy."""

    def __init__(self, precision: Any, strategy: XlaStrategy) -> None:
        super().__init__(precision)
        self._strategy = strategy

    def _xla_wrap_closure(self, optimizer: Any, closure: Callable[[], Any]) -> Any:
        loss = closure()
        self._strategy.average_gradients(optimizer)
        return loss


class GlobalMetrics(L.Callback):
    """Makes each torchmetrics metric of the module cover the data of all processes, not those of one.

    By default a metric uses ``torch.distributed``, which cannot send XLA tensors.
    """

    def __init__(self, strategy: XlaStrategy) -> None:
        self._strategy = strategy

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Set how the module's metrics are synchronised."""
        is_local = self._strategy.collectives != "spmd" and self._strategy.world_size > 1
        for metric in pl_module.modules():
            if isinstance(metric, Metric):
                metric.distributed_available_fn = (lambda: True) if is_local else (lambda: False)
                metric.dist_sync_fn = self._strategy.gather_for_metrics


def _mesh(devices: int) -> Any:
    import numpy as np
    import torch_xla.distributed.spmd as xs

    mesh = xs.Mesh(np.arange(devices), (devices,), ("data",))
    xs.set_global_mesh(mesh)
    return mesh


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu()
