"""The command ``sweep``: results on stdout, messages on stderr; a command loads heavy libraries only when it runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

# The order of these imports is the order of the commands in `sweep --help`.
# isort: off
from orchestrator.cli import run, inspect, logs, views, plan, confirm, export, runs, sweep_files, doctor, cluster, tpu

# isort: on
from orchestrator.cli import forked_driver
from orchestrator.cli.app import app
from orchestrator.cli.output import warn
from orchestrator.cli.supervisor import report_exit_code, will_be_replaced
from orchestrator.errors import SweepError
from orchestrator.secrets import guard_streams

__all__ = [
    "app",
    "cluster",
    "confirm",
    "doctor",
    "export",
    "inspect",
    "logs",
    "main",
    "plan",
    "run",
    "runs",
    "sweep_files",
    "tpu",
    "views",
]


def main() -> None:
    """Run the command. A SweepError is printed without a traceback and sets the exit code."""
    guard_streams()
    with forked_driver.report_exit_code(), report_exit_code(), _printed_errors():
        app(prog_name="sweep")


@contextlib.contextmanager
def _printed_errors() -> Iterator[None]:
    try:
        yield
    except SweepError as error:
        message, _, hint = str(error).partition("\nhint: ")
        if will_be_replaced(error):
            hint = ""  # a replacement driver resumes the run: there is nothing for a person to do
        warn(f"error: {message}" + (f"\nhint: {hint}" if hint else ""))
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
        warn(f"error: {storage_fault(error)}: {error.filename or error}")
        sys.exit(1)
