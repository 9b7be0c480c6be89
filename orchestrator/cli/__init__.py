"""The command ``sweep``: data on stdout, what is said beside it on stderr; heavy imports wait for their command."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from orchestrator.cli import run, inspect, report, dashboard, confirm, export, publish, tpu, cluster, sweep_files  # isort: skip  # the order of --help
from orchestrator.cli.app import app, complain
from orchestrator.cli.supervisor import another_goes_on, driving
from orchestrator.errors import SweepError

__all__ = [
    "app",
    "cluster",
    "confirm",
    "dashboard",
    "export",
    "inspect",
    "main",
    "publish",
    "report",
    "run",
    "sweep_files",
    "tpu",
]


def main() -> None:
    """Run the command; errors meant for people go to stderr without a traceback, with their exit code."""
    with driving(), _errors_for_people():
        app()


@contextlib.contextmanager
def _errors_for_people() -> Iterator[None]:
    try:
        yield
    except SweepError as error:
        message, _, hint = str(error).partition("\nhint: ")
        hint = "" if another_goes_on(error) else hint
        complain(f"error: {message}" + (f"\nhint: {hint}" if hint else ""))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        from orchestrator.durable_files import storage_fault

        if not storage_fault(error):
            raise
        complain(f"error: {storage_fault(error)}: {error.filename or error}")
        sys.exit(1)
