"""XLA devices for a Lightning Trainer: found, checked against the plan, and joined. torch_xla is imported inside."""

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
    """The devices of a training process are not those that were planned for it."""


class XlaDevices(Accelerator):
    """The XLA devices of this process, whatever they are made of.

    Lightning's own accelerator counts PCI devices of Google's, and so refuses PJRT on a CPU.
    """

    def setup_device(self, device: torch.device) -> None:
        """Nothing: the runtime has set its devices up."""

    def get_device_stats(self, device: Any) -> dict[str, Any]:
        """None that are worth waiting for the device."""
        return {}

    def teardown(self) -> None:
        """Nothing to be put back."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device("xla:0")]  # the one that this process computes on; by SPMD it stands for all

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "xla"


class XlaSeed(L.Callback):
    """Seeds the devices' own generator at each epoch, as ``EpochSeed`` does those of the host."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        import torch_xla

        torch_xla.manual_seed(derive_seed(self._seed, "epoch", trainer.current_epoch))


def trainer_arguments(process: Process, precision: Any, seed: int) -> dict[str, Any]:
    """Arguments of ``lightning.Trainer`` that train on the devices of ``process``: before any tensor is made on one.

    Raises DeviceError where torch_xla is not there, or finds other devices than were planned.
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
    """Start XLA's runtime as planned. Raises DeviceError where it is not there, or finds other devices."""
    try:
        import torch_xla.runtime as xr
    except ImportError as error:
        raise DeviceError(
            f"torch_xla cannot be imported on {process.address}: {error}",
            hint=f"{PYTHON} names an interpreter that has it, on each host; `make tpu-env` makes one",
        ) from error
    if process.runtime in ("xla-spmd", "rehearsal-spmd"):
        xr.use_spmd()
    try:
        kind, found, own = xr.device_type(), xr.global_runtime_device_count(), xr.addressable_runtime_device_count()
    except (OSError, RuntimeError) as error:  # libtpu's own, of several lines
        raise DeviceError(f"{_plan(process)} found no devices: {str(error).splitlines()[0]}", hint=_HINT) from error
    if (kind, found, own) != (process.device_type, process.devices, process.own):
        raise DeviceError(f"{_plan(process)} found {found} of {kind}, {own} of them its own", hint=_HINT)


_HINT = "is it the slice that resources.tpu names, whole, and held by nobody else? sweep tpu plan shows what is meant"


def _plan(process: Process) -> str:
    return (
        f"planned {process.devices} XLA devices of {process.device_type}, {process.own} of them its own, for process "
        f"{process.rank} of {process.world} on {process.address} ({process.runtime}), which"
    )
