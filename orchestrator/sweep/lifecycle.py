"""Launch, resume, retry and extend: from a spec or a journal to the end of the sweep."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from orchestrator.engine.controller import Observer
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.errors import JournalError, JournalVersionError, SpecError, StoppedError, UsageError
from orchestrator.journal import FORMAT, Journal, program_version, upgrade_hint
from orchestrator.object_storage import is_url
from orchestrator.plan import settle
from orchestrator.policies.distinct import RULES, size_notice
from orchestrator.policies.extend_limits import More, extension
from orchestrator.policies.recorded_versions import policy_versions, version_changes
from orchestrator.policies.warm_start import covered_notice, foreign_warmth, warmth
from orchestrator.progress import amount
from orchestrator.results.run_state import find, read_state
from orchestrator.results.run_trust import trusted_roots
from orchestrator.rundir import RunDirectory, run_at, runs_root
from orchestrator.secrets import masked
from orchestrator.spec import SweepSpec, spec_of_record, to_yaml
from orchestrator.spec.fixed_folders import fixed_folders_notice
from orchestrator.spec.foreign_trials import is_foreign, read_trials
from orchestrator.spec.parts import seconds
from orchestrator.state import SweepState, recorded_spec, spec_in_force
from orchestrator.sweep.code_record import git_commit, git_diff
from orchestrator.sweep.code_run import CodeRun, is_off, warn_of
from orchestrator.sweep.execution import Engine, Outcome, choose_engine, execute
from orchestrator.sweep.preflight import check, check_writable
from orchestrator.training.class_loading import import_roots, never_logged, with_full_paths
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.machine_info import RECORDED, versions
from orchestrator.trust import authors

_Events = Iterable[tuple[str, dict[str, Any]]]


def launch(
    spec: SweepSpec,
    runs: str | Path | None = None,
    *,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    warm_start: Sequence[str] = (),
    engine: Engine | None = None,
    preflight: bool = True,
) -> Outcome:
    """Check the spec, create the run directory and run the sweep to its end.

    Args:
        spec: the sweep.
        runs: the folder of runs, or a URL; by default ``SWEEP_RUNS``, else ``runs``.
        local: run the trials in this process.
        address: a Ray cluster's; by default Ray starts on this machine.
        observer: called with the state and each new event.
        warm_start: names of earlier runs in the same folder, whose trials the searcher starts from.
        engine: runs the trials instead of the engine that the spec implies.
        preflight: run one batch of the user's code in a process of its own while the launch prepares, unless ``engine``
            is given.

    Raises:
        SpecError: The spec cannot run; nothing was started or written.
        UsageError: The run directory, the cluster or a warm start cannot be used; nothing was started or written.
        RunHeldError: A run of this name exists.
    """
    begin_phase(observer, "importing torch")
    run = run_at(spec.name, runs)
    warm = _warmth(spec, warm_start, runs) if warm_start else None
    with StopRequests() as stop_requests, contextlib.ExitStack() as stack:
        new_folders = check_writable(run)
        journal = Journal.create(run.journal)  # takes the name: a second launch fails at once, before its imports
        try:
            access = run.restrict(share=spec.share == "group")
            tried = preflight and not engine and not is_off()
            code = stack.enter_context(CodeRun(spec, import_roots(spec))) if tried else None
            with stop_requests.raised():
                _import_libraries(observer)
                begin_phase(observer, "checking model and data")
                is_found, spec = _with_found_classes(spec)
                if is_found:
                    spec = settle(spec, local=local, address=address, until=lambda: stop_requests.signal)
                roots = check(spec, run, local=local, address=address, try_code=lambda: _require(spec, code, observer))
            _print_notices(
                access,
                fixed_folders_notice(spec.trainer),
                size_notice(spec),
                covered_notice(warm, spec) if warm else "",
            )
            warm_fields: dict[str, Any] = {"warm_start": [source["run"] for source in warm["sources"]]} if warm else {}
            journal.append(
                "sweep.created",
                format=FORMAT,
                suggestion_rules=RULES,
                spec=spec.model_dump(mode="json"),
                seed=spec.seed,
                versions=versions(RECORDED),
                git=git_commit(),
                roots=roots,
                authors=authors(spec.model_dump(mode="json"), roots),
                policies=policy_versions(spec),
                **warm_fields,
            )
            if warm:
                journal.append("sweep.warmed", **warm)
        except BaseException:
            journal.discard()
            with contextlib.suppress(OSError):
                for folder in new_folders:
                    folder.rmdir()
            raise
        try:
            run.write(run.spec, to_yaml(spec).encode())
            if diff := git_diff():
                run.write(run.diff, diff.encode())
        except BaseException:
            journal.close()  # the launch is on record: a resume writes these files and continues
            raise
        begin_phase(observer, _engine_phase(local=local or engine is not None, address=address))
        engine = engine or choose_engine(spec, local=local, address=address)
        return execute(spec, run, journal, roots, stop_requests, engine, observer)


def begin_phase(observer: Observer | None, name: str) -> None:
    """Tell an observer that shows the phases of a start that one begins."""
    getattr(observer, "phase", lambda name: None)(name)


def _import_libraries(observer: Observer | None) -> None:
    """Import what takes seconds in a phase of its own; later steps import it anyway."""
    begin_phase(observer, "importing torch")
    importlib.import_module("lightning")


def _engine_phase(*, local: bool, address: str) -> str:
    return "preparing" if local else f"joining the cluster at {address}" if address else "starting Ray"


def _with_found_classes(spec: SweepSpec) -> tuple[bool, SweepSpec]:
    """Return whether each class that is named alone was found, and the spec with full paths; `check` says which not."""
    try:
        return True, with_full_paths(spec)
    except SpecError:
        return False, spec


def _print_notices(*notices: str) -> None:
    """Print those that are not empty on stderr."""
    for notice in filter(None, notices):
        print(masked(notice), file=sys.stderr)


def _require(spec: SweepSpec, code: CodeRun | None, observer: Observer | None) -> None:
    """Wait for the run of the user's code; without one, warn of what its source lets one suspect."""
    doubts = never_logged(spec)
    if code is None:
        warn_of(doubts)
        return
    code.begin(spec)
    if code.is_running:
        begin_phase(observer, "waiting for the check of one batch")
    code.require(doubts)


