"""Let code that imports ``pytorch_lightning`` use ``lightning.pytorch``: the two are the same code under two names.

A module of one namespace cannot be trained by the Trainer of the other, and a sweep has one Trainer.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_NAMES = {"pytorch_lightning": "lightning.pytorch", "lightning_fabric": "lightning.fabric"}


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        root, _, rest = fullname.partition(".")
        if root not in _NAMES:
            return None
        real = f"{_NAMES[root]}.{rest}".rstrip(".")
        try:
            found = importlib.util.find_spec(real)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return None
        is_package = found.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(fullname, self, loader_state=real, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        alias: Any = module.__spec__
        module.__spec__ = alias.loader_state  # the import system has set it to the alias's


@functools.cache
def alias_lightning() -> None:
    """From now on, import ``pytorch_lightning`` as ``lightning.pytorch``; nothing if it is imported already."""
    if not _NAMES.keys() & sys.modules.keys() and not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias())
