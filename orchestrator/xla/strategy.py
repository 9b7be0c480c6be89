"""How the processes of a trial train one model: which part of a batch each takes, and how they come to one gradient.

``spmd``: one process a host; a batch is spread over all devices and XLA's compiler puts the collectives in, so that
values are those of the whole batch. ``xla``: one process a chip; gradients are averaged by XLA's collectives. ``gloo``:
the same through the hosts' network, for a rehearsal only. Which one it is follows from the plan; none stands in for
another. The processes agree on what is no tensor (an answer to a report, a barrier) through gloo in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.optimizer import _optimizers_to_device
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.plugins.precision.xla import XLAPrecision
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities import find_shared_parameters, set_shared_parameters
from torch import Tensor
from torch.utils._pytree import tree_map_only
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from orchestrator.xla.global_batches import Together
from orchestrator.xla.process_env import Process

_COLLECTIVES = {"xla-spmd": "spmd", "rehearsal-spmd": "spmd", "xla-mp": "xla", "rehearsal-gloo": "gloo"}


class Planned(LightningEnvironment):
    """The ranks of the plan; nothing is to be launched."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self._process = process

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return self._process.env["MASTER_ADDR"]

    @property
    def main_port(self) -> int:
        return int(self._process.env["MASTER_PORT"])

    def world_size(self) -> int:
        return self._process.world

    def set_world_size(self, size: int) -> None:
        """The plan's stands."""

    def global_rank(self) -> int:
        return self._process.rank

    def set_global_rank(self, rank: int) -> None:
        """The plan's stands."""

    def local_rank(self) -> int:
        return self._process.local_rank

    def node_rank(self) -> int:
        return self._process.host

    def teardown(self) -> None:
        """Nothing was changed."""