def launch_without_ray(
    spec: SweepSpec, runs: str | Path | None = None, *, observer: Observer | None = None
) -> Outcome | None:
    """Run this host's part of a sweep of one trial, on the hosts of one TPU slice without Ray.

    Each host runs the same command. The first runs the sweep; the others return None when it ends.

    Raises:
        UsageError: The sweep has several trials, or the host does not know its place in the slice.
    """
    from orchestrator.xla import no_ray_launch

    if spec.budget.trials != 1:
        raise UsageError("without Ray a sweep has one trial", hint="--set budget.trials=1")
    own = no_ray_launch.own_processes(spec)
    if own[0].host == 0:
        return launch(
            spec,
            runs,
            observer=observer,
            engine=lambda controller, stop_requests, roots: no_ray_launch.lead(controller, stop_requests, own, roots),
        )
    no_ray_launch.follow(spec, own, import_roots(spec))
    return None


def resume(
    name: str,
    runs: str | Path | None = None,
    *,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    wait_for_cluster: bool = False,
    trust: bool = False,
) -> Outcome:
    """Resume a run: interrupted trials restart from their last checkpoint, ended trials stay as they are.

    A completed run is returned as it is.

    Args:
        name: of the run.
        runs: the folder of runs, or a URL.
        local: run the trials in this process.
        address: a Ray cluster's; by default Ray starts on this machine.
        observer: called with the state and each new event.
        wait_for_cluster: wait for a cluster that does not answer or has no room, instead of failing.
        trust: import what the run names, although somebody else wrote it.

    Raises:
        UsageError: There is no such run.
        UntrustedRunError: Somebody else wrote it, and it is not trusted.
        RunHeldError: Another process runs it.
        JournalError: Its journal is damaged.
    """
    run = find(name, runs)
    state = read_state(run)
    if state.status == "completed":
        return Outcome.of(run, state, 0)
    return _reopen(run, lambda state: (), _Options(local, address, observer, wait_for_cluster, trust))


