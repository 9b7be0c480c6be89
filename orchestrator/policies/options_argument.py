"""Read the options class from ``Scheduler[ASHA]`` or ``Searcher[TPE]``."""

from __future__ import annotations

from typing import get_args, get_origin

from orchestrator.spec import PolicyOptions


def options_argument(cls: type, base: type[PolicyOptions]) -> type[PolicyOptions] | None:
    """Return the type argument of the class's own bases that is derived from ``base``; None if it has none."""
    for generic in cls.__dict__.get("__orig_bases__", ()):
        for argument in get_args(generic) if get_origin(generic) else ():
            if isinstance(argument, type) and issubclass(argument, base):
                return argument
    return None
