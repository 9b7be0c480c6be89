"""The command that prints what trials have printed: `sweep logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import PANEL_READ, app
from orchestrator.cli.options import Json, Name, Runs
from orchestrator.cli.output import command_line, print_json, print_lines
from orchestrator.cli.run_argument import chosen_run

if TYPE_CHECKING:
    from orchestrator.results.log_reader import LogText
    from orchestrator.rundir import RunDirectory

_LAST = 10  # lines of each log, where no trial is named
_POLL_SECONDS = 1.0
_REMOTE_SECONDS = 10.0  # in object storage, where each poll is a request that costs money


@app.command(rich_help_panel=PANEL_READ)
def logs(
    name: Name = None,
    trial: Annotated[
        int | None, typer.Option("--trial", min=0, help="Print all that this trial has printed. Default: all trials.")
    ] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", min=0, help="Of the trial's processes, this one only. Default: all of them.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they come, until the sweep ends.")
    ] = False,
    grep: Annotated[
        str | None, typer.Option("--grep", metavar="TEXT", help="Print only lines that contain TEXT, in any case.")
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            "--last",
            min=0,
            metavar="N",
            help="Print the last N lines of each log. Default: 10, with --trial all.",
        ),
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Print what trials have printed, warned and logged, also before a failure: sweep logs NAME --trial 7.

    Example: sweep logs cifar10 --trial 7 --follow
    """
    run = chosen_run(name, runs)
    if follow:
        _follow(run, trial, rank, grep=grep, last=_LAST if last is None else last)
        return
    texts = _texts(run, trial, rank)
    most = last if last is not None or trial is not None or grep is not None else _LAST
    shown = [(text, text.with_text(grep) if grep is not None else text.lines) for text in texts]
    shown = [(text, lines[max(0, len(lines) - most) :] if most is not None else lines) for text, lines in shown]
    if as_json:
        fields = ("trial", "segment", "rank")
        print_json(
            [
                {**{field: getattr(text.log, field) for field in fields}, "file": text.log.relative, "lines": lines}
                for text, lines in shown
                if lines
            ]
        )
        return
    for text, lines in shown:
        if lines:
            _print(text, lines)
    if not any(lines for _, lines in shown):
        of = f"trial {trial}" if trial is not None else "no trial"
        said = f"a line with {grep!r}" if grep is not None else "anything"
        print_lines(f"{of} has {'not ' if trial is not None else ''}printed {said}", err=True)
    elif most is not None and last is None:
        print_lines(
            "", f"all that a trial has printed: {command_line('logs', run.name, run.runs, '--trial', '0')}", err=True
        )


def _texts(run: RunDirectory, trial: int | None, rank: int | None) -> list[LogText]:
    """Return the logs of a trial, or of all. Raises UsageError if there is no such trial."""
    from orchestrator.errors import UsageError
    from orchestrator.results.log_reader import logs, read_log
    from orchestrator.results.run_state import read_state

    numbers = sorted(read_state(run).trials)
    if trial is not None and trial not in numbers:
        hint = f"trials are numbered from 0 to {numbers[-1]}" if numbers else "no trial was suggested yet"
        raise UsageError(f"there is no trial {trial}", hint=hint)
    return [read_log(run, log) for log in logs(run, numbers if trial is None else [trial], rank)]


def _print(text: LogText, lines: list[str]) -> None:
    typer.echo(typer.style(f"== {text.log.title} ==", bold=True))
    for line in lines:
        typer.echo(line)


def _follow(run: RunDirectory, trial: int | None, rank: int | None, *, grep: str | None, last: int) -> None:
    """Print new lines until the sweep ends."""
    import contextlib
    import time

    from orchestrator.results.log_reader import Followed
    from orchestrator.watch.watched_sweep import Watched

    watched, followed = Watched(run), Followed(run, rank, last)
    before: set[int] = set()
    heading = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            watched.refresh()
            running = set(watched.state.running)
            is_over = watched.state.status not in ("running", "created", "")
            wanted = [trial] if trial is not None else sorted(running | before)
            for text in followed.new_lines(wanted):
                lines = text.with_text(grep) if grep is not None else text.lines
                if not lines:
                    continue
                if text.log == heading:
                    for line in lines:
                        typer.echo(line)
                else:
                    _print(text, lines)
                heading = text.log
            if is_over:
                return
            before = running
            time.sleep(_REMOTE_SECONDS if run.url else _POLL_SECONDS)
