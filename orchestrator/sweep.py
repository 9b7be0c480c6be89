"""The write side: launch, resume, stop."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from orchestrator.engine.host import Host
from orchestrator.engine.live import LiveSweep, Observer, environment
from orchestrator.engine.stopping import Stopping
from orchestrator.errors import Problem, RunHeldError, SpecError, StoppedError, SweepError, UsageError
from orchestrator.files import storage_fault, write_durably
from orchestrator.journal import Journal, holder
from orchestrator.policies import build_searcher
from orchestrator.policies.extension import More, extension
from orchestrator.policies.schedulers.rays import try_out
from orchestrator.policies.warm import warmth
from orchestrator.results import BestTrial, Results
from orchestrator.results.rows import find, read_state
from orchestrator.rundir import RunDirectory
from orchestrator.spec import RayTuneScheduler, SamplerSearcher, SweepSpec, apply, from_mapping, load, to_yaml
from orchestrator.spec.parts import seconds
from orchestrator.state import Objective, SweepState

_TRIED_EPOCHS = 100  # of trials that are not there, before a scheduler of Ray's is trusted
_RECORDED = ("sweep-orchestrator", "torch", "torchvision", "torchmetrics", "lightning", "ray", "optuna", "numpy")


@dataclass(frozen=True)
class Outcome:
    """How a launch or resume ended; ``exit_code`` is 0 when a trial has a finite objective and none was cut off."""

    run: RunDirectory
    state: SweepState
    exit_code: int


class Sweep:
    """A sweep in Python: the same as a sweep file, with classes where the file has import paths.

    Args:
        model: a LightningModule class, its import path, or ``{"class_path": …, "init_args": {…}}``.
        data: the same for the LightningDataModule; None where the module brings its own loaders.
        space: parameter name → domain: ``{"model.learning_rate": log_uniform(1e-4, 1e-2)}``.
        objective: ``("val_acc", "max")`` or ``{"metric": "val_acc", "mode": "max"}``; more objectives under ``also``.
        constraints: bounds on other metrics: ``[{"metric": "val_loss", "max": 0.7}]``.
        name: of the run directory; by default the model class's name in lower case.
        seed: fixes every random choice of the sweep.
        trainer: any arguments of ``lightning.Trainer``.
        searcher, scheduler: a name or a mapping with options; the defaults are those of a sweep file.
        budget: a number of trials, or ``{"trials": 64, "wall_clock": "4h"}``.
        repeats: trials of each configuration, or ``{"seeds": 3, "rank_by": "lower_bound"}``.
        resources, checkpoints, recovery, tracking: as in a sweep file.

    Raises SpecError where any of it is wrong.
    """

    def __init__(
        self,
        *,
        model: Any,
        data: Any = None,
        space: Mapping[str, Any] | None = None,
        objective: tuple[str, str] | Mapping[str, Any],
        constraints: Sequence[Mapping[str, Any]] | None = None,
        name: str | None = None,
        seed: int = 0,
        trainer: Mapping[str, Any] | None = None,
        searcher: str | Mapping[str, Any] | None = None,
        scheduler: str | Mapping[str, Any] | None = None,
        budget: int | Mapping[str, Any] | None = None,
        repeats: int | Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        checkpoints: Mapping[str, Any] | None = None,
        recovery: Mapping[str, Any] | None = None,
        tracking: Mapping[str, Any] | None = None,
    ) -> None:
        given = {
            "name": name or _default_name(model),
            "seed": seed,
            "objective": dict(zip(("metric", "mode"), objective, strict=True))
            if isinstance(objective, tuple)
            else objective,
            "constraints": list(constraints) if constraints is not None else None,
            "model": _class(model),
            "data": _class(data),
            "trainer": _class(trainer),
            "space": space,
            "searcher": searcher,
            "scheduler": scheduler,
            "budget": {"trials": budget} if isinstance(budget, int) else budget,
            "repeats": repeats,
            "resources": resources,
            "checkpoints": checkpoints,
            "recovery": recovery,
            "tracking": tracking,
        }
        self.spec = from_mapping({key: value for key, value in given.items() if value is not None})
        self._runs: str | Path | None = None

    @classmethod
    def from_file(cls, spec: str | Path, overrides: Sequence[str] = (), name: str | None = None) -> Sweep:
        """The sweep of a file, or of a shipped one by name, with ``--set`` style overrides. Raises SpecError."""
        sweep = cls.__new__(cls)
        sweep.spec = load(str(spec), overrides, name)
        sweep._runs = None
        return sweep

    def launch(self, runs: str | Path | None = None, *, local: bool = False, warm_start: Sequence[str] = ()) -> Results:
        """Run it to its end, under Ray Tune or (``local``) in this process, and return what it found.

        ``warm_start`` names earlier runs in the same folder, whose trials the searcher begins with.

        Raises RunHeldError where the run exists, SpecError and UsageError where something is wrong before the start.
        """
        self._runs = runs
        return Results(launch(self.spec, runs, local=local, warm_start=warm_start).run)

    def extend(self, runs: str | Path | None = None, *, local: bool = False, **more: Any) -> Results:
        """Let it go on beyond its limits; ``more`` as in `extend`: ``trials=10``, ``epochs=5``, ``wall_clock="2h"``."""
        self._runs = runs or self._runs
        return Results(extend(self.spec.name, self._runs, local=local, **more).run)

    def results(self) -> Results:
        """What it has found so far, read from its journal."""
        return Results(self.spec.name, self._runs)

    def best(self) -> BestTrial:
        """Its winner so far. Raises SweepError where there is none."""
        return self.results().best()


def launch(
    spec: SweepSpec,
    runs: str | Path | None = None,
    *,
    local: bool = False,
    observer: Observer | None = None,
    warm_start: Sequence[str] = (),
) -> Outcome:
    """Check everything, make the run directory and run the sweep to its end.

    ``warm_start`` names earlier runs in the same folder, whose trials the searcher begins with.

    Raises SpecError, UsageError or RunHeldError with nothing started or written where something is wrong.
    """
    run = RunDirectory.at(spec.name, runs)
    warm = warmth(spec, _earlier(warm_start, runs)) if warm_start else None
    with Stopping() as stopping:
        made = _check_writable(run)
        journal = Journal.create(run.journal)  # from here on the name is ours; others are told so at once
        try:
            roots = _check(spec, run, local=local)
            if stopping.signal:
                raise StoppedError(stopping.signal)
            versions, commit = environment(_RECORDED), _git_commit()
            written = spec.model_dump(mode="json")
            asked: dict[str, Any] = {"warm_start": list(warm_start)} if warm else {}
            journal.append(
                "sweep.created",
                format=1,
                spec=written,
                seed=spec.seed,
                versions=versions,
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
        write_durably(run.spec, to_yaml(spec).encode())
        return _run(spec, run, journal, roots, stopping, local=local, observer=observer)


def resume(
    name: str,
    runs: str | Path | None = None,
    *,
    local: bool = False,
    observer: Observer | None = None,
    retry: Literal["failed"] | Collection[int] = (),
) -> Outcome:
    """Go on with a run: what was in flight starts again from its last checkpoint, what ended stays as it is.

    ``retry`` gives failed trials (all, or those numbered) another chance, from their last checkpoint if there is one.
    A completed sweep is left as it is.

    Raises UsageError where there is no such run or trial to retry, RunHeldError while another process runs it,
    JournalError where its journal is damaged.
    """
    run = find(name, runs)
    state = read_state(run)
    again = _failed_trials(state, retry)
    if state.status == "completed" and not again:
        return _outcome(run, state, 0)
    return _go_on(run, lambda state: [("trial.retried", {"trial": n}) for n in again], local=local, observer=observer)


def extend(
    name: str,
    runs: str | Path | None = None,
    *,
    trials: int = 0,
    epochs: int = 0,
    wall_clock: str | float = 0.0,
    budget: Mapping[str, float] | None = None,
    local: bool = False,
    observer: Observer | None = None,
) -> Outcome:
    """Let a sweep go on beyond its limits, which may have ended it: so much more of each.

    Args:
        trials: more trials.
        epochs: more epochs for each trial. Those that finished go on, where a checkpoint of theirs was kept.
        wall_clock: more time: ``"2h"``, or seconds.
        budget: more of ``epochs`` (of all trials), ``gpu_hours`` or ``cost``, and a new ``target``.

    Raises UsageError where there is no such run, or nothing would come of it; RunHeldError while a process runs it.
    """
    run = find(name, runs)
    try:
        more = More(trials, epochs, seconds(wall_clock or None) or 0.0, budget or {})
    except ValueError as error:
        raise UsageError(f"wall_clock: {error}", hint="e.g. 2h") from None
    extension(read_state(run), more)  # what is wrong is said before anything is opened
    return _go_on(run, lambda state: [("sweep.extended", extension(state, more))], local=local, observer=observer)


def _go_on(
    run: RunDirectory,
    first: Callable[[SweepState], Iterable[tuple[str, dict[str, Any]]]],
    *,
    local: bool,
    observer: Observer | None,
) -> Outcome:
    """Open the journal, write what is to be written first, and run what is left."""
    with Stopping() as stopping:
        journal = Journal.open(run.journal)
        try:
            if journal.notice:
                print(journal.notice, file=sys.stderr)
            state = SweepState(journal.events())
            spec = SweepSpec.model_validate(state.created["spec"])
            _import_from(state.created.get("roots", []), run)
            roots = _check(SweepSpec.model_validate(state.spec), run, local=local)
            if stopping.signal:
                raise StoppedError(stopping.signal)
            if state.created.get("warm_start") and not state.warmed:  # the launch was cut off before it could
                earlier = _earlier(state.created["warm_start"], run.root.parent)
                journal.append("sweep.warmed", **warmth(spec, earlier))
            for type, fields in first(state):
                journal.append(type, **fields)
            if not run.spec.exists():  # the launch was cut off between the journal's first record and this file
                write_durably(run.spec, to_yaml(spec).encode())
        except BaseException:
            journal.close()
            raise
        return _run(spec, run, journal, roots, stopping, local=local, observer=observer)


def stop(name: str, runs: str | Path | None = None, *, trial: int | None = None, wait: float = 60.0) -> str:
    """Ask the process that runs the sweep for a clean stop, or for the end of one trial, and wait for it.

    Waits at most ``wait`` seconds. Returns who was asked. A running trial ends at its next report.

    Raises UsageError where nobody runs the sweep or there is no such trial, SweepError where it takes longer.
    """
    run = find(name, runs)
    asked = holder(run.journal)
    if not asked:
        raise UsageError(f"nobody runs {name!r}", hint=f"go on with it: sweep resume {name}")
    if trial is not None and trial not in (trials := read_state(run).trials):
        raise UsageError(f"{name!r} has no trial {trial}", hint=f"it has trials 0 to {len(trials) - 1}")
    request = run.stop_request(trial)
    request.parent.mkdir(mode=0o700, exist_ok=True)
    request.touch()
    until = time.monotonic() + wait
    while holder(run.journal) if trial is None else request.exists() and holder(run.journal):
        if time.monotonic() > until:
            what = repr(name) if trial is None else f"trial {trial}"
            raise SweepError(f"{what} has not stopped in {wait:g} s, but will; {name!r} is held by {asked}")
        time.sleep(0.1)
    return str(asked)


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
    *,
    local: bool,
    observer: Observer | None,
) -> Outcome:
    stopping.watch(run)
    live = LiveSweep(spec, run, journal, Host(run, stopping), observer)
    try:
        if local:
            from orchestrator.engine.local import run as engine

            engine(live, stopping)
        else:
            from orchestrator.engine import tune

            tune.run(live, stopping, roots=roots)
    except BaseException as error:
        live.stop_reason = live.stop_reason or stopping.asked or f"{type(error).__name__}: {error}"
        _give_up(live)
        # Whoever asked for a stop gets one, however the libraries in between put it (Lightning turns a second Ctrl-C
        # and SIGTERM into SystemExit) and although a full disk may have left no room to write of it.
        if not stopping.asked or (isinstance(error, Exception) and not storage_fault(error)):
            raise
    else:
        live.close()
    return _outcome(run, live.state, stopping.exit_code)


def _give_up(live: LiveSweep) -> None:
    """Write the pause, if that can be written: the journal may be another's by now, or the disk full."""
    with contextlib.suppress(OSError, RunHeldError):
        live.close()


