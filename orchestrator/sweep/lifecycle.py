"""Launch, resume, extend: from a spec or a journal to the end of the sweep."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrator import tracking
from orchestrator.durable_files import storage_fault
from orchestrator.engine.controller import LiveSweep, Observer
from orchestrator.engine.runtime_env import Host
from orchestrator.engine.stop_requests import Stopping
from orchestrator.errors import RunHeldError, StoppedError, UsageError
from orchestrator.journal import FORMAT, Event, Journal
from orchestrator.notify import Notifier
from orchestrator.plan import settle
from orchestrator.policies.extend_limits import More, extension
from orchestrator.policies.warm_start import warmth
from orchestrator.results.run_state import find, read_state
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import SweepSpec, to_yaml
from orchestrator.spec.parts import seconds
from orchestrator.state import SweepState
from orchestrator.sweep.git_info import git_commit, git_diff
from orchestrator.sweep.preflight import check, check_writable, import_from
from orchestrator.training.machine_info import versions

Engine = Callable[[LiveSweep, Stopping, list[str]], None]
_RECORDED = ("sweep-orchestrator", "torch", "torchvision", "torchmetrics", "lightning", "ray", "optuna", "numpy")


@dataclass(frozen=True)
class Outcome:
    """How a launch or resume ended; ``exit_code`` is 0 when a trial has a finite objective and none was cut off.

    ``notices`` say what trackers have not been sent yet.
    """

    run: RunDirectory
    state: SweepState
    exit_code: int
    notices: Sequence[str] = ()


def launch(
    spec: SweepSpec,
    runs: str | Path | None = None,
    *,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    warm_start: Sequence[str] = (),
    engine: Engine | None = None,
) -> Outcome:
    """Check everything, make the run directory and run the sweep to its end.

    ``warm_start`` names earlier runs in the same folder, whose trials the searcher begins with; ``engine`` is who runs
    the trials, if not one of the usual.

    Raises SpecError, UsageError or RunHeldError with nothing started or written where something is wrong.
    """
    run = run_at(spec.name, runs)
    warm = warmth(spec, _earlier(warm_start, runs)) if warm_start else None
    with Stopping() as stopping:
        made = check_writable(run)
        journal = Journal.create(run.journal)  # from here on the name is ours; others are told so at once
        try:
            spec = settle(spec, local=local, address=address, until=lambda: stopping.signal)
            roots = [] if stopping.signal else check(spec, run, local=local, address=address)
            if stopping.signal:
                raise StoppedError(stopping.signal)
            installed, commit = versions(_RECORDED), git_commit()
            written = spec.model_dump(mode="json")
            asked: dict[str, Any] = {"warm_start": list(warm_start)} if warm else {}
            journal.append(
                "sweep.created",
                format=FORMAT,
                spec=written,
                seed=spec.seed,
                versions=installed,
                git=commit,
                roots=roots,
                **asked,
            )
            if warm:
                journal.append("sweep.warmed", **warm)
        except BaseException:
            journal.discard()
            _remove_empty(made)
            raise
        run.write(run.spec, to_yaml(spec).encode())
        if diff := git_diff():
            run.write(run.diff, diff.encode())
        return _run(spec, run, journal, roots, stopping, engine or _engine(spec, local, address), observer)


def resume(
    name: str,
    runs: str | Path | None = None,
    *,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    retry: Literal["failed"] | Collection[int] = (),
    patient: bool = False,
) -> Outcome:
    """Go on with a run: what was in flight starts again from its last checkpoint, what ended stays as it is.

    ``retry`` gives failed trials (all, or those numbered) another chance, from their last checkpoint if there is one.
    A completed sweep is left as it is. ``patient``: a cluster that does not answer, or has no room, is waited for.

    Raises UsageError where there is no such run or trial to retry, RunHeldError while another process runs it,
    JournalError where its journal is damaged.
    """
    run = find(name, runs)
    state = read_state(run)
    again = _failed_trials(state, retry)
    if state.status == "completed" and not again:
        return _outcome(run, state, 0)
    return _go_on(
        run,
        lambda state: [("trial.retried", {"trial": n}) for n in again],
        local=local,
        address=address,
        observer=observer,
        patient=patient,
    )


def extend(
    name: str,
    runs: str | Path | None = None,
    *,
    trials: int = 0,
    epochs: int = 0,
    wall_clock: str | float = 0.0,
    budget: Mapping[str, float] | None = None,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    patient: bool = False,
) -> Outcome:
    """Let a sweep go on beyond its limits, which may have ended it: so much more of each.

    Args:
        trials: more trials.
        epochs: more epochs for each trial. Those that finished go on, where a checkpoint of theirs was kept.
        wall_clock: more time: ``"2h"``, or seconds.
        budget: more of ``epochs`` (of all trials), ``gpu_hours`` or ``cost``, and a new ``target``.
        patient: as `resume` has it.

    Raises UsageError where there is no such run, or nothing would come of it; RunHeldError while a process runs it.
    """
    run = find(name, runs)
    try:
        more = More(trials, epochs, seconds(wall_clock or None) or 0.0, budget or {})
    except ValueError as error:
        raise UsageError(f"wall_clock: {error}", hint="e.g. 2h") from None
    extension(read_state(run), more)  # what is wrong is said before anything is opened
    return _go_on(
        run,
        lambda state: [("sweep.extended", extension(state, more))],
        local=local,
        address=address,
        observer=observer,
        patient=patient,
    )


def _go_on(
    run: RunDirectory,
    first: Callable[[SweepState], Iterable[tuple[str, dict[str, Any]]]],
    *,
    local: bool,
    address: str,
    observer: Observer | None,
    patient: bool = False,
) -> Outcome:
    """Open the journal, write what is to be written first, and run what is left."""
    with Stopping() as stopping:
        journal = Journal.open(run.journal)
        try:
            if journal.notice:
                print(journal.notice, file=sys.stderr)
            state = SweepState(journal.events())
            spec = SweepSpec.model_validate(state.created["spec"])
            import_from(state.created.get("roots", []), run)
            wanted = SweepSpec.model_validate(state.spec)
            if patient:
                stopping.watch(run)
            until = (lambda: stopping.asked) if patient else None
            roots = check(wanted, run, local=local, address=address, until=until)
            if patient and stopping.asked:
                return _not_begun(run, journal, stopping)
            if stopping.signal:
                raise StoppedError(stopping.signal)
            if state.created.get("warm_start") and not state.warm_start_trials:  # the launch ended before this
                earlier = _earlier(state.created["warm_start"], run.runs)
                journal.append("sweep.warmed", **warmth(spec, earlier))
            for type, fields in first(state):
                journal.append(type, **fields)
            if run.size(run.spec.name) is None:  # the launch was cut off between its first record and this file
                run.write(run.spec, to_yaml(spec).encode())
        except BaseException:
            journal.close()
            raise
        return _run(spec, run, journal, roots, stopping, _engine(spec, local, address), observer)


def _not_begun(run: RunDirectory, journal: Journal, stopping: Stopping) -> Outcome:
    """Somebody asked for a stop while the cluster was waited for."""
    journal.append("sweep.paused", reason=stopping.asked)
    journal.close()
    return _outcome(run, read_state(run), stopping.exit_code)


def _earlier(names: Sequence[str], runs: str | Path | None) -> list[tuple[str, SweepState]]:
    return [(name, read_state(find(name, runs))) for name in names]


def _failed_trials(state: SweepState, wanted: Literal["failed"] | Collection[int]) -> list[int]:
    """The trials to retry, in order. Raises UsageError where one of them has not failed."""
    failed = [number for number, trial in sorted(state.trials.items()) if trial.status == "failed"]
    if wanted == "failed":
        return failed
    for number in wanted:
        if number not in failed:
            raise UsageError(
                f"trial {number} has not failed", hint=f"failed trials: {', '.join(map(str, failed)) or 'none'}"
            )
    return sorted(set(wanted))


def _remove_empty(folders: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _run(
    spec: SweepSpec,
    run: RunDirectory,
    journal: Journal,
    roots: list[str],
    stopping: Stopping,
    engine: Engine,
    observer: Observer | None,
) -> Outcome:
    stopping.watch(run)
    notifier = Notifier(spec.notify, run.name)
    live = LiveSweep(spec, run, journal, Host(run, stopping), _both(observer, notifier))
    with tracking.beside(run, spec) as trackers:
        try:
            _run_to_its_end(live, stopping, roots, engine)
        finally:
            trackers.over()  # they and the notifier end at the same time
            notifier.close(live.stop_reason)
        notices = trackers.wait()
    return _outcome(run, live.state, stopping.exit_code, notices)


def _engine(spec: SweepSpec, local: bool, address: str) -> Engine:
    """Who runs the trials: this process, the TPU slices of a cluster, or Ray Tune."""
    if local:
        from orchestrator.engine import local as here

        return lambda live, stopping, roots: here.run(live, stopping)
    if spec.resources.tpu:
        from orchestrator.xla import slice_engine as slices

        return lambda live, stopping, roots: slices.run(live, stopping, roots=roots, address=address)
    from orchestrator.engine import tune

    return lambda live, stopping, roots: tune.run(live, stopping, roots=roots, address=address)


def _run_to_its_end(live: LiveSweep, stopping: Stopping, roots: list[str], engine: Engine) -> None:
    try:
        engine(live, stopping, roots)
    except BaseException as error:
        live.stop_reason = live.stop_reason or stopping.asked or f"{type(error).__name__}: {error}"
        _give_up(live)
        # Whoever asked for a stop gets one, however the libraries in between put it (Lightning turns a second Ctrl-C
        # and SIGTERM into SystemExit) and although a full disk may have left no room to write of it.
        if not stopping.asked or (isinstance(error, Exception) and not storage_fault(error)):
            raise
    else:
        live.close()


def _both(observer: Observer | None, notifier: Notifier) -> Observer:
    def observe(state: SweepState, event: Event) -> None:
        notifier(state, event)
        if observer is not None:
            observer(state, event)

    return observe


def _give_up(live: LiveSweep) -> None:
    """Write the pause, if that can be written: the journal may be another's by now, or the disk full."""
    with contextlib.suppress(OSError, RunHeldError):
        live.close()


def _outcome(run: RunDirectory, state: SweepState, code: int, notices: Sequence[str] = ()) -> Outcome:
    worked = state.winner() is not None and not (state.status == "paused" and state.count("failed") and not code)
    return Outcome(run, state, code or (0 if worked else 1), notices)
