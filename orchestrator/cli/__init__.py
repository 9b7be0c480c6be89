"""The command ``sweep``: results on stdout, messages on stderr; a command loads heavy libraries only when it runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

# The order of these imports is the order of the commands in `sweep --help`.
# isort: off
from orchestrator.cli import run, inspect, logs, views, plan, confirm, export, runs, sweep_files, doctor, cluster, tpu

# isort: on
from orchestrator.cli import forked_driver
from orchestrator.cli.app import app
from orchestrator.cli.error_json import error_record, failure
from orchestrator.cli.output import print_json, warn
from orchestrator.cli.script_launch import is_of_script, launch_options, with_sweep_file
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
    """Run the command. A SweepError is printed without a traceback and sets the exit code.

    With ``--json`` it is one JSON object on stdout.
    """
    _write_any_character()
    guard_streams()
    as_json = "--json" in sys.argv[1:]
    with forked_driver.report_exit_code(), report_exit_code(), _printed_errors(as_json=as_json):
        if is_of_script(sys.argv[1:]):  # a driver that is started again with these words has the file
            sys.argv[1:] = with_sweep_file(sys.argv[1:], launch_options())
        if as_json:
            sys.exit(_run_for_json())
        app(prog_name="sweep")


def _write_any_character() -> None:
    """Write a question mark where the encoding of the output lacks a character, as ASCII lacks those of curves."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _run_for_json() -> int:
    """Run the command, and print a wrong option or argument as JSON; return the exit code."""
    import typer

    try:
        code = app(prog_name="sweep", standalone_mode=False)
    except typer.Abort:
        _print_failure(failure("aborted", "the question was answered with no, or not at all"))
        return 1
    except Exception as error:
        if not hasattr(error, "format_message"):  # Click's errors, which Typer holds a copy of in some versions
            raise
        _print_failure(failure("usage", error.format_message(), hint="sweep COMMAND --help lists the options"))
        return int(getattr(error, "exit_code", 2))
    return code if isinstance(code, int) else 0


def _print_failure(record: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        print_json(record)


@contextlib.contextmanager
def _printed_errors(*, as_json: bool) -> Iterator[None]:
    try:
        yield
    except SweepError as error:
        message, _, hint = str(error).partition("\nhint: ")
        if will_be_replaced(error):
            hint = ""  # a replacement driver resumes the run: there is nothing for a person to do
        if as_json:
            _print_failure(error_record(error, hint))
        else:
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
        text = f"{storage_fault(error)}: {error.filename or error}"
        if as_json:
            _print_failure(failure("storage", text, transient=True))
        else:
            warn(f"error: {text}")
        sys.exit(1)