def _outcome(run: RunDirectory, state: SweepState, code: int) -> Outcome:
    worked = state.winner() is not None and not (state.status == "paused" and state.count("failed") and not code)
    return Outcome(run, state, code or (0 if worked else 1))


def _check(spec: SweepSpec, run: RunDirectory, *, local: bool) -> list[str]:
    """Everything that can be known before the start; returns the folders that the spec's modules are imported from."""
    from orchestrator.training import components

    if not local:
        from orchestrator.engine.tune import check_resources

        check_resources(spec.resources)
    roots = [str(Path(root).absolute()) for root in components.import_roots(spec)]
    problems = components.check(spec)
    if problems:
        raise SpecError(problems)
    if isinstance(spec.searcher, SamplerSearcher):
        _try_sampler(spec, len(spec.searcher.try_first))
    if isinstance(spec.scheduler, RayTuneScheduler):
        _try_scheduler(spec, spec.scheduler)
    _prepare_data(spec)
    return roots


def _try_sampler(spec: SweepSpec, number: int) -> None:
    """Ask a sampler that the spec names for a trial: only its constructor knows which arguments it refuses."""
    path = ("searcher", "init_args")
    try:
        build_searcher(spec).suggest(number)
    except UsageError as error:
        raise SpecError([Problem(error.message, error.hint, path, **spec.locate(path))]) from error


