"""Give a module and callbacks what their hook of an epoch's start has set, where a segment starts within the epoch.

Lightning does not call ``on_train_epoch_start`` there. A callback that notes the time of an epoch's start, or a module
that begins a list of outputs, would fail at the attribute that it lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L

from orchestrator.training import compat_lightning as compat
from orchestrator.training.epoch_seed import EpochSeed

_HOOK = "on_train_epoch_start"
_NOT_THE_USERS = ("lightning", "pytorch_lightning", "orchestrator")


def attribute_names(trainer: L.Trainer, module: L.LightningModule) -> list[list[str]]:
    """Return the names of the attributes of each object with a hook of the user's, the module last."""
    return [sorted(vars(each)) for each in _with_hook(trainer, module)]


def set_missing_attributes(trainer: L.Trainer, module: L.LightningModule, names: list[list[str]]) -> None:
    """Call the hook of each object that lacks attributes which it had when `attribute_names` were taken.

    The hook draws what it drew at the epoch's start. Attributes that the object has keep their values, so that a hook
    that counts does not count twice; what it does to other objects is not undone. An object that lacks none is left
    alone.
    """
    seeds = [callback for callback in trainer.callbacks if isinstance(callback, EpochSeed)]  # type: ignore[attr-defined]
    for each, known in zip(_with_hook(trainer, module), names, strict=False):
        before = dict(vars(each))
        if before.keys() >= set(known):
            continue
        for callback in seeds:
            callback.reseed(trainer.current_epoch)
        compat.call_hook(trainer, each, _HOOK)
        vars(each).update(before)


def _with_hook(trainer: L.Trainer, module: L.LightningModule) -> Iterator[Any]:
    """Yield the callbacks, then the module, whose hook is neither Lightning's nor ours."""
    for each in (*trainer.callbacks, module):  # type: ignore[attr-defined]
        hook = getattr(type(each), _HOOK, None)
        if hook is not None and hook.__module__.partition(".")[0] not in _NOT_THE_USERS:
            yield each
