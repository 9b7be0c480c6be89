"""Replace functions of somebody else's module as soon as a trial's code has imported it, whenever that is."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_ABSENT = object()


class Replacements:
    """Attributes of somebody else's modules and classes that are replaced meanwhile."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute until `undo`."""
        self._undo.append((owner, name, getattr(owner, name, _ABSENT)))
        setattr(owner, name, value)

    def undo(self) -> None:
        """Give every attribute its first value back."""
        while self._undo:
            owner, name, value = self._undo.pop()
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


@contextmanager
def on_import(name: str, installed: Callable[[Any], None]) -> Iterator[None]:
    """Call ``installed`` with the module of this name: now if it is loaded, else once it is imported meanwhile."""
    if name in sys.modules:
        installed(sys.modules[name])
        yield
        return
    hook = _Hook(name, installed)
    sys.meta_path.insert(0, hook)
    try:
        yield
    finally:
        if hook in sys.meta_path:
            sys.meta_path.remove(hook)


class _Hook(MetaPathFinder):
    """Calls ``installed`` with the module when it is imported for the first time, however often it is looked for."""

    def __init__(self, name: str, installed: Callable[[Any], None]) -> None:
        self._name, self._installed = name, installed
        self._is_looking = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the module as others do, with a loader that also calls ``installed``."""
        if name != self._name or self._is_looking:
            return None
        self._is_looking = True
        try:
            found = importlib.util.find_spec(name)
        finally:
            self._is_looking = False
        if found is not None and found.loader is not None:
            found.loader = _Loader(found.loader, self._done)
        return found

    def _done(self, module: ModuleType) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._installed(module)


class _Loader(Loader):
    """Loads a module by its own loader, which it gets back, and calls ``done``."""

    def __init__(self, loader: Any, done: Callable[[ModuleType], None]) -> None:
        self._loader, self._done = loader, done

    def create_module(self, spec: ModuleSpec) -> Any:
        """Leave it to the module's own loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, then act on it."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._done(module)
