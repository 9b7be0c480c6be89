"""Lightning's own checkpoint beside the plain one, where a class's ``load_from_checkpoint(path)`` needs it.

A sweep's checkpoint holds tensors and plain values. Hyperparameters of other kinds (an ``nn.Module``, an
``argparse.Namespace``, a class) are left out of it, so many classes cannot be built from it alone. They are those of
the module that the export has built again, and are put back here. Reading the file runs code, as with any Trainer's.
"""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch

from orchestrator.bundle.bundle_manifest import CHECKPOINT, LIGHTNING
from orchestrator.durable_files import storage_fault, write_durably
from orchestrator.export.validation_samples import first_line
from orchestrator.training.checkpoints import restored


def write_own_checkpoint(folder: Path, module: L.LightningModule) -> tuple[bool, str]:
    """Write ``lightning.ckpt`` if the module's class needs it, and check that the class loads from it.

    Args:
        folder: the bundle's, with ``model.ckpt``.
        module: built again, with the checkpoint's weights.

    Returns:
        Whether the file was written, and why ``load_from_checkpoint`` fails all the same; empty if it works.
    """
    if not _load_failure(module, folder / CHECKPOINT, weights_only=True):
        return False, ""
    file = folder / LIGHTNING
    try:
        content = _with_hyperparameters(restored(torch.load(folder / CHECKPOINT, weights_only=True)), module)
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_durably(file, buffer.getbuffer())
    except Exception as error:  # a hyperparameter that pickle refuses, such as a lambda
        if storage_fault(error):
            raise
        return False, first_line(error)
    if failure := _load_failure(module, file, weights_only=False):
        file.unlink()
        return False, failure
    return True, ""


def _with_hyperparameters(checkpoint: dict[str, Any], module: L.LightningModule) -> dict[str, Any]:
    """Return the checkpoint with all that ``save_hyperparameters`` has noted, as a plain Trainer would write it."""
    if not module.hparams:
        return checkpoint
    named = {module.CHECKPOINT_HYPER_PARAMS_NAME: module._hparams_name} if hasattr(module, "_hparams_name") else {}
    content = {**checkpoint, **named, module.CHECKPOINT_HYPER_PARAMS_KEY: dict(module.hparams)}
    with suppress(Exception):  # a hook that counts on its Trainer
        module.on_save_checkpoint(content)  # may change what is said of the hyperparameters
    own = {name for name in content if "hparams" in name or "hyper_param" in name}
    return {**content, **{name: value for name, value in checkpoint.items() if name not in own}}


def _load_failure(module: L.LightningModule, file: Path, **options: Any) -> str:
    """Return why the class's own ``load_from_checkpoint`` does not give the module; empty if it does."""
    cls: Any = type(module)
    with torch.random.fork_rng(devices=[]):
        try:
            loaded = cls.load_from_checkpoint(file, map_location="cpu", **options)
        except TypeError as error:
            if options and "weights_only" in str(error):  # the class's own method passes it already
                return _load_failure(module, file)
            return first_line(error)
        except Exception as error:  # mostly for a hyperparameter that is not in the file
            return first_line(error)
    expected, weights = module.state_dict(), loaded.state_dict()
    if expected.keys() != weights.keys():
        return "the class builds a module of other weights from it"
    return ""
