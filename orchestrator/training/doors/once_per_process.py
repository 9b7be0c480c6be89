"""Let each script of one process do what Python and its libraries allow once a process.

A trial runs in a process that has run others. As if it were the first, a script chooses how processes start, opens a
process group, and registers its resolvers with OmegaConf or its functions with gin.
"""

from __future__ import annotations

import functools
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

from orchestrator.training.doors.import_hook import Replacements, on_import

_resolvers: set[str] = set()
"""Names that scripts of this process have registered. They stay, since a library may have done so at its import."""


@contextmanager
def as_first_of_process(notice: Callable[[str], None]) -> Iterator[None]:
    """Run code as if no other had run in this process. ``notice`` takes a sentence for the user."""
    has_group = _has_process_group()
    context: Any = multiprocessing.context._default_context
    chosen, context._actual_context = context._actual_context, None
    replacements = Replacements()
    replacements.replace(torch, "set_num_interop_threads", _once(torch.set_num_interop_threads, notice))
    with ExitStack() as stack:
        stack.enter_context(on_import("omegaconf", lambda module: _register_again(module.OmegaConf, replacements)))
        stack.enter_context(on_import("gin", lambda module: module.enter_interactive_mode()))
        try:
            yield
        finally:
            replacements.undo()
            context._actual_context = chosen
            _close(has_group=has_group)


def _has_process_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _register_again(omegaconf: Any, replacements: Replacements) -> None:
    """Let a script register the resolvers that an earlier one of this process has registered."""
    original, earlier = omegaconf.register_new_resolver, frozenset(_resolvers)

    @functools.wraps(original)
    def register(name: str, resolver: Any, *, replace: bool = False, **options: Any) -> None:
        is_again = name in earlier and name not in own
        original(name, resolver, replace=replace or is_again, **options)
        own.add(name)
        _resolvers.add(name)

    own: set[str] = set()
    replacements.replace(omegaconf, "register_new_resolver", staticmethod(register))


def _close(*, has_group: bool) -> None:
    """Close what a script leaves open for the end of its process."""
    if _has_process_group() and not has_group:
        with suppress(RuntimeError, ValueError):
            torch.distributed.destroy_process_group()
    if hydra := sys.modules.get("hydra.core.global_hydra"):
        hydra.GlobalHydra.instance().clear()
    if gin := sys.modules.get("gin"):
        gin.clear_config()
    if accelerate := sys.modules.get("accelerate.state"):
        accelerate.AcceleratorState._reset_state(reset_partial_state=True)
        accelerate.GradientState._reset_state()
    if mlflow := sys.modules.get("mlflow"):
        while mlflow.active_run() is not None:
            mlflow.end_run()


def _once(original: Callable[[int], None], notice: Callable[[str], None]) -> Callable[[int], None]:
    """Return ``torch.set_num_interop_threads`` that leaves the number as it is where torch has begun to work."""

    @functools.wraps(original)
    def set_num_interop_threads(number: int) -> None:
        try:
            original(number)
        except RuntimeError:
            notice(f"torch.set_num_interop_threads({number}) is without effect: torch has begun to work")

    return set_num_interop_threads
