"""Close the driver's own Ray to everybody else: a random token for each instance, and loopback only."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from orchestrator import compat_ray
from orchestrator.engine.listening_ports import listening_ports
from orchestrator.engine.process_reaper import members
from orchestrator.engine.tune.environment_variables import environment_variables

_LOG = logging.getLogger("orchestrator.ports")


@contextlib.contextmanager
def closed_to_others(folder: Path) -> Iterator[None]:
    """Set Ray's environment for an instance that only holders of a new token can use; restore it at the end.

    The token is in ``folder``, which only its owner can read. Processes that Ray starts inherit the environment.
    A token or mode that the user has set for a cluster does not count here.
    """
    token = folder / "token"
    descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, secrets.token_hex(32).encode())
    finally:
        os.close(descriptor)
    with environment_variables(
        {**compat_ray.LOCAL_SWITCHES, "RAY_AUTH_TOKEN_PATH": str(token)}, without="RAY_AUTH_TOKEN"
    ):
        compat_ray.reload_settings()
        try:
            with compat_ray.loopback_only():
                yield
        finally:
            token.unlink(missing_ok=True)
    compat_ray.reload_settings()


def log_ports(folder: Path) -> None:
    """Log every port on which the instance or this process listens, at level debug."""
    if _LOG.isEnabledFor(logging.DEBUG):
        for port in listening_ports([os.getpid(), *members(folder)]):
            _LOG.debug("%s", port)