def _try_scheduler(spec: SweepSpec, scheduler: RayTuneScheduler) -> None:
    """Let a scheduler that the spec names judge a few trials: only so is it known whether it can do without Ray."""
    objective = Objective(spec.objective.metric, spec.objective.mode)
    epochs = min(spec.trainer.get("max_epochs") or _TRIED_EPOCHS, _TRIED_EPOCHS)
    try:
        try_out(objective, scheduler.class_path, scheduler.init_args, epochs)
    except UsageError as error:
        path = ("scheduler",)
        raise SpecError([Problem(error.message, error.hint, path, **spec.locate(path))]) from error


def _check_writable(run: RunDirectory) -> list[Path]:
    """The folders still to be made, innermost first. Raises UsageError where they cannot be."""
    missing = list(takewhile(lambda folder: not folder.exists(), (run.root, *run.root.parents)))
    existing = missing[-1].parent if missing else run.root
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{run.root} cannot be written", hint="choose another folder: --runs DIR or SWEEP_RUNS=DIR")
    return missing


def _prepare_data(spec: SweepSpec) -> None:
    """Fetch the data once, before any trial asks for it: what is missing is said now. Raises DataError."""
    from orchestrator.training import components

    _, data, _ = apply(spec, spec.space.sample(random.Random(spec.seed)))
    if data is not None and data.class_path.startswith("orchestrator."):
        # A user's own prepare_data runs in the trial, as it would under a plain Trainer.
        components.build(data.model_dump()).prepare_data()


