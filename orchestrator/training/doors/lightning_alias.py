"""Let ``pytorch_lightning`` be ``lightning.pytorch``: one Trainer and one kind of callback, by whichever name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_ALIAS, _REAL = "pytorch_lightning", "lightning.pytorch"


class _Alias(MetaPathFinder, Loader):
    """Finds each module of the one name as that of the other."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the module under its other name."""
        if name != _ALIAS and not name.startswith(f"{_ALIAS}."):
            return None
        try:
            found = importlib.util.find_spec(_REAL + name.removeprefix(_ALIAS))
        except ModuleNotFoundError:
            return None
        return ModuleSpec(name, self) if found else None

    def create_module(self, spec: ModuleSpec) -> Any:
        """Return the module that has the other name."""
        return importlib.import_module(_REAL + spec.name.removeprefix(_ALIAS))

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the module was executed under its own name."""


def alias_lightning() -> None:
    """Alias the names in this process for good, unless code has imported ``pytorch_lightning`` itself already."""
    if _ALIAS not in sys.modules and not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Alias())
