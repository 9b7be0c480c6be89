"""Classes by import path, and the folders that they may live in."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec, shipped


def import_roots(spec: SweepSpec) -> list[str]:
    """Folders to put before ``sys.path``: the sweep file's own, as for a script, then the working directory.

    A class beside the sweep file is found wherever the command runs, and a worker that gets the same list finds the
    same. Shipped files and run directories are left out: nothing in them is meant to be imported.
    """
    roots = [Path.cwd()]
    if spec.file:
        folder = Path(spec.file).absolute().parent
        is_shipped = folder in {path.parent for path in shipped().values()}
        if not is_shipped and not (folder / "journal.jsonl").exists():
            roots.insert(0, folder)
    return list(dict.fromkeys(map(str, roots)))


def import_from(roots: list[str]) -> None:
    """Put ``roots`` before ``sys.path`` where they are not on it yet."""
    missing = [root for root in roots if root not in sys.path]
    sys.path[:0] = missing
    if missing:
        importlib.invalidate_caches()


def import_class(class_path: str) -> type:
    """The class at ``package.module.Class`` (``Class.Inner`` too). Raises UsageError that says what is missing."""
    names = class_path.split(".")
    module, rest = _module(names)
    found: Any = module
    for depth, name in enumerate(rest):
        if not hasattr(found, name):
            where = ".".join(names[: len(names) - len(rest) + depth])
            raise UsageError(f"{where} has no {name!r}", hint=_near(name, _public(found, like=name), where))
        found = getattr(found, name)
    if not isinstance(found, type):
        raise UsageError(f"{class_path} is not a class but {_kind(found)}", hint="class_path names a class")
    return found


def _module(names: list[str]) -> tuple[ModuleType, list[str]]:
    """The longest importable module in ``names``, and the names after it."""
    for end in range(len(names) - 1, 0, -1):
        path = ".".join(names[:end])
        try:
            return importlib.import_module(path), names[end:]
        except ModuleNotFoundError as error:
            if not error.name or not (path == error.name or path.startswith(f"{error.name}.")):
                raise _failed(path, error) from error
        except (Exception, SystemExit) as error:  # a user's module may raise anything at all
            raise _failed(path, error) from error
    raise _missing(names)


def _failed(path: str, error: BaseException) -> UsageError:
    """The module was found and broke while it was imported."""
    place = _place(error, path)
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "install what it needs, or correct its import" if isinstance(error, ImportError) else "correct the module"
    return UsageError(f"importing {path} failed{place}: {reason}", hint=hint)


def _place(error: BaseException, path: str) -> str:
    """Where in the user's file it broke: the last line of the traceback that is not the import machinery's or ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" at {error.filename}:{error.lineno}"
    trace, place = error.__traceback__, ""
    while trace:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith("<") and file not in (__file__, importlib.__file__):
            place = f" at {file}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _missing(names: list[str]) -> UsageError:
    """No module at all: say which part of the path is the first that is not there."""
    beside = [module.name for module in pkgutil.iter_modules()]
    message = f"there is no module {names[0]!r}"
    close = get_close_matches(names[0], [*beside, *sys.modules], n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}?" if close else "modules are looked for beside the sweep file, here, and installed"
    return UsageError(message, hint=hint)


def _public(found: Any, *, like: str) -> Iterator[str]:
    """Names in a module or class that could have been meant; of a package, its modules too."""
    names = list(getattr(found, "__all__", dir(found)))
    yield from (name for name in names if like.startswith("_") or not name.startswith("_"))
    yield from (module.name for module in pkgutil.iter_modules(getattr(found, "__path__", [])))


def _near(name: str, known: Iterator[str], where: str) -> str:
    names = list(dict.fromkeys(known))
    close = get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {where}.{close[0]}?"
    classes = [known for known in names if known[:1].isupper()]
    return f"it has {', '.join(classes[:8])}" if classes else f"is {where} the right module?"


def _kind(found: Any) -> str:
    return f"a {type(found).__name__}"
