"""Name classes and functions by their import path, and find them again."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

Resolve = Callable[[str], Any]
"""Returns the object at an import path. Raises ValueError or an error of the caller's own if it may not be used."""


def path_of(value: Any) -> str:
    """Return the import path of a class or function. Raises ValueError if no path leads back to it."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(name, str) or "<" in name:
        raise ValueError(f"{name or value!r} is defined inside a function, and cannot be imported by its name")
    declared = getattr(value, "__module__", None)
    for module in (declared, "torch", "numpy", "builtins"):
        if isinstance(module, str) and _at(sys.modules.get(module), name.split(".")) == value:
            return f"{_importable(module)}.{name}"
    short = name.rpartition(".")[2]  # torch.relu's own name is that of a hidden class
    if _at(sys.modules.get("torch"), [short]) == value:
        return f"torch.{short}"
    owner = f"{declared}." if declared else ""
    raise ValueError(f"{owner}{name} cannot be imported by its name, which leads to no such object")


def _importable(module: str) -> str:
    """Return the name under which another process imports the running program's main module."""
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None and spec.name:
        return str(spec.name)
    if file is None:
        raise ValueError("it is defined in this session only: put it into a file and import it from there")
    return Path(file).stem


def loaded(path: str) -> Any:
    """Return the object at ``path`` in a module that is imported already. Raises ValueError if there is none."""
    names = path.split(".")
    for end in range(len(names) - 1, 0, -1):
        module = sys.modules.get(".".join(names[:end]))
        found = _at(module, names[end:])
        if found is not _ABSENT:
            return found
    raise ValueError(f"no imported module has {path}")


_ABSENT = object()


def _at(owner: Any, names: list[str]) -> Any:
    if owner is None:
        return _ABSENT
    return functools.reduce(lambda inside, name: getattr(inside, name, _ABSENT), names, owner)


def is_function(value: Any) -> bool:
    """Return whether it is a function that its import path alone restores; a method counts if it is a class's."""
    if isinstance(value, MethodType):
        return isinstance(value.__self__, type)
    if isinstance(value, BuiltinFunctionType):
        return True
    return isinstance(value, FunctionType) or type(value).__name__ == "ufunc"
