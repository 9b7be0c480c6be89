"""Commands that predict a search without running it: `sweep plan` and `sweep simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import PANEL_READ, PANEL_RUN, app
from orchestrator.cli.completion import run_names
from orchestrator.cli.options import Json, Overrides, Preset, Runs, Spec
from orchestrator.cli.output import print_json, print_lines, warn, wide_console
from orchestrator.cli.run_argument import chosen_run


@app.command(rich_help_panel=PANEL_RUN)
def plan(
    spec: Spec,
    overrides: Overrides = None,
    preset: Preset = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Train a few real steps to estimate hours, memory, disk space and cost."),
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Print what a sweep takes: trials, rungs and training; with --measure also time, memory, disk space and cost.

    Example: sweep plan cifar10 --measure
    """
    from orchestrator import plan as planning
    from orchestrator.plan.formatting import as_record, lines
    from orchestrator.spec import load

    loaded = load(spec, overrides or (), preset=preset)
    planned = planning.plan(loaded)
    costs = planning.measure(loaded, planned, runs) if measure else None
    if as_json:
        print_json(as_record(planned, costs))
    else:
        print_lines(*lines(planned, costs))


@app.command(rich_help_panel=PANEL_READ)
def simulate(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME|TABLE.npz]",
            help="A run, as elsewhere, or a table of learning curves. Default: the newest run here.",
            autocompletion=run_names,
            show_default=False,
        ),
    ] = None,
    searcher: Annotated[
        str | None, typer.Option("--searcher", help="Searcher to compare: its name or import path.")
    ] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Scheduler to compare.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Concurrent trials. Default: as in the run.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds under which each search runs.")] = 20,
    overrides: Overrides = None,
    task: Annotated[str | None, typer.Option("--task", help="Task of the table, if it holds several.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Compare searches on the recorded curves of a run or a table: cost and result, without training.

    Example: sweep simulate cifar10 --searcher random --workers 8
    """
    from dataclasses import asdict

    from orchestrator.engine.recorded_curves import of_sweep, of_table
    from orchestrator.engine.search_comparison import compare, recorded_figures
    from orchestrator.results.run_state import read_state
    from orchestrator.results.terminal_tables import comparison

    table = source if source and source.endswith(".npz") else ""
    run = None if table else chosen_run(source, runs)
    state = read_state(run) if run else None
    curves = of_sweep(run.name, state) if run and state else of_table(Path(table), task)
    policies = {"searcher": searcher, "scheduler": scheduler}
    settings = [*(f"{key}={value}" for key, value in policies.items() if value), *(overrides or ())]
    recorded = [] if state is None else [recorded_figures(curves, state)]
    slots = workers or (state.slots if state else 1)
    searches = [asdict(search) for search in recorded + compare(curves, settings, slots, seeds, warn)]
    if as_json:
        print_json({"best": curves.objective.loss(curves.best), "searches": searches, "notes": curves.notes})
        return
    wide_console().print(comparison(searches, curves.objective.metric))
    print_lines(*(f"note: {note}" for note in curves.notes), err=True)