def retry(
    name: str,
    runs: str | Path | None = None,
    *,
    trials: Literal["failed"] | Collection[int] = "failed",
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    wait_for_cluster: bool = False,
    trust: bool = False,
) -> Outcome:
    """Resume a run and retry failed trials, all or the numbered ones, from their last checkpoint if there is one.

    A completed run without a failed trial is returned as it is. Other options as in `resume`.

    Raises:
        UsageError: There is no such run, or one of the trials has not failed.
        RunHeldError: Another process runs it.
        JournalError: Its journal is damaged.
    """
    run = find(name, runs)
    state = read_state(run)
    numbers = _trials_to_retry(state, trials)
    if not numbers:
        _print_notices(f"no trial of {run.name!r} has failed, so none is retried")
    if state.status == "completed" and not numbers:
        return Outcome.of(run, state, 0)
    return _reopen(
        run,
        lambda state: [("trial.retried", {"trial": number}) for number in numbers],
        _Options(local, address, observer, wait_for_cluster, trust),
    )


def extend(
    name: str,
    runs: str | Path | None = None,
    *,
    trials: int = 0,
    epochs: int = 0,
    wall_clock: str | float = 0.0,
    budget: Mapping[str, float] | None = None,
    by: str | float = 0,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    wait_for_cluster: bool = False,
    trust: bool = False,
) -> Outcome:
    """Extend a run beyond its limits, whether or not they have ended it. Other options as in `resume`.

    Args:
        name: of the run.
        runs: the folder of runs, or a URL.
        trials: more trials.
        epochs: more epochs for each trial. A finished trial continues if its checkpoint was kept.
        wall_clock: more time: ``"2h"``, or seconds.
        budget: more of a limit in the budget, as ``{"epochs": 500}`` (of all trials), or a new ``target``.
        by: more for each trial in the unit of the sweep's progress: a number, or text such as ``500 steps``.
        local: run the trials in this process.
        address: a Ray cluster's.
        observer: called with the state and each new event.
        wait_for_cluster: as in `resume`.
        trust: as in `resume`.

    Raises:
        UsageError: There is no such run, or the extension would change nothing.
        RunHeldError: Another process runs it.
    """
    run = find(name, runs)
    try:
        more = More(trials, epochs, seconds(wall_clock or None) or 0.0, budget or {}, _added(by))
    except ValueError as error:
        raise UsageError(f"wall_clock: {error}", hint="e.g. 2h") from None
    extension(read_state(run), more)  # raises before the journal is opened
    return _reopen(
        run,
        lambda state: [("sweep.extended", extension(state, more))],
        _Options(local, address, observer, wait_for_cluster, trust),
    )


class _Options(NamedTuple):
    """How a run is resumed."""

    local: bool
    address: str
    observer: Observer | None
    wait_for_cluster: bool
    trust: bool


