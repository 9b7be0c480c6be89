"""Commands that run a sweep or change a running one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from orchestrator.cli import detached
from orchestrator.cli.app import PANEL_RUN, app
from orchestrator.cli.completion import run_names, trial_numbers
from orchestrator.cli.driver_options import DriverOptions, with_driver_options
from orchestrator.cli.forked_driver import continue_after, fork_driver
from orchestrator.cli.launch_notice import launch_notice
from orchestrator.cli.options import Json, Name, Overrides, Preset, RunName, Runs, Spec, Trust
from orchestrator.cli.outcome import finish
from orchestrator.cli.output import command_line, print_done, print_json, print_lines, print_next, print_notices
from orchestrator.cli.run_argument import chosen_run
from orchestrator.cli.supervisor import is_replacement, needs_supervisor, supervise, supervised
from orchestrator.cli.time_of_day import parsed_time
from orchestrator.cli.trust_question import settle_trust
from orchestrator.cli.watch_key import WatchKey

if TYPE_CHECKING:
    from orchestrator.errors import SpecError
    from orchestrator.results.launch_progress import Progress
    from orchestrator.rundir import RunDirectory
    from orchestrator.spec import SweepSpec
    from orchestrator.sweep import Outcome


@app.command(rich_help_panel=PANEL_RUN)
@with_driver_options
def launch(
    spec: Spec,
    preset: Preset = None,
    name: RunName = None,
    new_name: Annotated[
        bool, typer.Option("--new-name", help="If a run of this name exists, use the next free one: NAME-2, NAME-3, …")
    ] = False,
    overrides: Overrides = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            "--warm-start",
            metavar="RUN...",
            help="Earlier runs whose trials the searcher starts with; or an Optuna storage, a CSV table, a folder of "
            "Ray Tune or W&B.",
            autocompletion=run_names,
        ),
    ] = None,
    more_runs: Annotated[list[str] | None, typer.Argument(metavar="RUN", hidden=True)] = None,
    no_preflight: Annotated[
        bool, typer.Option("--no-preflight", help="Start without running one batch of the model beforehand.")
    ] = False,
    *,
    driver: DriverOptions,
) -> None:
    """Check a sweep file, run the sweep to its end and print the ranking, or submit it to a cluster.

    With --script FILE the sweep file is made of a script's own options:
    --script train.py --objective val_loss:min --lr log_uniform:1e-4,1e-2.

    Example: sweep launch cifar10 --set budget.trials=20 --detach
    """
    from orchestrator.errors import RunHeldError, SpecError, UsageError
    from orchestrator.rundir import free_name, run_at
    from orchestrator.secrets import spared
    from orchestrator.spec import load

    if more_runs and not warm_start:
        raise UsageError(
            f"unexpected argument {more_runs[0]!r}", hint=f"launch one sweep at a time: sweep launch {spec}"
        )
    try:
        loaded = load(spec, overrides or (), name, preset)
    except SpecError as error:
        raise _with_all_problems(error) from error
    if not supervised():
        notices = filter(None, [launch_notice(loaded, spec, preset), *spared()])
        print_lines(*(f"notice: {sentence}" for sentence in notices), err=True)
    earlier_runs = [*(warm_start or ()), *(more_runs or ())]
    if driver.cluster is not None:
        if new_name:
            raise UsageError(
                "--new-name and --cluster exclude each other: only the cluster knows which runs exist",
                hint="specify --name NAME",
            )
        words = [word for run in earlier_runs for word in ("--warm-start", run)]
        words += ["--no-preflight"] if no_preflight else []
        submit(driver, ["launch", "sweep.yaml", *words], loaded)
        return
    arguments: tuple[str, ...] = ()
    if new_name and not supervised():  # the supervisor has chosen the name and passes it on
        loaded = load(spec, overrides or (), free_name(loaded.name, driver.runs), preset)
        arguments = ("--name", loaded.name)

    def start(progress: Progress) -> Outcome:
        from orchestrator import sweep

        return sweep.launch(
            loaded,
            driver.runs,
            local=driver.local,
            address=driver.address,
            observer=progress,
            warm_start=earlier_runs,
            preflight=not no_preflight,
        )

    run = run_at(loaded.name, driver.runs)
    if run.exists() and not supervised():
        hint = f"resume it: sweep resume {run.name}; or start another: --new-name, or --name {run.name}-2"
        raise RunHeldError(f"the run {run.name!r} exists already: {run.where}", hint=hint)
    _run_to_end(run, start, driver, arguments)


@app.command(rich_help_panel=PANEL_RUN)
@with_driver_options
def resume(name: Name = None, trust: Trust = False, *, driver: DriverOptions) -> None:
    """Resume a stopped run. Ended trials stay as they are; the others start from their last checkpoint.

    Example: sweep resume cifar10
    """
    _continue(name, driver, trust, "resume")


@app.command(rich_help_panel=PANEL_RUN)
@with_driver_options
def retry(
    name: Name = None,
    failed: Annotated[bool, typer.Option("--failed", help="Retry every failed trial.")] = False,
    trials: Annotated[
        list[int] | None,
        typer.Option("--trial", help="Number of a failed trial. May be repeated.", autocompletion=trial_numbers),
    ] = None,
    trust: Trust = False,
    *,
    driver: DriverOptions,
) -> None:
    """Retry failed trials from their last checkpoint, and resume the run.

    Example: sweep retry cifar10 --failed
    """
    from orchestrator.errors import UsageError

    if failed == bool(trials):
        raise UsageError("specify the trials to retry: either --failed or --trial N", hint="sweep retry NAME --failed")

    words = ["--failed"] if failed else [word for trial in trials or () for word in ("--trial", str(trial))]
    _continue(name, driver, trust, "retry", words, trials="failed" if failed else trials or ())


@app.command(rich_help_panel=PANEL_RUN)
@with_driver_options
def extend(
    name: Name = None,
    trials: Annotated[int, typer.Option("--trials", min=0, help="Number of additional trials.")] = 0,
    epochs: Annotated[
        int, typer.Option("--epochs", min=0, help="Additional epochs for each trial; finished trials continue.")
    ] = 0,
    by: Annotated[
        str,
        typer.Option(
            "--by", metavar="AMOUNT", help="The same in the unit of the sweep's progress: 500 steps, 10m, 2M samples."
        ),
    ] = "",
    wall_clock: Annotated[str, typer.Option("--wall-clock", metavar="TIME", help="Additional time: 2h.")] = "",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="KEY=AMOUNT",
            help="Additional budget: epochs=500, samples=2e9, gpu_hours=5, cost=20; or a new target=0.97. "
            "May be repeated.",
        ),
    ] = None,
    trust: Trust = False,
    *,
    driver: DriverOptions,
) -> None:
    """Extend a run beyond its limits: more trials, more epochs, more time.

    Example: sweep extend cifar10 --trials 20
    """
    additional_budget = dict(_parse_amount(text) for text in budget or ())
    words = [f"--{key}={value}" for key, value in (("trials", trials), ("epochs", epochs), ("by", by)) if value]
    words += [f"--wall-clock={wall_clock}"] if wall_clock else []
    words += [f"--budget={text}" for text in budget or ()]
    amounts = {"trials": trials, "epochs": epochs, "by": by, "wall_clock": wall_clock, "budget": additional_budget}
    _continue(name, driver, trust, "extend", words, **amounts)


@app.command(rich_help_panel=PANEL_RUN)
def stop(
    name: Name = None,
    trial: Annotated[
        int | None,
        typer.Option("--trial", help="Stop only this trial, after its next batch.", autocompletion=trial_numbers),
    ] = None,
    drain: Annotated[
        bool,
        typer.Option("--drain", help="Stop after the running trials' next reports: no step is lost. Does not wait."),
    ] = False,
    at: Annotated[
        str,
        typer.Option("--at", metavar="TIME", help="Stop then: 18:00, 2026-12-24T18:00, or 2h from now. Does not wait."),
    ] = "",
    cancel: Annotated[bool, typer.Option("--cancel", help="Take back the stops at a later time.")] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Stop a running sweep cleanly, from any terminal: now, later, or after a report. Or stop one of its trials.

    It needs no --cluster and no --address: the request lies in the run directory, which the driver reads.

    Example: sweep stop --drain --at 18:00
    """
    from orchestrator.errors import UsageError
    from orchestrator.rundir.stop_times import pending_stops
    from orchestrator.sweep import control

    if trial is not None and (drain or at or cancel):
        raise UsageError("--trial stops one trial at its next batch", hint="leave out --drain, --at and --cancel")
    run = chosen_run(name, runs)
    resume = command_line("resume", run.name, run.runs)
    if cancel:
        taken = control.cancel_stop(run.name, run.runs)
        print_done(
            {"name": run.name, "cancelled": taken}, f"{run.name}: {taken} later stops taken back", as_json=as_json
        )
        return
    if drain or at:
        driver = control.stop_later(run.name, run.runs, drain=drain, at=parsed_time(at) if at else None)
        stops = pending_stops(run) or ["now"]
        text = f"{run.name} (run by {driver}) will stop {'; '.join(stops)}; resume with: {resume}"
        print_done({"name": run.name, "driver": driver, "will_stop": list(stops)}, text, as_json=as_json)
        return
    driver = control.stop(run.name, run.runs, trial=trial)
    if as_json:
        print_json(
            {"name": run.name, "driver": driver, "stopped": "sweep" if trial is None else "trial", "trial": trial}
        )
        return
    if trial is not None:
        print_lines(f"stopped trial {trial} of {run.name}; the sweep continues", err=True)
        return
    print_lines(f"stopped {run.name} (run by {driver}); resume with: {resume}", err=True)


