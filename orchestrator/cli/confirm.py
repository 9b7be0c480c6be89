"""Commands that measure the winner: `sweep confirm` and `sweep test`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from orchestrator.cli import detached
from orchestrator.cli.app import PANEL_WINNER, app
from orchestrator.cli.driver_options import DriverOptions, with_driver_options
from orchestrator.cli.forked_driver import continue_after, fork_driver
from orchestrator.cli.options import Json, Name, Runs, Trust
from orchestrator.cli.outcome import run_finals
from orchestrator.cli.output import command_line, print_json, print_lines
from orchestrator.cli.run import submit
from orchestrator.cli.run_argument import chosen_run
from orchestrator.cli.supervisor import needs_supervisor, supervise
from orchestrator.cli.trust_question import settle_trust
from orchestrator.safe_text import show


@app.command(rich_help_panel=PANEL_WINNER)
@with_driver_options
def confirm(
    name: Name = None,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="How many of the best trials take part, near-ties in addition.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=3, help="Limit on all trainings together; raise it to continue.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Stop once one is the best with this probability.")
    ] = None,
    trust: Trust = False,
    *,
    driver: DriverOptions,
) -> None:
    """Retrain the best trials under fresh seeds until the winner is clear: mean, interval, probability.

    Example: sweep confirm cifar10 --top 3
    """
    from orchestrator.results.run_state import read_state
    from orchestrator.results.winner import finals_of
    from orchestrator.state import spec_in_force

    run, local, address = chosen_run(name, driver.runs), driver.local, driver.address
    trust = settle_trust(run, trust)
    options = {"top": top, "trials": trials, "confidence": confidence}
    options = {key: value for key, value in options.items() if value is not None}
    if driver.cluster is not None:
        words = [f"--{key}={value}" for key, value in options.items()]
        place = driver.runs or (str(run.runs) if run.url else None)
        spec = spec_in_force(read_state(run))
        submit(replace(driver, runs=place), ["confirm", run.name, "--trust", *words], spec)
        return
    if driver.detach:
        words = [*([] if name is not None else [run.name]), *([] if "--trust" in sys.argv else ["--trust"])]
        raise typer.Exit(detached.detach(finals_of(run, read_state(run)), words, as_json=driver.as_json))
    if needs_supervisor(address, local):
        named = [] if name is not None else [run.name]  # another run may be the newest by then
        resume_with = [*_trusting(sys.argv[1:]), *named]
        raise typer.Exit(supervise(finals_of(run, read_state(run)), resume_with=resume_with, extra_arguments=named))
    if local and (crash := fork_driver(run)):
        continue_after(crash, run)
        trust = True  # settled before
    code = run_finals(run, options, local=local, address=address, as_json=driver.as_json, trust=trust)
    raise typer.Exit(code)


def _trusting(words: list[str]) -> list[str]:
    """Return the words of a command for a replacement, which has nobody to ask."""
    return words if "--trust" in words else [*words, "--trust"]


@app.command("test", rich_help_panel=PANEL_WINNER)
def evaluate_on_test_set(
    name: Name = None,
    trial: Annotated[
        int | None, typer.Option("--trial", help="Number of a trial of the search. Default: the confirmed winner.")
    ] = None,
    unconfirmed: Annotated[
        bool, typer.Option("--unconfirmed", help="Evaluate a trial that no finals have confirmed.")
    ] = False,
    runs: Runs = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Evaluate the confirmed winner on the test set. Each evaluation is recorded in the journal.

    Example: sweep test cifar10
    """
    from orchestrator import sweep

    run = chosen_run(name, runs)
    trust = settle_trust(run, trust)
    evaluation = sweep.test(run.name, run.runs, trial=trial, unconfirmed=unconfirmed, trust=trust)
    if as_json:
        print_json({"look": evaluation.number, "of": evaluation.winner.title, "metrics": evaluation.metrics_as_json})
    else:
        print_lines(*(f"{metric}: {show(value)}" for metric, value in evaluation.metrics.items()))
    print_lines(f"look {evaluation.number} at the test set: {evaluation.winner.title}", err=True)
    if evaluation.earlier:
        times = "once" if len(evaluation.earlier) == 1 else f"{len(evaluation.earlier)} times"
        print_lines(
            f"warning: the test set had been used {times} before; the best of several looks is a biased score", err=True
        )
    else:
        print_lines(f"next: {command_line('export', run.name, run.runs)}   # write the winner to a folder", err=True)