def _git_commit() -> str | None:
    """The commit checked out in the working directory, with ``+`` where files differ from it; for the record."""
    asked = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _import_from(roots: Sequence[str], run: RunDirectory | None = None) -> None:
    """Let modules be imported from these folders, but for what lies in a run directory: nothing there is code."""
    for root in reversed(roots):
        inside = run is not None and Path(root).resolve().is_relative_to(run.root.resolve())
        if root not in sys.path and not inside:
            sys.path.insert(0, root)


def _class(value: Any) -> Any:
    """The value with each class of the running script named by the script's module, so that a worker can import it."""
    if isinstance(value, Mapping):
        return {key: _class(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_class(item) for item in value]
    if not isinstance(value, type) or value.__module__ != "__main__":
        return value
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None:
        raise UsageError(
            f"{value.__qualname__} lives in this session only, and workers cannot import it",
            hint="put the class into a file beside and import it from there",
        )
    _import_from([str(Path(script).parent.absolute())])
    return f"{Path(script).stem}.{value.__qualname__}"


def _default_name(model: Any) -> str:
    with contextlib.suppress(TypeError, KeyError):
        model = model["class_path"]
    path = model.__qualname__ if isinstance(model, type) else str(model)
    return path.rsplit(".", 1)[-1].lower()
