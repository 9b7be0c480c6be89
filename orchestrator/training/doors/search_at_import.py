"""Import a module that runs a search of its own when it is imported, up to that search: the sweep is in its place."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.training.doors.import_hook import Replacements, on_import

# The module that has it, its class, and the function that runs a search.
_SEARCHES = (
    ("optuna.study.study", "Study", "optimize"),
    ("ray.tune.tuner", "Tuner", "fit"),
    ("ray.tune", "", "run"),
)
_STORED = ("optuna", "optuna.study")  # modules with create_study


class _SearchStarts(BaseException):
    """Ends the import of a module."""


class _Import:
    """The import of one module.

    Attributes:
        found: the module, once it has come to its search.
    """

    def __init__(self, name: str) -> None:
        self._name, self.found = name, None
        self.replaced = Replacements()

    def install(self, owner: str, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]], at: Any) -> None:
        """Replace a function of a module or its class meanwhile."""
        holder = getattr(at, owner) if owner else at
        self.replaced.replace(holder, name, make(getattr(holder, name)))

    def search(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that ends the import if it is called by the module."""

        def search(*args: Any, **kwargs: Any) -> Any:
            if self._calls():
                self.found = sys.modules[self._name]  # type: ignore[assignment]
                raise _SearchStarts
            return original(*args, **kwargs)

        return search

    def create_study(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that gives the module a study in memory, which its own storage may have already."""

        def create_study(*args: Any, **kwargs: Any) -> Any:
            if self._calls():
                args, kwargs = (), {name: value for name, value in kwargs.items() if name.startswith("direction")}
            return original(*args, **kwargs)

        return create_study

    def connect(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that starts no Ray for the module: its search is left out, and a worker has one."""

        def init(*args: Any, **kwargs: Any) -> Any:
            return None if self._calls() else original(*args, **kwargs)

        return init

    def _calls(self) -> bool:
        """Return whether the function that asks is called by the module while it is imported."""
        caller = sys._getframe(2).f_globals.get("__name__")
        return caller == self._name and bool(getattr(sys.modules[self._name].__spec__, "_initializing", False))


def imported_up_to_its_search(module: str, imports: Callable[[], Any]) -> Any:
    """Return what ``imports`` returns, which imports a module.

    A search by Optuna or Ray Tune that the module runs meanwhile is left out, and so is what follows it in the file.
    """
    if module in sys.modules:  # by an earlier trial
        return imports()
    under_way = _Import(module)
    try:
        with ExitStack() as stack:
            for place, owner, name in _SEARCHES:
                stack.enter_context(on_import(place, partial(under_way.install, owner, name, under_way.search)))
            for place in _STORED:
                stack.enter_context(
                    on_import(place, partial(under_way.install, "", "create_study", under_way.create_study))
                )
            stack.enter_context(on_import("ray", partial(under_way.install, "", "init", under_way.connect)))
            return imports()
    except (_SearchStarts, UsageError):  # the latter for what the module does in a `finally`
        if under_way.found is None:
            raise
        sys.modules[module] = under_way.found
    finally:
        under_way.replaced.undo()
    return imports()
