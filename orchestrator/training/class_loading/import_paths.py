"""Import classes by their path, from the folders that a sweep may import from."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import UsageError, describe
from orchestrator.rundir import data_folder
from orchestrator.spec import SweepSpec, shipped
from orchestrator.training import process_exit
from orchestrator.training.class_loading.namespace_alias import alias_lightning
from orchestrator.training.process_exit import exit_raises

_importing: list[str] = []
_checked: set[str] = set()  # modules whose place is known to hold code
_NOT_THE_CAUSE = (__file__, importlib.__file__, process_exit.__file__)


def module_being_imported() -> str:
    """Return the module that is being imported for a class; empty if none is."""
    return _importing[-1] if _importing else ""


def import_roots(spec: SweepSpec) -> list[str]:
    """Return the folders to prepend to ``sys.path``: the sweep file's own, as for a script, then the working directory.

    So a class next to the sweep file is importable wherever the command runs, and a worker with the same list imports
    the same class. The folders of shipped files and run directories are excluded: they hold nothing to import.
    """
    roots = [Path.cwd()]
    if spec.file:
        folder = Path(spec.file).absolute().parent
        if folder not in {path.parent for path in shipped().values()}:
            roots.insert(0, folder)
    return list(dict.fromkeys(str(root) for root in roots if not data_folder(root)))


def import_from(roots: list[str]) -> None:
    """Prepend those ``roots`` to ``sys.path`` that are not on it yet, and are in no run directory or bundle."""
    alias_lightning()
    missing = [root for root in dict.fromkeys(roots) if root not in sys.path and not data_folder(root)]
    sys.path[:0] = missing
    if missing:
        importlib.invalidate_caches()


def import_class(class_path: str) -> type:
    """Return the class at ``package.module.Class`` (or ``Class.Inner``).

    Raises:
        UsageError: a module or class does not exist, the import fails, the path is not that of a class, or the module
            lies in a run directory or a bundle, where nothing is code.
    """
    value = import_object(class_path)
    if not isinstance(value, type):
        raise UsageError(f"{class_path} is not a class but a {type(value).__name__}", hint="class_path names a class")
    return value


def import_object(path: str) -> Any:
    """Return what is at ``package.module.name``, for a caller that checks its kind.

    Raises:
        UsageError: a module or name does not exist, or the import fails.
    """
    alias_lightning()
    refuse_run_data(path)
    names = path.split(".")
    module, attributes = _import_longest(names)
    value: Any = module
    for depth, name in enumerate(attributes):
        if not hasattr(value, name):
            parent = ".".join(names[: len(names) - len(attributes) + depth])
            raise UsageError(f"{parent} has no {name!r}", hint=_name_hint(name, _public_names(value, name), parent))
        value = getattr(value, name)
    return value


def refuse_run_data(class_path: str) -> None:
    """Raise UsageError if a module on the path lies in a run directory or a bundle. Imports none that does.

    A folder without ``__init__.py`` is a package, too, so the place of every module on the way counts.
    """
    names = class_path.split(".")
    for end in range(1, len(names)):
        path = ".".join(names[:end])
        if path in _checked:
            continue
        _importing.append(path)
        try:
            with exit_raises():
                spec = importlib.util.find_spec(path)  # imports the packages before it, which have been checked
        except UsageError:
            raise
        except (Exception, SystemExit):  # the import itself raises the error that explains it
            return
        finally:
            _importing.pop()
        if spec is None:
            return
        for place in _places(spec):
            if folder := data_folder(place):
                raise UsageError(
                    f"{class_path} would be imported from {folder}, but a run directory or a bundle holds no code",
                    hint="move the module to a folder of its own, beside the sweep file or on PYTHONPATH",
                )
        _checked.add(path)


def _places(spec: ModuleSpec) -> Iterator[str]:
    if spec.has_location and spec.origin:
        yield spec.origin
    yield from spec.submodule_search_locations or ()


def _import_longest(names: list[str]) -> tuple[ModuleType, list[str]]:
    """Import the longest module path in ``names``; return the module and the names after it."""
    for end in range(len(names) - 1, 0, -1):
        path = ".".join(names[:end])
        _importing.append(path)
        try:
            with exit_raises():
                return importlib.import_module(path), names[end:]
        except UsageError:  # of this package: the module asks for what cannot be done
            raise
        except ModuleNotFoundError as error:
            if not error.name or not (path == error.name or path.startswith(f"{error.name}.")):
                raise _import_failed(path, error) from error
        except (Exception, SystemExit) as error:  # a user's module may raise any error
            raise _import_failed(path, error) from error
        finally:
            _importing.pop()
    raise _no_module(names[0])


def _import_failed(path: str, error: BaseException) -> UsageError:
    """Describe an error that was raised while an existing module was imported."""
    place = _error_position(error)
    reason = describe(error)
    hint = "install what it needs, or correct its import" if isinstance(error, ImportError) else "correct the module"
    return UsageError(f"importing {path} failed{place}: {reason}", hint=hint)


def _error_position(error: BaseException) -> str:
    """Return " at file:line" of the last traceback entry outside the import system and this package's part in it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    trace, place = error.__traceback__, ""
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and file not in _NOT_THE_CAUSE:
            place = f" at {file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _no_module(name: str) -> UsageError:
    importable = [module.name for module in pkgutil.iter_modules()]
    close = get_close_matches(name, [*importable, *sys.modules], n=1, cutoff=0.75)
    places = "modules are searched in the sweep file's folder, the working directory and the installed packages"
    return UsageError(f"there is no module {name!r}", hint=f"did you mean {close[0]}?" if close else places)


def _public_names(owner: Any, misspelt: str) -> Iterator[str]:
    """Yield the names in a module or class that ``misspelt`` could mean; of a package, its modules, too."""
    names = list(getattr(owner, "__all__", dir(owner)))
    yield from (name for name in names if misspelt.startswith("_") or not name.startswith("_"))
    yield from (module.name for module in pkgutil.iter_modules(getattr(owner, "__path__", [])))


def _name_hint(misspelt: str, candidates: Iterator[str], parent: str) -> str:
    names = list(dict.fromkeys(candidates))
    close = get_close_matches(misspelt, names, n=1)
    if close:
        return f"did you mean {parent}.{close[0]}?"
    classes = [name for name in names if name[:1].isupper()]
    return f"it has {', '.join(classes[:8])}" if classes else f"{parent} defines no classes; name another module"
