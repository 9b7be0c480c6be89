"""Import a module that runs a search of its own when it is imported, up to that search: the sweep is in its place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from orchestrator.training.doors.import_hook import Replacements, on_import

# The module that makes it, the class that has it, and the function that runs it.
_SEARCHES = (
    ("optuna.study.study", "Study", "optimize"),
    ("ray.tune.tuner", "Tuner", "fit"),
    ("ray.tune", "", "run"),
)


class _SearchStarts(BaseException):
    """Ends the import of a module, which is ``args[0]``."""


def imported_up_to_its_search(module: str, imports: Callable[[], Any]) -> Any:
    """Return what ``imports`` returns, which imports a module.

    A search by Optuna or Ray Tune that the module runs meanwhile is left out, and so is what follows it in the file.
    """
    replaced = Replacements()
    try:
        with ExitStack() as stack:
            for place, owner, name in _SEARCHES:
                install = partial(_install, replaced, module, owner, name)
                stack.enter_context(on_import(place, install))
            return imports()
    except _SearchStarts as end:
        sys.modules[module] = end.args[0]
    finally:
        replaced.undo()
    return imports()


def _install(replaced: Replacements, module: str, owner: str, name: str, place: Any) -> None:
    holder = getattr(place, owner) if owner else place
    replaced.replace(holder, name, _ending(module, getattr(holder, name)))


def _ending(module: str, original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that ends the import of a module if it is called by that module meanwhile."""

    def search(*args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__")
        if caller == module and getattr(sys.modules[module].__spec__, "_initializing", False):
            raise _SearchStarts(sys.modules[module])
        return original(*args, **kwargs)

    return search
