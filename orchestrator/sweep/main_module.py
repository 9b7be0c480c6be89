"""Name the classes of the running script so that workers can import them, and notice a script that runs again."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.training.class_loading.import_paths import import_from, module_being_imported

_named: dict[str, ModuleType] = {}
_FILE_HINT = "put the class into a file of its own and import it from there"


def importable(value: Any) -> Any:
    """Return the value, once workers can import each class and function in it that the running script defines.

    Raises:
        UsageError: a class has no import path: it is defined in a notebook, in a session or in a function.
    """
    if isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            importable(item)
    if isinstance(value, functools.partial):
        importable(value.func)
    if not isinstance(value, type | FunctionType) or value.__module__ != "__main__":
        return value
    if "<" in value.__qualname__:
        raise UsageError(
            f"{value.__name__} is defined in a function, and workers cannot import it",
            hint="define it at the top of a module",
        )
    main = sys.modules["__main__"]
    name, root = _import_name(main)
    if not name or not hasattr(main, value.__qualname__.partition(".")[0]):
        raise UsageError(
            f"{value.__qualname__} is defined in this session only, and workers cannot import it", hint=_FILE_HINT
        )
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(
            f"{Path(str(main.__file__)).name} cannot be imported by workers: {name!r} is no name of a module",
            hint="rename the file, with letters, digits and underscores alone",
        )
    import_from([root])
    _named[name] = main
    return value


def share_main() -> None:
    """Let this process find the classes that `importable` has named without running the script a second time."""
    for name, main in _named.items():
        sys.modules.setdefault(name, main)


def refuse_second_run() -> None:
    """Raise UsageError if a module that is imported for its classes starts a sweep itself."""
    if name := module_being_imported():
        raise UsageError(
            f"{name} starts a sweep each time it is imported, and workers import it for its classes",
            hint='put that call under `if __name__ == "__main__":`, or launch with local=True',
        )


def _import_name(main: ModuleType) -> tuple[str, str]:
    """Return the name under which the running script can be imported, and from which folder; empty if it cannot.

    ``python -m package.module`` has a spec with that name; a script has a file alone.
    """
    spec = getattr(main, "__spec__", None)
    file = Path(str(spec.origin if spec else getattr(main, "__file__", None) or "<stdin>"))
    if not file.is_file():
        return "", ""
    if spec is None:
        return file.stem, str(file.absolute().parent)
    return spec.name, str(file.absolute().parents[spec.name.count(".")])