class XlaStrategy(ParallelStrategy):
    """Trains on the XLA devices of a plan.

    Each process loads its own part of the data, as under DDP: a batch of all is so many times ``batch_size`` as there
    are processes, hosts under SPMD. Checkpoints hold CPU tensors and are written once, by rank 0.
    """

    def __init__(self, process: Process) -> None:
        super().__init__(cluster_environment=Planned(process))
        self._process = process
        self.collectives = _COLLECTIVES[process.runtime]
        self._device: torch.device | None = None
        self._mesh: Any = None

    @property
    def is_distributed(self) -> bool:
        """Asked by Lightning, which then gives each process its part of the data."""
        return self._process.world > 1

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        return {"num_replicas": self._process.world, "rank": self._process.rank}

    @property
    def root_device(self) -> torch.device:
        if self._device is None:
            import torch_xla

            self._device = torch_xla.device()
        return self._device

    def callbacks(self) -> list[L.Callback]:
        """What a trainer needs beside the strategy."""
        return [GlobalMetrics(self)]

    def setup_environment(self) -> None:
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
        assert self.accelerator is not None
        assert self.model is not None
        self.accelerator.setup(trainer)
        self.precision_plugin.convert_module(self.model)
        shared = find_shared_parameters(self.model)
        self.model_to_device()
        set_shared_parameters(self.model, shared)
        self._spread([*self.model.parameters(), *self.model.buffers()])
        self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        _optimizers_to_device(self.optimizers, self.root_device)

    def model_to_device(self) -> None:
        assert self.model is not None
        self.model.to(self.root_device)

    def process_dataloader(self, dataloader: Any) -> Any:
        """Under SPMD over several hosts every step is one of all of them."""
        if self.collectives == "spmd" and self._process.world > 1:
            return Together(dataloader, pieces=self._process.own, part=self._part, whole=self._whole)
        return dataloader

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        if self.collectives == "spmd":
            batch = tree_map_only(Tensor, self._spread_batch, batch)
        return super().batch_to_device(batch, device, dataloader_idx)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        assert self.model is not None
        self._spread(list(self.model.buffers()))
        return super().training_step(*args, **kwargs)

    def on_validation_start(self) -> None:
        """All validate the model that rank 0 will save: after the last step its statistics are no longer theirs."""
        assert self.model is not None
        self._spread(list(self.model.buffers()))

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        import torch_xla

        found = super().validation_step(*args, **kwargs)
        torch_xla.sync()  # else one graph grows over all batches of the validation
        return found

    def average_gradients(self, optimizer: Any) -> None:
        """Make each gradient the mean over all processes. Under SPMD it is that already."""
        if self.collectives == "xla":
            import torch_xla.core.xla_model as xm

            xm.reduce_gradients(optimizer)
        elif self.collectives == "gloo" and dist.is_initialized():
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad = self._over_the_network(parameter.grad) / self._process.world

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """The mean or sum over all processes. Under SPMD a tensor is of all of them already."""
        if self.collectives == "spmd" or self._process.world == 1:
            return tensor
        value = tensor if isinstance(tensor, Tensor) else torch.tensor(tensor, device=self.root_device)
        total = self._gathered(value.detach()).sum(dim=0)
        mean = str(reduce_op).lower() in ("mean", "avg", "redopttype.avg")
        return total / self._process.world if mean else total

    def all_gather(self, tensor: Tensor, group: Any = None, sync_grads: bool = False) -> Tensor:
        """(processes, …) of a tensor; under SPMD and alone the tensor itself, as from a single device."""
        if self.collectives == "spmd" or self._process.world == 1:
            return tensor
        return self._gathered(tensor)

    def barrier(self, name: str | None = None) -> None:
        if dist.is_initialized():
            dist.barrier()

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        if not dist.is_initialized():
            return obj
        box = [tree_map_only(Tensor, _on_cpu, obj)]
        dist.broadcast_object_list(box, src)
        return box[0]

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        if not dist.is_initialized():
            return decision
        votes = torch.tensor(int(decision))
        dist.all_reduce(votes)
        return bool(votes == self._process.world) if all else bool(votes)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        import torch_xla

        torch_xla.sync()  # every process: what is pending may hold a collective
        if self.is_global_zero:
            on_cpu = tree_map_only(Tensor, _on_cpu, checkpoint)
            self.checkpoint_io.save_checkpoint(on_cpu, filepath, storage_options=storage_options)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """A trial that was trained on a CPU or GPU may go on here: XLA has no fused optimizers."""
        for state in checkpoint["optimizer_states"]:
            for group in state["param_groups"]:
                if group.get("fused"):
                    group["fused"] = False
        super().load_optimizer_state_dict(checkpoint)

    def remove_checkpoint(self, filepath: Any) -> None:
        if self.is_global_zero:
            self.checkpoint_io.remove_checkpoint(filepath)

    def teardown(self) -> None:
        super().teardown()
        if dist.is_initialized():
            dist.destroy_process_group()

    def gathered_for_metrics(self, tensor: Tensor, group: Any = None) -> list[Tensor]:
        """A metric's state from all processes, whatever the shape of each: torchmetrics' ``dist_sync_fn``."""
        return [part.to(tensor.device) for part in gather_all_tensors(tensor.detach().cpu())]

    def _gathered(self, tensor: Tensor) -> Tensor:
        if self.collectives == "xla":
            import torch_xla.core.xla_model as xm

            return xm.all_gather(tensor.unsqueeze(0))  # type: ignore[no-any-return]
        parts = [torch.empty_like(tensor, device="cpu") for _ in range(self._process.world)]
        dist.all_gather(parts, tensor.cpu().contiguous())
        return torch.stack(parts).to(self.root_device)

    def _over_the_network(self, tensor: Tensor) -> Tensor:
        total = tensor.detach().cpu()
        dist.all_reduce(total)
        return total.to(self.root_device)

    def _spread(self, tensors: list[Any]) -> None:
        """Give every process rank 0's values: of the parameters at first, of the buffers at each step, as DDP does."""
        if self.collectives == "spmd" or not dist.is_initialized():
            return
        for tensor in tensors:
            value = tensor.detach().cpu().contiguous()
            dist.broadcast(value, 0)
            with torch.no_grad():  # not through .data, of which XLA makes another tensor
                tensor.copy_(value)

    def _spread_batch(self, tensor: Tensor) -> Tensor:
        """A batch spread over the devices of the one host by rows.

        One that does not divide by the devices is there on each of them: slower, and the same values.
        """
        if tensor.device.type == "xla" or not tensor.dim() or tensor.shape[0] % self._process.own:
            return tensor
        return self._part(tensor)

    def _part(self, tensor: Tensor) -> Tensor:
        """This host's rows of a batch, spread over its devices."""
        import torch_xla.core.xla_model as xm
        import torch_xla.distributed.spmd as xs

        if not tensor.dim():
            return self._whole(tensor)
        several = self._process.world > 1
        spec = xs.ShardingSpec(self._mesh, ("data",) + (None,) * (tensor.dim() - 1), minibatch=several)
        return xm.send_cpu_data_to_device([tensor], self.root_device, input_sharding=spec)[0]  # type: ignore[no-any-return]

    def _whole(self, tensor: Tensor) -> Tensor:
        """The same rows on every device of every host."""
        return tensor.to(self.root_device)


class XlaPrecision(XLAPrecision):
    """Lightning's, with gradients averaged as the strategy says."""

    def __init__(self, precision: Any, strategy: XlaStrategy) -> None:
        super().__init__(precision)
        self._strategy = strategy

    def _xla_wrap_closure(self, optimizer: Any, closure: Callable[[], Any]) -> Any:
        found = closure()
        self._strategy.average_gradients(optimizer)
        return found


class GlobalMetrics(L.Callback):
    """Has each torchmetrics metric of the module cover the whole epoch's data, not one process's part.

    A metric asks ``torch.distributed`` for the others, and XLA's tensors do not go through it.
    """

    def __init__(self, strategy: XlaStrategy) -> None:
        self._strategy = strategy

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        apart = self._strategy.collectives != "spmd" and self._strategy.world_size > 1
        for metric in pl_module.modules():
            if isinstance(metric, Metric):
                metric.distributed_available_fn = (lambda: True) if apart else (lambda: False)
                metric.dist_sync_fn = self._strategy.gathered_for_metrics


def _mesh(devices: int) -> Any:
    import numpy as np
    import torch_xla.distributed.spmd as xs

    mesh = xs.Mesh(np.arange(devices), (devices,), ("data",))
    xs.set_global_mesh(mesh)
    return mesh


def _on_cpu(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu()
