"""The names of parameters of other tools, as arguments of a model, its data or the Trainer."""

from __future__ import annotations

_OF_DATA = ("batch_size", "num_workers", "data_dir")
_OF_TRAINER = ("max_epochs", "gradient_clip_val", "accumulate_grad_batches", "precision", "max_steps")
_EPOCHS = ("epochs", "num_epochs", "n_epochs")


def target_name(name: str, *, has_data: bool) -> str:
    """Return the name in ``space`` for another tool's parameter: ``lr`` becomes ``model.lr``."""
    root = name.split(".")[0]
    if "." in name and root in ("model", "trainer", *(["data"] if has_data else [])):
        return name
    if name in _EPOCHS:
        return "trainer.max_epochs"
    if name in _OF_TRAINER:
        return f"trainer.{name}"
    return f"data.{name}" if name in _OF_DATA and has_data else f"model.{name}"
