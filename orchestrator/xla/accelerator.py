"""XLA devices for a Lightning Trainer, checked against the plan. Functions import torch_xla when they run."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.accelerators import Accelerator

from orchestrator.errors import SweepError
from orchestrator.seeds import derive_seed
from orchestrator.xla.process_env import Process
from orchestrator.xla.training_process import PYTHON


class DeviceError(SweepError):
    """The devices of a training process differ from those planned for it."""

    code = "device"


class XlaDevices(Accelerator):
    """The XLA devices of this process, of any hardware.

    Lightning's own accelerator counts Google's PCI devices, and so rejects PJRT on a CPU.
    """

    def setup_device(self, device: torch.device) -> None:
        """Do nothing: the runtime has set up its devices."""

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        """Return nothing: statistics would wait for the device."""
        return {}

    def teardown(self) -> None:
        """Do nothing: there is nothing to restore."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """Return the argument unchanged."""
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """Return the device of this process; under SPMD it represents all devices."""
        return [torch.device("xla:0")]

    @staticmethod
    def auto_device_count() -> int:
        """Return 1: a process has one device."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Return True: `join` checks the devices."""
        return True

    @staticmethod
    def name() -> str:
        """Return ``xla``."""
        return "xla"


class XlaSeed(L.Callback):
    """Seeds the devices' generator at each batch by its number.

    ``EpochSeed`` seeds those of the host at each epoch. That of the devices also moves each time XLA executes a graph,
    and so with each checkpoint.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the batch's seed."""
        import torch_xla

        torch_xla.manual_seed(derive_seed(self._seed, "epoch", trainer.current_epoch, "batch", batch_idx))


def trainer_arguments(process: Process, precision: Any, seed: int) -> dict[str, Any]:
    """Return ``lightning.Trainer`` arguments for the devices of ``process``; call it before any XLA tensor is created.

    Raises:
        DeviceError: torch_xla is not installed, or finds other devices than planned.
    """
    from orchestrator.xla.strategy import XlaPrecision, XlaStrategy

    join(process)
    strategy = XlaStrategy(process)
    return {
        "accelerator": XlaDevices(),
        "devices": 1,
        "num_nodes": 1,
        "strategy": strategy,
        "precision": None,
        "plugins": [XlaPrecision("32-true" if precision in ("auto", None) else precision, strategy)],
        "callbacks": [XlaSeed(seed), *strategy.callbacks()],
    }


def join(process: Process) -> None:
    """Start XLA's runtime as planned. Raises DeviceError if it is not installed or finds other devices."""
    try:
        import torch_xla.runtime as xr
    except ImportError as error:
        raise DeviceError(
            f"torch_xla cannot be imported on {process.address}: {error}",
            hint=f"set {PYTHON} on each host to an interpreter that has it; `make tpu-env` creates one",
        ) from error
    if process.runtime in ("xla-spmd", "rehearsal-spmd"):
        xr.use_spmd()
    try:
        kind, count, own = xr.device_type(), xr.global_runtime_device_count(), xr.addressable_runtime_device_count()
    except (OSError, RuntimeError) as error:  # libtpu's errors have several lines
        raise DeviceError(f"{_plan(process)} found no devices: {str(error).splitlines()[0]}", hint=_HINT) from error
    if (kind, count, own) != (process.device_type, process.devices, process.own):
        raise DeviceError(f"{_plan(process)} found {count} of {kind}, {own} of them its own", hint=_HINT)


_HINT = "check that the slice is the one in resources.tpu, complete and not in use; sweep tpu plan shows the plan"


def _plan(process: Process) -> str:
    return (
        f"planned {process.devices} XLA devices of {process.device_type}, {process.own} of them its own, for process "
        f"{process.rank} of {process.world} on {process.address} ({process.runtime}), which"
    )
