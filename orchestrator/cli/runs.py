"""Commands that keep order among runs: list, label, rename and remove them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import PANEL_ORDER, app
from orchestrator.cli.completion import run_names
from orchestrator.cli.options import Json, Name, RequiredName, Runs
from orchestrator.cli.output import print_done, print_json, print_lines, wide_console
from orchestrator.cli.run_argument import chosen_run
from orchestrator.progress import counted

if TYPE_CHECKING:
    from orchestrator.rundir import RunDirectory

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME]...", help="Runs, each as elsewhere. Default: all.", autocompletion=run_names),
]


@app.command("list", rich_help_panel=PANEL_ORDER)
def list_(
    folders: Annotated[
        list[str] | None, typer.Argument(metavar="[FOLDER]...", help="Folders or URLs of runs. Default: as --runs.")
    ] = None,
    tags: Annotated[
        list[str] | None, typer.Option("--tag", metavar="TAG", help="Only runs with this tag. May be repeated.")
    ] = None,
    archived: Annotated[bool, typer.Option("--all", help="Include archived runs.")] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """List the runs, oldest first: state, progress, best value, age, size and tags.

    Example: sweep list runs /mnt/sweeps --tag baseline
    """
    from dataclasses import asdict

    from orchestrator.results.run_overview import list_runs
    from orchestrator.results.terminal_tables import run_table
    from orchestrator.rundir import runs_root

    listed = list_runs(*(folders or ([runs] if runs else [])), tags=tags or (), archived=archived)
    if as_json:
        print_json([asdict(run) for run in listed])
    elif listed:
        wide_console().print(run_table(listed))
        print_lines(*(f"{run.name}: {run.reason}" for run in listed if run.status == "damaged"), err=True)
    else:
        places = ", ".join(str(runs_root(folder)) for folder in folders or (runs,))
        limits = "".join(f", with the tag {tag}" for tag in tags or ()) + ("" if archived else ", archived ones apart")
        print_lines(f"no runs in {places}{limits}", err=True)


@app.command(rich_help_panel=PANEL_ORDER)
def tag(
    name: Name = None,
    tags: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Tags to add.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="TAG", help="Tag to remove. May be repeated.")
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Add tags to a run, or remove some, and print those it has. NAME may be -, the newest run.

    Example: sweep tag - baseline wide
    """
    from orchestrator.sweep.labels_of_run import tag

    labels = tag(chosen_run(name, runs), *(tags or ()), remove=remove or ())
    print_json(list(labels.tags)) if as_json else print_lines(*labels.tags)


@app.command(rich_help_panel=PANEL_ORDER)
def note(
    name: Name = None,
    text: Annotated[str | None, typer.Argument(metavar="[TEXT]", help="The new note; '' removes it.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Write a note about a run in place of the one it has, or print that. NAME may be -, the newest run.

    Example: sweep note - "the last one before the new augmentation"
    """
    from orchestrator.rundir.labels import read_labels
    from orchestrator.sweep.labels_of_run import note

    run = chosen_run(name, runs)
    labels = read_labels(run) if text is None else note(run, text)
    if as_json:
        print_json(labels.note)
    elif text is None and labels.note:
        print_lines(*labels.note.splitlines())


@app.command(rich_help_panel=PANEL_ORDER)
def archive(
    name: Name = None,
    undo: Annotated[bool, typer.Option("--undo", help="List it again.")] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Leave a run out of lists, and of what the newest run can mean. Its files stay as they are.

    Example: sweep archive quickstart
    """
    from orchestrator.sweep.labels_of_run import archive

    run = chosen_run(name, runs)
    archive(run, not undo)
    text = f"{run.name} is {'listed again' if undo else 'archived; sweep list --all lists it'}"
    print_done({"name": run.name, "archived": not undo}, text, as_json=as_json)


@app.command(rich_help_panel=PANEL_ORDER)
def rename(
    name: RequiredName,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The new name.")],
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Rename a run that no process runs. NAME may be -, the newest run.

    Example: sweep rename quickstart-2 first-try
    """
    from orchestrator.sweep.run_files import rename

    run = chosen_run(name, runs)
    renamed = rename(run, new)
    record = {"name": renamed.name, "directory": renamed.where, "before": run.name}
    print_done(record, f"{run.name} is now {renamed.where}", as_json=as_json)


@app.command(rich_help_panel=PANEL_ORDER)
def rm(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Runs, each as elsewhere.", autocompletion=run_names)
    ],
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints",
            help="Remove only checkpoints, but not the winner's, nor those that an unfinished run resumes from.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask. Each NAME must then be a whole name.")] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Remove runs with all their files, or only their checkpoints. Asks first; refuses a run that is running.

    Example: sweep rm quickstart quickstart-2 --checkpoints
    """
    from orchestrator.plan.memory_size import size_text
    from orchestrator.sweep import run_files

    chosen = {chosen_run(name, runs): name for name in names}
    _settle_removal(chosen, checkpoints=checkpoints, yes=yes)
    records = []
    for run in chosen:
        if checkpoints:
            freed = run_files.remove_checkpoints(run)
            records.append({"name": run.name, "checkpoints": freed.files, "bytes": freed.bytes, "left": []})
            text = [f"{run.name}: removed {counted(freed.files, 'checkpoint')}, {size_text(freed.bytes)}"]
        else:
            left = run_files.remove(run)
            records.append({"name": run.name, "checkpoints": None, "bytes": None, "left": left})
            text = [f"removed {run.where}", *(f"left {path}: its folder may belong to another run" for path in left)]
        print_lines(*(() if as_json else text), err=True)
    if as_json:
        print_json(records)


@app.command(rich_help_panel=PANEL_ORDER)
def du(names: Names = None, runs: Runs = None, as_json: Json = False) -> None:
    """Print how much room runs take: checkpoints, logs, bundles, journal and the rest.

    Example: sweep du
    """
    from orchestrator.results.terminal_tables import space_table
    from orchestrator.rundir import list_runs
    from orchestrator.rundir.disk_use import disk_use

    used = {run: disk_use(run) for run in ([chosen_run(name, runs) for name in names] if names else list_runs(runs))}
    if as_json:
        from dataclasses import asdict

        print_json([{"name": run.name, "total": use.total, **asdict(use)} for run, use in used.items()])
    elif used:
        wide_console().print(space_table({run.name: use for run, use in used.items()}))


def _settle_removal(chosen: dict[RunDirectory, str], *, checkpoints: bool, yes: bool) -> None:
    """Ask, unless the answer is given. Raises UsageError if nobody can be asked, typer.Abort for a no."""
    from orchestrator.errors import UsageError
    from orchestrator.plan.memory_size import size_text
    from orchestrator.rundir.disk_use import disk_use

    if yes:
        short = next((name for run, name in chosen.items() if not name.rstrip("/").endswith(run.name)), None)
        if short is not None:
            raise UsageError(f"--yes needs whole names, and {short!r} is none", hint="write the run's name")
        return
    for run in chosen:
        use = disk_use(run)
        size = use.checkpoints if checkpoints else use.total
        what = "checkpoints of " if checkpoints else ""
        bundles = " with its exported bundles" if use.bundles and not checkpoints else ""
        print_lines(f"  {what}{run.where}{bundles}, {size_text(size)}", err=True)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("nobody can be asked here", hint="sweep rm NAME --yes")
    typer.confirm("Remove this for good?", default=False, err=True, abort=True)