@app.command(rich_help_panel=PANEL_RUN)
def promote(
    trial: Annotated[
        int,
        typer.Option(
            "--trial",
            help="Number of a trial that the scheduler has set aside.",
            autocompletion=trial_numbers,
        ),
    ],
    name: Name = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Continue a trial that the scheduler of a running sweep has set aside.

    It needs no --cluster and no --address: the request lies in the run directory, which the driver reads.

    Example: sweep promote cifar10 --trial 7
    """
    from orchestrator import sweep

    run = chosen_run(name, runs)
    promoted = sweep.promote(run.name, run.runs, trial=trial)
    text = f"requested trial {trial} of {run.name}; the driver reads requests when a trial next reports"
    if promoted:
        text = f"trial {trial} of {run.name} continues as soon as a slot is free"
    print_done({"name": run.name, "trial": trial, "promoted": promoted}, text, as_json=as_json)


@app.command(rich_help_panel=PANEL_RUN)
def sync(name: Name = None, runs: Runs = None, as_json: Json = False) -> None:
    """Send to W&B and MLflow what they have not received of a run; nothing is sent twice.

    Example: sweep sync cifar10
    """
    from orchestrator.results.run_state import read_state
    from orchestrator.state import spec_in_force
    from orchestrator.sweep import send

    run = chosen_run(name, runs)
    notices = send(run, spec_in_force(read_state(run)))
    print_json({"name": run.name, "not_sent": list(notices)}) if as_json else print_notices(notices)
    raise typer.Exit(1 if notices else 0)


def _with_all_problems(error: SpecError) -> SpecError:
    """Return the error about a sweep file with the mistakes that only its code and this machine show."""
    from orchestrator.errors import SpecError

    if error.rest is None:
        return error
    from orchestrator.sweep.preflight import further_problems

    return SpecError([*error.problems, *further_problems(error)])


def _continue(
    name: str | None,
    driver: DriverOptions,
    trust: bool,
    verb: Literal["resume", "retry", "extend"],
    words: Sequence[str] = (),
    **options: Any,
) -> None:
    """Resume, retry or extend a run, here or on a cluster; ``words`` say the same as ``options``."""
    run = chosen_run(name, driver.runs)
    trust = settle_trust(run, trust)
    if driver.cluster is not None:
        from orchestrator.results.run_state import read_state
        from orchestrator.state import spec_in_force

        place = driver.runs or (str(run.runs) if run.url else None)
        submit(replace(driver, runs=place), [verb, run.name, "--trust", *words], spec_in_force(read_state(run)))
        return

    def start(progress: Progress) -> Outcome:
        from orchestrator import sweep

        return getattr(sweep, verb)(  # type: ignore[no-any-return]
            run.name,
            run.runs,
            local=driver.local,
            address=driver.address,
            observer=progress,
            wait_for_cluster=is_replacement(),
            trust=trust,
            **options,
        )

    _run_to_end(run, start, driver, _named(name, run))


def _run_to_end(
    run: RunDirectory, start: Callable[[Progress], Outcome], driver: DriverOptions, extra_arguments: Sequence[str] = ()
) -> None:
    """Run a sweep in this process, locally in a fork of it, or on a cluster in a supervised one; print its outcome."""
    local, address, as_json = driver.local, driver.address, driver.as_json
    if driver.detach:
        raise typer.Exit(detached.detach(run, extra_arguments, as_json=as_json))
    if needs_supervisor(address, local):
        # This command has settled the trust, or launched the run: a replacement has nobody to ask.
        resume_with = ["resume", run.name, "--trust", "--address", address, "--runs", str(run.runs)]
        resume_with += ["--json"] if as_json else []
        raise typer.Exit(supervise(run, resume_with=resume_with, extra_arguments=extra_arguments))
    crash = fork_driver(run) if local else None
    from orchestrator.results.launch_progress import Progress

    with Progress(run) as progress, WatchKey(run, progress, own=not local):
        progress.phase("importing torch")
        if crash:
            continue_after(crash, run)
            from orchestrator import sweep

            outcome = sweep.resume(run.name, run.runs, local=True, observer=progress, trust=True)
        else:
            outcome = start(progress)
    finish(outcome, local=local, address=address, as_json=as_json)


def _named(name: str | None, run: RunDirectory) -> list[str]:
    """Return arguments for a driver: the run, if the command has none, as another may be the newest then; and trust.

    This command has settled the trust, and a driver may have nobody to ask.
    """
    words = [] if name is not None else [run.name]
    return words if "--trust" in sys.argv else [*words, "--trust"]


def submit(driver: DriverOptions, words: Sequence[str], spec: SweepSpec) -> None:
    """Submit ``sweep WORDS`` with this spec to a cluster, and print how to follow it."""
    from orchestrator.cluster import jobs

    assert driver.cluster is not None
    submitted = jobs.submit(
        driver.cluster, words, spec, runs=driver.runs, token_file=driver.token, insecure=driver.insecure
    )
    upload, where = submitted.upload, submitted.runs or driver.runs  # may be a URL
    if driver.as_json:
        print_json({"name": spec.name, "job": submitted.job, "runs": str(where) if where else None,
                    "files": upload.files, "bytes": upload.size, "not_uploaded": list(upload.large)})  # fmt: skip
        return
    code = f"{upload.files} code files, {upload.size / 1e3:,.0f} kB" if upload.files else "no code files"
    print_lines(f"{spec.name} is submitted as {submitted.job}, with {code}")
    if upload.large:
        print_lines(f"not uploaded, because too large for code: {', '.join(upload.large)}", err=True)
    print_next(
        (
            (command_line("watch", spec.name, where), "follow it on a screen"),
            (command_line("status", spec.name, where), "print its progress"),
            (command_line("stop", spec.name, where), "pause it; resume with sweep resume --cluster"),
        )
    )


def _parse_amount(text: str) -> tuple[str, float]:
    """Return the key and the number of ``cost=20``."""
    from orchestrator.errors import UsageError

    key, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        raise UsageError(f"--budget {text} is not of the form KEY=NUMBER", hint="e.g. --budget cost=20") from None
    return key, int(number) if key in ("epochs", "steps", "samples") and number.is_integer() else number
