"""The Trainer arguments and hooks of earlier Lightning versions, and their present spelling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _devices(accelerator: str) -> Callable[[Any], dict[str, Any]]:
    def present(value: Any) -> dict[str, Any]:
        if value in (0, None, "0", [], False):
            return {"accelerator": "cpu"} if accelerator == "gpu" else {}
        devices = "auto" if value in (-1, "-1", True) else value
        return {"accelerator": accelerator, "devices": devices}

    return present


def _renamed(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: value}


def _callback(name: str, **arguments: Any) -> Callable[[Any], dict[str, Any]]:
    def present(value: Any) -> dict[str, Any]:
        component = {"class_path": f"lightning.pytorch.callbacks.{name}"}
        return {"callbacks": [component | ({"init_args": arguments} if arguments else {})]} if value else {}

    return present


def _no_more(value: Any) -> dict[str, Any]:
    return {}


_ARGUMENTS: Mapping[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "gpus": ("accelerator: gpu and devices", _devices("gpu")),
    "tpu_cores": ("accelerator: tpu and devices", _devices("tpu")),
    "ipus": ("accelerator: ipu and devices", _devices("ipu")),
    "hpus": ("accelerator: hpu and devices", _devices("hpu")),
    "num_processes": ("accelerator: cpu and devices", _devices("cpu")),
    "auto_select_gpus": ("devices: auto", _no_more),
    "distributed_backend": ("strategy", _renamed("strategy")),
    "nb_gpu_nodes": ("num_nodes", _renamed("num_nodes")),
    "num_gpu_nodes": ("num_nodes", _renamed("num_nodes")),
    "max_nb_epochs": ("max_epochs", _renamed("max_epochs")),
    "min_nb_epochs": ("min_epochs", _renamed("min_epochs")),
    "train_percent_check": ("limit_train_batches", _renamed("limit_train_batches")),
    "val_percent_check": ("limit_val_batches", _renamed("limit_val_batches")),
    "test_percent_check": ("limit_test_batches", _renamed("limit_test_batches")),
    "overfit_pct": ("overfit_batches", _renamed("overfit_batches")),
    "gradient_clip": ("gradient_clip_val", _renamed("gradient_clip_val")),
    "row_log_interval": ("log_every_n_steps", _renamed("log_every_n_steps")),
    "replace_sampler_ddp": ("use_distributed_sampler", _renamed("use_distributed_sampler")),
    "reload_dataloaders_every_epoch": (
        "reload_dataloaders_every_n_epochs: 1",
        lambda value: {"reload_dataloaders_every_n_epochs": 1} if value else {},
    ),
    "checkpoint_callback": ("enable_checkpointing, which the sweep sets", _no_more),
    "progress_bar_refresh_rate": ("enable_progress_bar, which the sweep sets", _no_more),
    "weights_summary": (
        "enable_model_summary",
        lambda value: {"enable_model_summary": value not in (None, False)},
    ),
    "resume_from_checkpoint": ("ckpt_path of fit; a sweep resumes its trials itself", _no_more),
    "weights_save_path": ("default_root_dir, which the sweep sets", _no_more),
    "stochastic_weight_avg": (
        "the callback StochasticWeightAveraging",
        _callback("StochasticWeightAveraging", swa_lrs=1e-2),
    ),
    "log_gpu_memory": ("the callback DeviceStatsMonitor", _callback("DeviceStatsMonitor")),
    "terminate_on_nan": ("detect_anomaly", _renamed("detect_anomaly")),
    "track_grad_norm": ("the hook on_before_optimizer_step and lightning.pytorch.utilities.grad_norm", _no_more),
    "flush_logs_every_n_steps": ("the logger's own argument", _no_more),
    "log_save_interval": ("the logger's own argument", _no_more),
    "process_position": ("the callback TQDMProgressBar(process_position)", _no_more),
    "prepare_data_per_node": ("the DataModule's attribute prepare_data_per_node", _no_more),
    "truncated_bptt_steps": ("manual optimization", _no_more),
    "amp_backend": ("precision: 16-mixed", _no_more),
    "amp_level": ("precision: 16-mixed", _no_more),
    "move_metrics_to_cpu": ("nothing: move metrics in the module", _no_more),
    "multiple_trainloader_mode": ("lightning.pytorch.utilities.CombinedLoader(mode=…)", _no_more),
    "auto_lr_find": ("the callback LearningRateFinder", _callback("LearningRateFinder")),
    "auto_scale_batch_size": ("the callback BatchSizeFinder", _callback("BatchSizeFinder")),
}

METHODS: Mapping[str, str] = {
    "tune": "Tuner(trainer).lr_find(model), of lightning.pytorch.tuner",
    "add_argparse_args": "LightningCLI, or options that the script adds itself",
    "from_argparse_args": "LightningCLI, or Trainer(max_epochs=args.max_epochs, …)",
}
"""Methods of the Trainer that Lightning 2 has no more, and what replaces each."""

HOOKS: Mapping[str, str] = {
    "training_epoch_end": "on_train_epoch_end",
    "validation_epoch_end": "on_validation_epoch_end",
    "test_epoch_end": "on_test_epoch_end",
    "training_step_end": "training_step",
    "validation_step_end": "validation_step",
    "test_step_end": "test_step",
    "on_epoch_start": "on_train_epoch_start",
    "on_epoch_end": "on_train_epoch_end",
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_post_move_to_device": "setup",
    "tbptt_split_batch": "training_step with manual optimization",
}
"""Hooks that Lightning 2 no longer calls, and what replaces each."""


def present_arguments(name: str, value: Any) -> dict[str, Any] | None:
    """Return today's Trainer arguments for one of an earlier version; None if it is not one of these."""
    return _ARGUMENTS[name][1](value) if name in _ARGUMENTS else None


def present_spelling(name: str) -> str:
    """Return what replaces an argument of an earlier version; empty if it is not one of these."""
    return _ARGUMENTS[name][0] if name in _ARGUMENTS else ""
