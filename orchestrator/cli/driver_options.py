"""The options of commands that run a sweep: where its driver runs, whether it is detached, and how it ends in print."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.cli.options import Address, Cluster, Detach, Insecure, Json, Local, Runs, TokenFile


@dataclass(frozen=True)
class DriverOptions:
    """Where a driver runs.

    Attributes:
        runs: the folder or URL of runs.
        local: in this process, without Ray.
        detach: in a process that outlives the terminal.
        address: a Ray cluster's.
        cluster: the file or URL of a cluster to submit to.
        token: the file of that cluster's token.
        insecure: submit to a cluster that requires no token.
        as_json: print the result as JSON.
    """

    runs: str | None = None
    local: bool = False
    detach: bool = False
    address: str = ""
    cluster: str | None = None
    token: Path | None = None
    insecure: bool = False
    as_json: bool = False

    def check(self) -> None:
        """Raise UsageError if two of them exclude each other."""
        from orchestrator.errors import UsageError

        if self.cluster is None:
            return
        if self.local:
            raise UsageError("--local and --cluster exclude each other", hint="specify one of them")
        if self.detach:
            raise UsageError(
                "--detach and --cluster exclude each other: a submitted sweep needs no terminal",
                hint="leave --detach out",
            )


_DECLARED = {
    "runs": Runs, "local": Local, "detach": Detach, "address": Address, "cluster": Cluster, "token": TokenFile,
    "insecure": Insecure, "as_json": Json,
}  # fmt: skip


def with_driver_options(command: Callable[..., None]) -> Callable[..., None]:
    """Declare these options for a command, which gets them as its argument ``driver``."""

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        driver = DriverOptions(**{name: arguments.pop(name) for name in _DECLARED if name in arguments})
        driver.check()
        command(**arguments, driver=driver)

    own = [each for each in inspect.signature(command, eval_str=True).parameters.values() if each.name != "driver"]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(DriverOptions, name), annotation=kind)
        for name, kind in _DECLARED.items()
    ]
    signature = inspect.Signature([*(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own), *shared])
    wrapped.__signature__ = signature  # type: ignore[attr-defined]
    wrapped.__annotations__ = {name: each.annotation for name, each in signature.parameters.items()}
    return wrapped
