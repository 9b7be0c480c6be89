"""Environment variables that hold for a block of code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def environment_variables(variables: Mapping[str, str], *, without: str = "") -> Iterator[None]:
    """Set variables, and unset the one named ``without``; afterwards all of them are as before."""
    names = [*variables, *([without] if without else [])]
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(variables)
    if without:
        os.environ.pop(without, None)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
