"""Run a command's driver in a process of its own that outlives this terminal, and return once the sweep runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.cli.output import command_line, print_json, print_lines, print_next, warn
from orchestrator.cli.supervisor import interpreter_flags

if TYPE_CHECKING:
    from orchestrator.rundir import RunDirectory

_POLL_SECONDS = 0.2


def detach(run: RunDirectory, extra_arguments: Sequence[str] = (), *, as_json: bool = False) -> int:
    """Start this command again as a detached process and wait until it writes the run; return the exit code.

    The process leads a session of its own, so a terminal that closes does not reach it. What it prints goes to
    ``driver.log`` in the run directory. If it ends before the sweep runs, its output is printed here.

    Args:
        run: the run that the process will write.
        extra_arguments: arguments to add to this command's own.
        as_json: print the process, or why there is none, as JSON.
    """
    from orchestrator.durable_files import make_folder

    words = [word for word in sys.argv[1:] if word not in ("--detach", "--new-name")]
    existed = run.root.exists()
    make_folder(run.root, 0o700)
    descriptor = os.open(run.driver_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        begin = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            [sys.executable, *interpreter_flags(), "-m", "orchestrator", *words, *extra_arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    print_lines(f"checking {run.name} …", err=True)
    try:
        code = _wait(run, process)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if code is not None:
        _print_end(run, begin, remove=not existed and not run.exists(), as_json=as_json)
        return code
    if as_json:
        print_json({"name": run.name, "directory": run.where, "process": process.pid, "log": str(run.driver_log)})
    else:
        _print_started(run, process.pid)
    return 0


def _wait(run: RunDirectory, process: subprocess.Popen[bytes]) -> int | None:
    """Wait until the process runs the sweep; return its exit code if it ends before."""
    from orchestrator.journal import holder
    from orchestrator.results.run_state import has_begun

    while (code := process.poll()) is None:
        writer = holder(run.journal) if has_begun(run) else None
        if writer is not None and writer.is_local and _is_own(writer.pid, process.pid):
            return None
        time.sleep(_POLL_SECONDS)
    return code


def _is_own(pid: int, session: int) -> bool:
    """Return whether a process is the detached one or, as its driver, below it."""
    while pid > 1:
        if pid == session:
            return True
        try:
            with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def _print_end(run: RunDirectory, begin: int, *, remove: bool, as_json: bool) -> None:
    """Print what the process printed, its JSON on stdout; leave nothing of a run that has not begun."""
    with run.driver_log.open("rb") as log:
        log.seek(begin)
        said = log.read().decode(errors="replace").rstrip()
    start = f"\n{said}".find("\n{") if as_json else -1
    warn(said if start < 0 else said[:start].rstrip())
    if start >= 0:
        print_lines(*said[start:].splitlines())
    if remove:
        run.driver_log.unlink(missing_ok=True)
        try:
            run.root.rmdir()
        except OSError:
            return


def _print_started(run: RunDirectory, pid: int) -> None:
    print_lines(f"{run.name} runs as process {pid}, which outlives this terminal", err=True)
    print_lines(f"its output: {run.driver_log}", err=True)
    print_next(
        (
            (command_line("watch", run.name, run.runs), "follow it on a screen"),
            (command_line("stop", run.name, run.runs), "pause it"),
        )
    )