def _reopen(run: RunDirectory, events: Callable[[SweepState], _Events], options: _Options) -> Outcome:
    """Open the journal, append ``events`` and run what remains."""
    local, address, observer, wait_for_cluster, trust = options
    _import_libraries(observer)
    begin_phase(observer, "reading the journal, checking model and data")
    with StopRequests() as stop_requests:
        journal = Journal.open(run.journal)
        try:
            _print_notices(journal.notice)
            state = SweepState(journal.events())
            created = _recorded_spec(state)
            access = run.restrict(share=created.share == "group")
            _print_notices(access, *version_changes(created, state.policies, state.writer))
            import_from(trusted_roots(run, state, trust=trust))
            spec = spec_in_force(state)
            if wait_for_cluster:
                stop_requests.watch(run)
            until = (lambda: stop_requests.reason) if wait_for_cluster else None
            roots = check(spec, run, local=local, address=address, until=until)
            if wait_for_cluster and stop_requests.reason:
                journal.append("sweep.paused", reason=stop_requests.reason)
                journal.close()
                return Outcome.of(run, read_state(run), stop_requests.exit_code)
            if stop_requests.signal:
                raise StoppedError(stop_requests.signal)
            _complete_launch(run, journal, state, created)
            for type, fields in events(state):
                journal.append(type, **fields)
        except BaseException:
            journal.close()
            raise
        begin_phase(observer, _engine_phase(local=local, address=address))
        engine = choose_engine(created, local=local, address=address)
        return execute(created, run, journal, roots, stop_requests, engine, observer)


def _added(by: str | float) -> float:
    """Return an amount of progress. Raises UsageError if the text says none."""
    try:
        return amount(by) if isinstance(by, str) and by else float(by or 0)
    except ValueError as error:
        raise UsageError(f"--by: {error}", hint='e.g. --by "500 steps"') from None


def _recorded_spec(state: SweepState) -> SweepSpec:
    """Return the spec as launched. Raises JournalVersionError if another version wrote what this one does not know."""
    try:
        return spec_of_record(recorded_spec(state.created["spec"]), 0)
    except (SpecError, JournalError) as error:
        if state.writer in ("", program_version()):
            raise
        raise JournalVersionError(
            f"the spec in the journal cannot be read by sweep-orchestrator {program_version()}: {error}",
            hint=f"nothing was changed; {upgrade_hint(state.writer)}",
        ) from error


def _complete_launch(run: RunDirectory, journal: Journal, state: SweepState, spec: SweepSpec) -> None:
    """Write what a launch that was killed after its first record did not."""
    if state.created.get("warm_start") and not state.warm_start_trials:
        journal.append("sweep.warmed", **_warmth(spec, state.created["warm_start"], run.runs))
    if run.size(run.spec.name) is None:
        run.write(run.spec, to_yaml(spec).encode())


def _warmth(spec: SweepSpec, names: Sequence[str], runs: str | Path | None) -> dict[str, Any]:
    """Return the fields of ``sweep.warmed`` for runs, or for files and folders of other tools."""
    foreign = [name for name in names if not is_url(name) and is_foreign(Path(name))]
    if not foreign:
        return warmth(spec, _read_runs(names, runs))
    if len(foreign) < len(names):
        raise UsageError("runs and files of other tools cannot start one sweep together", hint="name one kind of them")
    goal = spec.objective
    read = [(str(Path(name).absolute()), read_trials(Path(name), goal.metric, goal.mode)) for name in foreign]
    return foreign_warmth(spec, read)


def _read_runs(names: Sequence[str], runs: str | Path | None) -> list[tuple[str, SweepState]]:
    """Return the runs' states, each with the name or place by which it is found again, whatever runs there are."""
    found = [find(name, runs) for name in names]
    return [(run.name if run.runs == runs_root(runs) else run.where, read_state(run)) for run in found]


def _trials_to_retry(state: SweepState, trials: Literal["failed"] | Collection[int]) -> list[int]:
    """Return the trials to retry, in order. Raises UsageError if one of them has not failed."""
    failed = [number for number, trial in sorted(state.trials.items()) if trial.status == "failed"]
    if trials == "failed":
        return failed
    for number in trials:
        if number not in failed:
            hint = f"failed trials: {', '.join(map(str, failed)) or 'none'}"
            raise UsageError(f"trial {number} has not failed", hint=hint)
    return sorted(set(trials))
