"""The forms in which a sweep file may describe an object: LightningCLI's ``class_path`` and Hydra's ``_target_``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOADERS = "orchestrator.training.class_loading.loaders_data.LoadersData"
"""The DataModule around DataLoaders or Datasets."""
_LOADER_KEYS = frozenset({"train", "val", "test", "predict", "batch_size", "num_workers", "shuffle"})
_HYDRA = ("_target_", "_partial_", "_args_", "_recursive_", "_convert_")


def one_form(value: Any) -> Any:
    """Return a value with every ``{_target_: …, name: value}`` in it as ``{class_path: …, init_args: {name: value}}``.

    With ``_partial_: true`` the class or function is not called: its arguments are bound to it. Raises ValueError for
    ``_args_``, since arguments have names here.
    """
    if isinstance(value, Mapping):
        if "_target_" in value and isinstance(value["_target_"], str):
            return _from_hydra(value)
        items = {key: one_form(item) for key, item in value.items()}
        return value if all(items[key] is value[key] for key in items) else items
    if isinstance(value, list):
        listed = [one_form(item) for item in value]
        return value if all(new is old for new, old in zip(listed, value, strict=True)) else listed
    return value


def _from_hydra(value: Mapping[str, Any]) -> dict[str, Any]:
    if value.get("_args_"):
        raise ValueError(f"_args_ of {value['_target_']} have no names; write each as name: value")
    arguments = {key: one_form(item) for key, item in value.items() if key not in _HYDRA}
    partial = {"partial": True} if value.get("_partial_") is True else {}
    return {"class_path": value["_target_"], "init_args": arguments, **partial}


def data_section(value: Any) -> Any:
    """Return the section ``data`` as a class: a mapping of loaders or data sets becomes a DataModule around them."""
    if isinstance(value, Mapping) and "train" in value and value.keys() <= _LOADER_KEYS:
        return {"class_path": LOADERS, "init_args": dict(value)}
    return value
