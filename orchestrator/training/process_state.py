"""Isolate the segments that one process runs in turn: restore what a segment changes in the process."""

from __future__ import annotations

import builtins
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch.utilities.exceptions import SIGTERMException

from orchestrator.training.precision import bfloat16_for_numpy

__all__ = ["SIGTERMException", "isolated", "release"]  # the first is what Lightning raises after a SIGTERM

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LIGHTNING = ("lightning.pytorch", "lightning.fabric")


@contextmanager
def isolated(threads: int | None = None) -> Iterator[None]:
    """Run a segment with ``threads`` CPU threads (None: unchanged), then restore the process's state.

    The state is torch's default dtype and device, threads, deterministic and cuDNN flags, matrix-multiplication
    precision, flushing of denormal numbers, gradient and anomaly modes; the environment, the working directory,
    warning filters, handlers and levels of loggers, the built-in functions, the handlers of signals, and Matplotlib's
    open figures. Lightning's advice (device lines, loader hints) is suppressed meanwhile; its warnings are not. Random
    states are not restored: each segment is seeded. What `torch.compile` has compiled is forgotten: it compiles a
    function for so many networks only, and runs it as it is for any further one.
    """
    with ExitStack() as stack:
        stack.enter_context(_process())
        stack.enter_context(_torch_state())
        stack.enter_context(_quiet_lightning())
        stack.enter_context(bfloat16_for_numpy())
        torch.set_grad_enabled(True)
        if threads is not None and threads != torch.get_num_threads():
            torch.set_num_threads(threads)
        stack.callback(torch.compiler.reset)
        yield


@contextmanager
def _process() -> Iterator[None]:
    environment = dict(os.environ)
    directory = Path.cwd()
    logs = _read_loggers()
    disabled = logging.root.manager.disable
    names = dict(vars(builtins))
    figures = _open_figures()
    signals = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, previous in signals.items():
                signal.signal(number, previous)
        _restore_environment(environment)
        os.chdir(directory)
        _restore_loggers(logs)
        if logging.root.manager.disable != disabled:
            logging.disable(disabled)
        _restore_builtins(names)
        for figure in _open_figures() - figures:
            sys.modules["matplotlib.pyplot"].close(figure)


def _open_figures() -> set[int]:
    """Return the numbers of pyplot's figures, which it keeps until they are closed."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    return set(pyplot.get_fignums()) if pyplot else set()


def _restore_environment(saved: dict[str, str]) -> None:
    current = dict(os.environ)
    for name in current.keys() - saved.keys():
        del os.environ[name]
    for name, value in saved.items():
        if current.get(name) != value:
            os.environ[name] = value


def _read_loggers() -> dict[logging.Logger, tuple[list[logging.Handler], int]]:
    """Return handlers and level of each logger."""
    named = [each for each in list(logging.root.manager.loggerDict.values()) if isinstance(each, logging.Logger)]
    return {logger: (list(logger.handlers), logger.level) for logger in (logging.root, *named)}


def _restore_loggers(saved: Mapping[logging.Logger, tuple[list[logging.Handler], int]]) -> None:
    """Take away what was added since: a later trial would write into this one's files, and each line twice.

    The logger of a module that was imported since stays as it is: the module remains, and sets it up only once.
    """
    for logger, (handlers, _) in _read_loggers().items():
        if logger not in saved and logger.name.partition(".")[0] in sys.modules.keys() - {"__main__"}:
            continue
        earlier, earlier_level = saved.get(logger, ([], logging.NOTSET))
        added = [handler for handler in handlers if handler not in earlier]
        if handlers != earlier:
            logger.handlers[:] = earlier
        for handler in added:  # a file of each trial would stay open
            handler.close()
        _set_level(logger, earlier_level)


def _restore_builtins(saved: Mapping[str, Any]) -> None:
    """Give ``print`` and its like back: a script that wraps it would wrap the last one's."""
    for name, value in saved.items():
        if getattr(builtins, name, None) is not value:
            setattr(builtins, name, value)


def _set_level(logger: logging.Logger, level: int) -> None:
    if logger.level != level:  # setting it empties the caches of all loggers
        logger.setLevel(level)


@contextmanager
def _torch_state() -> Iterator[None]:
    saved = _read_torch_state()
    try:
        yield
    finally:
        current = _read_torch_state()
        for name, value in saved.items():
            if current[name] != value:
                _SETTERS[name](value)


def _read_torch_state() -> dict[str, Any]:
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "grad": torch.is_grad_enabled(),
        "anomaly": torch.is_anomaly_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "flush_denormal": sys.float_info.min * 0.5 == 0.0,  # torch has no call that reads it
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
    }


def _set_cudnn_benchmark(value: bool) -> None:
    torch.backends.cudnn.benchmark = value


def _set_cudnn_deterministic(value: bool) -> None:
    torch.backends.cudnn.deterministic = value


_SETTERS: dict[str, Any] = {
    "dtype": torch.set_default_dtype,
    "device": torch.set_default_device,
    "threads": torch.set_num_threads,
    "deterministic": torch.set_deterministic_debug_mode,
    "grad": torch.set_grad_enabled,
    "anomaly": torch.autograd.set_detect_anomaly,
    "matmul": torch.set_float32_matmul_precision,
    "flush_denormal": torch.set_flush_denormal,
    "cudnn.benchmark": _set_cudnn_benchmark,
    "cudnn.deterministic": _set_cudnn_deterministic,
}


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _LIGHTNING]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PossibleUserWarning)
        # Lightning 2.6 uses LeafSpec, which torch deprecates: a user cannot act on that.
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        try:
            for logger in loggers:
                _set_level(logger, max(logger.level, logging.WARNING))
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                _set_level(logger, level)


def release(trainer: L.Trainer) -> None:
    """Free a finished segment's gradients and optimizer state at once.

    Trainer and module refer to each other, so reference counting alone would keep them until garbage is collected.
    """
    module = trainer.lightning_module
    if module is not None:
        module.zero_grad(set_to_none=True)
    for optimizer in trainer.optimizers:
        optimizer.state.clear()
