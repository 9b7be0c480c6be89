"""The `Sweep` class: what the command line does, in Python."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.engine.controller import Observer
from orchestrator.results import BestTrial, Results
from orchestrator.results.notebook import progress_observer
from orchestrator.results.plot import Plot
from orchestrator.results.run_state import find, read_state
from orchestrator.results.status import SweepStatus, status_of
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.rundir.disk_use import DiskUse, disk_use
from orchestrator.rundir.labels import Labels, read_labels
from orchestrator.secrets import masked
from orchestrator.space import Domain
from orchestrator.spec import Finalists, SweepSpec, from_mapping, load
from orchestrator.spec.parts import Budget, Checkpoints, Objective, Part, Recovery, Resources
from orchestrator.spec.progress_section import Progress
from orchestrator.state import spec_in_force
from orchestrator.sweep.callbacks import Callback, CallbackObserver, TrialInfo, trial_info
from orchestrator.sweep.confirm import confirm
from orchestrator.sweep.control import cancel_stop, promote, stop, stop_later
from orchestrator.sweep.execution import Outcome
from orchestrator.sweep.labels_of_run import archive, note, tag
from orchestrator.sweep.lifecycle import extend, launch, resume, retry
from orchestrator.sweep.main_module import importable, refuse_second_run, share_main
from orchestrator.sweep.run_files import Freed, remove, remove_checkpoints, rename
from orchestrator.sweep.test_set import WinnerTest, test

if TYPE_CHECKING:
    import optuna

    from orchestrator.plan import Costs, Plan
    from orchestrator.results.verify import Findings


class Sweep:
    """A sweep in Python: the fields of a sweep file, with classes instead of import paths.

    `launch` runs a new sweep; `attach` opens a run that exists, in whatever state it is.

    Example:
        ```python
        from orchestrator import ASHA, TPE, Sweep, log_uniform

        sweep = Sweep(
            model="my_model.Net",
            data="my_model.Digits",
            objective=("val_loss", "min"),
            space={"model.learning_rate": log_uniform(1e-3, 1e-1)},
            trainer={"max_epochs": 3},
            searcher=TPE(startup_trials=2),
            scheduler=ASHA(grace=1),
            budget=4,
            name="first",
        )
        results = sweep.launch(local=True)
        print(results.trials)
        ```

    Args:
        model: a LightningModule class, its import path, or ``{"class_path": …, "init_args": {…}}``.
        train: instead of a model, a function that trains, or its import path.
        args: arguments of that function that are not searched.
        data: the same for the LightningDataModule, or loaders: ``{"train": …, "val": …}``; None if the module brings
            its own.
        space: parameter name → domain: ``{"model.learning_rate": log_uniform(1e-4, 1e-2)}``.
        objective: ``("val_acc", "max")`` or ``{"metric": "val_acc", "mode": "max"}``; more objectives under ``also``.
        constraints: bounds on other metrics: ``[{"metric": "val_loss", "max": 0.7}]``.
        name: of the run directory; by default the model class's name in lower case.
        seed: fixes every random choice of the sweep.
        trainer: any arguments of ``lightning.Trainer``.
        searcher: an options object such as ``TPE(startup_trials=20)``, a name, or a mapping with options; by default
            that of a sweep file.
        scheduler: likewise: ``ASHA(grace=3)``.
        budget: a number of trials, or ``{"trials": 64, "wall_clock": "4h"}``.
        repeats: trials of each configuration, or ``{"seeds": 3, "rank_by": "lower_bound"}``.
        finalists: how many of the best are confirmed once the search has ended, or a mapping with options.
        resources: as in a sweep file.
        progress: its unit, such as ``"steps"``, or a mapping with ``unit``, ``every`` and ``until``.
        checkpoints: as in a sweep file.
        recovery: as in a sweep file.
        tracking: as in a sweep file.
        notify: as in a sweep file.
        optimizer: an optimizer's class, for a module without ``configure_optimizers``.
        lr_scheduler: a scheduler's class, for that optimizer.
        objects: objects by name, which model and data refer to as ``${objects.NAME}``.

    Raises:
        SpecError: A field is wrong.
    """

    def __init__(
        self,
        *,
        model: Any = None,
        train: Any = None,
        args: Mapping[str, Any] | None = None,
        data: Any = None,
        space: Mapping[str, Domain | Mapping[str, Any]] | None = None,
        objective: tuple[str, str] | Mapping[str, Any] | Objective,
        constraints: Sequence[Mapping[str, Any]] | None = None,
        name: str | None = None,
        seed: int = 0,
        trainer: Mapping[str, Any] | None = None,
        searcher: str | Mapping[str, Any] | Part | None = None,
        scheduler: str | Mapping[str, Any] | Part | None = None,
        budget: int | Mapping[str, Any] | Budget | None = None,
        repeats: int | Mapping[str, Any] | None = None,
        finalists: int | Mapping[str, Any] | Finalists | None = None,
        resources: Mapping[str, Any] | Resources | None = None,
        checkpoints: Mapping[str, Any] | Checkpoints | None = None,
        recovery: Mapping[str, Any] | Recovery | None = None,
        tracking: Mapping[str, Any] | None = None,
        notify: Sequence[Mapping[str, Any]] | None = None,
        progress: str | Mapping[str, Any] | Progress | None = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        objects: Mapping[str, Any] | None = None,
    ) -> None:
        fields = {
            "name": name or _default_name(model if train is None else train),
            "seed": seed,
            "objective": dict(zip(("metric", "mode"), objective, strict=True))
            if isinstance(objective, tuple)
            else objective,
            "constraints": list(constraints) if constraints is not None else None,
            "model": importable(model),
            "train": importable(train),
            "args": args,
            "data": importable(data),
            "optimizer": importable(optimizer),
            "lr_scheduler": importable(lr_scheduler),
            "objects": {key: importable(value) for key, value in (objects or {}).items()} or None,
            "trainer": importable(trainer),
            "progress": progress,
            "space": space,
            "searcher": searcher,
            "scheduler": scheduler,
            "budget": budget if isinstance(budget, Mapping | Budget) else {"trials": budget},
            "repeats": repeats,
            "finalists": finalists,
            "resources": resources,
            "checkpoints": checkpoints,
            "recovery": recovery,
            "tracking": tracking,
            "notify": list(notify) if notify is not None else None,
        }
        self.spec = from_mapping({key: _plain(value) for key, value in fields.items() if value is not None})
        self.name = self.spec.name
        self._runs: str | Path | None = None
        self._trust = False

    @classmethod
    def from_file(
        cls, spec: str | Path, overrides: Sequence[str] = (), name: str | None = None, preset: str | None = None
    ) -> Sweep:
        """Read a sweep file, or a shipped one by name.

        Args:
            spec: the file, or the name of a shipped sweep.
            overrides: ``key=value``, as ``--set`` takes them.
            name: of the run directory, instead of the file's.
            preset: the name of a preset of the file, which is applied before ``overrides``.

        Raises:
            SpecError: The file is wrong.

        Example:
            ```python
            sweep = Sweep.from_file("quickstart", ["budget.trials=4"], name="short")
            print(sweep.plan().trials)
            ```
        """
        return cls._of(load(str(spec), overrides, name, preset), None)

    @classmethod
    def attach(cls, name: str | Path | None = None, runs: str | Path | None = None, *, trust: bool = False) -> Sweep:
        """Open a run that exists: running, paused, interrupted or completed, launched from anywhere.

        Args:
            name: of the run, a beginning of it that only one run has, the path of its directory, or its URL
                (``s3://bucket/runs/name``); by default the newest run.
            runs: the folder of runs, or a URL; by default ``SWEEP_RUNS``, else ``runs``.
            trust: let methods import the code that the run names, although somebody else wrote it.

        Raises:
            UsageError: There is no such run.
            JournalError: Its journal is damaged.

        Example:
            ```python
            sweep = Sweep.attach("quickstart")
            print(sweep.status().status, sweep.best().value)
            ```
        """
        run = find(name, runs)
        sweep = cls._of(spec_in_force(read_state(run)), run.runs, run.name)
        sweep._trust = trust
        return sweep

    @classmethod
    def _of(cls, spec: SweepSpec, runs: str | Path | None, name: str | None = None) -> Sweep:
        sweep = cls.__new__(cls)
        sweep.spec, sweep.name, sweep._runs, sweep._trust = spec, name or spec.name, runs, False
        return sweep

    def launch(
        self,
        runs: str | Path | None = None,
        *,
        local: bool = False,
        address: str = "",
        warm_start: Sequence[str] = (),
        progress: bool | None = None,
        callbacks: Sequence[Callback] = (),
        preflight: bool = True,
    ) -> Results:
        """Run the sweep to its end and return its results; with ``finalists``, confirm the winner as well.

        Args:
            runs: the folder of runs, or a URL; by default ``SWEEP_RUNS``, else ``runs``.
            local: run the trials in this process instead of under Ray.
            address: of a running Ray cluster (``"auto"``, ``"host:port"``); by default Ray starts on this machine.
            warm_start: names of earlier runs in the same folder, whose trials the searcher starts from.
            progress: show progress; by default in Jupyter and in a terminal only.
            callbacks: called as trials start, report and end, and when the sweep ends.
            preflight: before the first trial, run one batch of the model in a process of its own; a fault by which
                every trial would fail is an error, and no run is left.

        Raises:
            RunHeldError: A run of this name exists.
            SpecError: The spec cannot run; nothing was started.
            UsageError: The machine or the cluster cannot run it; nothing was started.

        Example:
            ```python
            sweep = Sweep.from_file("sweep.yaml", name="launched")
            results = sweep.launch(local=True)
            print(results.best())
            ```
        """
        self._runs = runs

        def start(observer: Observer | None) -> Outcome:
            return launch(
                self.spec, runs, local=local, address=address, warm_start=warm_start, observer=observer,
                preflight=preflight,
            )  # fmt: skip

        return self._run(start, progress, callbacks, local=local, finals={"local": local, "address": address})

    def launch_detached(self, runs: str | Path | None = None, *, local: bool = False, address: str = "") -> int:
        """Launch the sweep in a process that outlives this one, and return its number once the sweep runs.

        `attach` opens the run from anywhere. Its classes must be importable from the working directory: those of a
        notebook or of the script itself are not.

        Args:
            runs: as in `launch`.
            local: as in `launch`.
            address: as in `launch`.

        Raises:
            UsageError: The sweep cannot be started.

        Example:
            ```python
            sweep = Sweep.from_file("quickstart", name="overnight")
            print(callable(sweep.launch_detached))  # sweep.launch_detached() starts it
            ```
        """
        from orchestrator.sweep.detached_launch import launch_detached

        self._runs = runs
        return launch_detached(self.spec, runs, local=local, address=address)

    def resume(
        self,
        *,
        local: bool = False,
        address: str = "",
        progress: bool | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Results:
        """Resume a run that was stopped or interrupted; ended trials stay as they are. Options as in `launch`.

        A completed run is returned as it is.

        Raises:
            UsageError: There is no such run.
            RunHeldError: Another process runs it.
            JournalError: Its journal is damaged.

        Example:
            ```python
            results = Sweep.attach("paused").resume(local=True)
            ```
        """

        def start(observer: Observer | None) -> Outcome:
            return resume(self.name, self._runs, local=local, address=address, observer=observer, trust=self._trust)

        return self._run(start, progress, callbacks, local=local, finals={"local": local, "address": address})

    def retry(
        self,
        trials: Literal["failed"] | Collection[int] = "failed",
        *,
        local: bool = False,
        address: str = "",
        progress: bool | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> Results:
        """Retry failed trials from their last checkpoint, and resume the run. Options as in `launch`.

        Args:
            trials: numbers of failed trials; by default all that have failed.
            local: as in `launch`.
            address: as in `launch`.
            progress: as in `launch`.
            callbacks: as in `launch`.

        Raises:
            UsageError: There is no such run, or one of the trials has not failed.
            RunHeldError: Another process runs it.

        Example:
            ```python
            results = Sweep.attach("quickstart").retry(local=True)
            ```
        """

        def start(observer: Observer | None) -> Outcome:
            return retry(
                self.name, self._runs, trials=trials, local=local, address=address, observer=observer, trust=self._trust
            )

        return self._run(start, progress, callbacks, local=local)

    def extend(
        self,
        runs: str | Path | None = None,
        *,
        trials: int = 0,
        epochs: int = 0,
        wall_clock: str | float = 0.0,
        budget: Mapping[str, float] | None = None,
        local: bool = False,
        address: str = "",
        progress: bool | None = None,
        callbacks: Sequence[Callback] = (),
        by: str | float = 0,
    ) -> Results:
        """Extend the sweep beyond its limits and run it to its new end. Other options as in `launch`.

        Args:
            runs: the folder of runs, if it is not the one launched or attached to.
            trials: more trials.
            epochs: more epochs for each trial.
            wall_clock: more time: ``"2h"``, or seconds.
            budget: more of a limit in the budget, as ``{"epochs": 500}`` (of all trials), or a new ``target``.
            local: as in `launch`.
            address: as in `launch`.
            progress: as in `launch`.
            callbacks: as in `launch`.
            by: more for each trial in the unit of the sweep's progress: a number, or text such as ``"500 steps"``.

        Raises:
            UsageError: There is no such run, or the extension would change nothing.
            RunHeldError: Another process runs it.

        Example:
            ```python
            results = Sweep.attach("quickstart").extend(trials=1, local=True)
            ```
        """
        self._runs = runs or self._runs

        def start(observer: Observer | None) -> Outcome:
            return extend(
                self.name, self._runs, trials=trials, epochs=epochs, wall_clock=wall_clock, budget=budget,
                by=by, local=local, address=address, observer=observer, trust=self._trust,
            )  # fmt: skip

        return self._run(start, progress, callbacks, local=local)

    def stop(
        self,
        trial: int | None = None,
        *,
        wait: float = 60.0,
        drain: bool = False,
        at: datetime | None = None,
    ) -> None:
        """Ask the process that runs the sweep to stop it, or to stop one trial, and wait until it has.

        With ``drain`` or ``at`` the request is made, and this returns at once.

        Args:
            trial: number of a trial; by default the sweep stops.
            wait: seconds to wait at most.
            drain: stop the sweep after the running trials' next reports, so that no step is lost.
            at: stop the sweep at that time.

        Raises:
            UsageError: No process runs the sweep, or there is no such trial.
            SweepError: The stop takes longer than ``wait``; it will still happen.

        Example:
            ```python
            sweep = Sweep.attach("quickstart")
            if sweep.status().status == "running":
                sweep.stop()
            ```
        """
        if drain or at is not None:
            stop_later(self.name, self._runs, drain=drain, at=at)
        else:
            stop(self.name, self._runs, trial=trial, wait=wait)

    def cancel_stop(self) -> int:
        """Take back the requests to stop the sweep at a later time, and return how many there were.

        Example:
            ```python
            print(Sweep.attach("quickstart").cancel_stop())
            ```
        """
        return cancel_stop(self.name, self._runs)

    def promote(self, trial: int, *, wait: float = 3.0) -> bool:
        """Ask the process that runs the sweep to continue a trial that its scheduler has set aside.

        Args:
            trial: number of the trial.
            wait: seconds to wait at most for the promotion to be recorded.

        Returns:
            True once the promotion is recorded, False if the process has not read the request yet.

        Raises:
            UsageError: No process runs the sweep, there is no such trial, or it is not set aside.
            SweepError: The sweep ended the trial meanwhile.

        Example:
            ```python
            sweep = Sweep.attach("quickstart")
            if sweep.status().status == "running":
                sweep.promote(3)
            ```
        """
        return promote(self.name, self._runs, trial=trial, wait=wait)

    def confirm(
        self,
        runs: str | Path | None = None,
        *,
        local: bool = False,
        address: str = "",
        progress: bool | None = None,
        **finalists: Any,
    ) -> Results:
        """Train the best again under fresh seeds until the winner is clear, and record the winner.

        Args:
            runs: the folder of runs, if it is not the one launched or attached to.
            local: as in `launch`.
            address: as in `launch`.
            progress: as in `launch`.
            **finalists: the fields of `Finalists`, such as ``top=3`` and ``trials=15``; by default the spec's.

        Raises:
            UsageError: The search has not ended, or has no trial with a value.
            RunHeldError: The search is running.

        Example:
            ```python
            results = Sweep.attach("quickstart").confirm(top=1, trials=3, local=True)
            print(results.best().confirmed)
            ```
        """
        refuse_second_run()
        self._runs = runs or self._runs
        run = self._run_directory()
        with progress_observer(finals_of(run, read_state(run)), progress) as observer:
            confirm(
                self.name,
                self._runs,
                finalists=Finalists(**finalists) if finalists else None,
                local=local,
                address=address,
                observer=observer,
                trust=self._trust,
            )
        return self.results()

    def test(
        self, runs: str | Path | None = None, *, trial: int | None = None, unconfirmed: bool = False
    ) -> WinnerTest:
        """Evaluate the confirmed winner on the test set; the journal records every evaluation.

        Args:
            runs: the folder of runs, if it is not the one launched or attached to.
            trial: another trial of the search.
            unconfirmed: allow a trial that no finals have confirmed.

        Raises:
            UsageError: The winner is not confirmed, its checkpoint is gone or there is no test set.
            CheckpointError: The checkpoint is damaged.

        Example:
            ```python
            print(Sweep.attach("quickstart").test(unconfirmed=True).metrics)
            ```
        """
        return test(self.name, runs or self._runs, trial=trial, unconfirmed=unconfirmed, trust=self._trust)

    def export(self, to: str | Path | None = None, *, trial: int | None = None) -> Path:
        """Write the winner, or another trial, as a bundle, and return its folder.

        Args:
            to: the folder; must not exist. By default a folder below ``export/`` in the run directory.
            trial: another trial, at its best report.

        Raises:
            UsageError: There is no such trial or checkpoint, a class cannot be built, or the folder exists.
            MissingExtraError: A library of the extra ``export`` is not installed.
            CheckpointError: The checkpoint is damaged.
            ParityError: A format does not reproduce the checkpoint's outputs.

        Example:
            ```python
            folder = Sweep.attach("quickstart").export("bundle")
            print(sorted(path.name for path in folder.iterdir()))
            ```
        """
        from orchestrator.export import export

        return export(self.name, self._runs, trial=trial, to=to, trust=self._trust).folder

    def tag(self, *tags: str, remove: Collection[str] = ()) -> Labels:
        """Add tags to the run, remove others, and return its labels.

        Raises:
            UsageError: One cannot be a tag.

        Example:
            ```python
            print(Sweep.attach("quickstart").tag("baseline", remove=["draft"]).tags)
            ```
        """
        return tag(self._run_directory(), *tags, remove=remove)

    def note(self, text: str | None = None) -> str:
        """Replace the note about the run, and return it; without a text, return the present one.

        Example:
            ```python
            Sweep.attach("quickstart").note("before the new augmentation")
            ```
        """
        run = self._run_directory()
        return (read_labels(run) if text is None else note(run, text)).note

    def archive(self, archived: bool = True) -> None:
        """Leave the run out of lists and of what the newest run means, or list it again.

        Example:
            ```python
            Sweep.attach("quickstart").archive(False)
            ```
        """
        archive(self._run_directory(), archived)

    def rename(self, name: str) -> None:
        """Give the run another name in its folder. No process may run it.

        Raises:
            UsageError: The name cannot be used or is taken.
            RunHeldError: A process runs it.

        Example:
            ```python
            Sweep.attach("paused").rename("first-try")
            ```
        """
        run = rename(self._run_directory(), name)
        self.name, self._runs = run.name, run.runs

    def remove(self) -> None:
        """Remove the run with all its files, exported bundles included.

        Raises:
            RunHeldError: A process runs it.
            OSError: It cannot be removed.

        Example:
            ```python
            Sweep.attach("paused").remove()
            ```
        """
        remove(self._run_directory())

    def remove_checkpoints(self) -> Freed:
        """Remove checkpoints but the winner's, and those that trials of an unfinished run resume from.

        Raises:
            RunHeldError: A process runs it.
            OSError: One cannot be removed.

        Example:
            ```python
            print(Sweep.attach("quickstart").remove_checkpoints().bytes)
            ```
        """
        return remove_checkpoints(self._run_directory())

    def disk_use(self) -> DiskUse:
        """Return how many bytes the run takes, by what they are.

        Example:
            ```python
            print(Sweep.attach("quickstart").disk_use().checkpoints)
            ```
        """
        return disk_use(self._run_directory())

    def results(self) -> Results:
        """Return the results so far, read from the journal.

        Example:
            ```python
            print(Sweep.attach("quickstart").results().trials)
            ```
        """
        return Results(self.name, self._runs)

    def status(self) -> SweepStatus:
        """Return the progress: trials by status, what was spent, and why the sweep does not run.

        Example:
            ```python
            status = Sweep.attach("quickstart").status()
            print(status.status, status.trials)
            ```
        """
        run = self._run_directory()
        return status_of(run, read_state(run))

    def watch(self, *, every: float = 2.0) -> None:
        """Show the sweep while another process runs it, and how far each running trial is.

        It is shown under the notebook's cell, or in the terminal as `launch` shows it. Returns when the sweep does not
        run any more. An interrupt ends the display; the sweep continues.

        Args:
            every: seconds between two looks at the run directory.

        Raises:
            UsageError: There is no such run.

        Example:
            ```python
            Sweep.attach("quickstart").watch()
            ```
        """
        from orchestrator.results.notebook import follow

        follow(self._run_directory(), every)

    def trials(self) -> list[TrialInfo]:
        """Return the trials so far, in order of their numbers.

        Example:
            ```python
            failed = [trial for trial in Sweep.attach("quickstart").trials() if trial.status == "failed"]
            ```
        """
        state = read_state(self._run_directory())
        return [trial_info(state, trial) for _, trial in sorted(state.trials.items())]

    def why(self, trial: int | None = None) -> list[str]:
        """Explain a trial, by default the winner: its parameters, its end and its rank, one sentence each.

        Raises:
            UsageError: There is no such trial.
            SweepError: There is no winner yet.

        Example:
            ```python
            for sentence in Sweep.attach("quickstart").why(trial=0):
                print(sentence)
            ```
        """
        from orchestrator.results.why import why

        results = self.results()
        return why(results.state, results.best().trial if trial is None else trial)

    def verify(self) -> Findings:
        """Check the run: replay every suggestion and decision of its journal, and hash every checkpoint.

        No process may be writing the run meanwhile.

        Raises:
            JournalError: The journal is damaged.

        Example:
            ```python
            assert not Sweep.attach("quickstart").verify().violations
            ```
        """
        from orchestrator.results.verify import check

        return check(self._run_directory())

    def plan(self) -> Plan:
        """Return what the sweep takes: trials, rungs and training. Nothing is trained or written.

        Example:
            ```python
            plan = Sweep.from_file("quickstart").plan()
            print(plan.trials, plan.expected, plan.rungs)
            ```
        """
        from orchestrator.plan import plan

        return plan(self.spec)

    def measure(self) -> Costs:
        """Train a few real steps to estimate hours, memory, disk space and cost.

        Raises:
            UsageError: A configuration cannot be trained.

        Example:
            ```python
            costs = Sweep.from_file("sweep.yaml").measure()
            print(costs.hours, costs.memory)
            ```
        """
        from orchestrator.plan import measure, plan

        return measure(self.spec, plan(self.spec), self._runs)

    def study(self) -> optuna.Study:
        """Return the run as an Optuna study, for Optuna's own functions; its storage is the journal.

        It is read-only and follows a running sweep. `sweep export-optuna` writes a copy that Optuna can change.

        Raises:
            UsageError: There is no such run.

        Example:
            ```python
            import optuna

            study = Sweep.attach("quickstart").study()
            print(study.best_value, optuna.importance.get_param_importances(study))
            ```
        """
        from orchestrator.optuna_studies.study_export import study_of

        return study_of(self._run_directory())

    @property
    def plot(self) -> Plot:
        """Figures of the results so far: ``sweep.plot.learning_curves()``."""
        return self.results().plot

    def best(self) -> BestTrial:
        """Return the winner so far.

        Raises:
            SweepError: No trial has a finite value.

        Example:
            ```python
            print(Sweep.attach("quickstart").best().checkpoint)
            ```
        """
        return self.results().best()

    def __repr__(self) -> str:
        return f"Sweep({self.name!r})"

    def _run_directory(self) -> RunDirectory:
        return find(self.name, self._runs)

    def _run(
        self,
        start: Callable[[Observer | None], Outcome],
        progress: bool | None,
        callbacks: Sequence[Callback],
        *,
        local: bool,
        finals: Mapping[str, Any] | None = None,
    ) -> Results:
        """Run to the end; then confirm, if the spec names finalists and ``finals`` holds the options."""
        refuse_second_run()
        if local:
            share_main()
        with progress_observer(run_at(self.name, self._runs), progress) as shown:
            outcome = start(CallbackObserver(callbacks, shown) if callbacks else shown)
        self._trust = True  # its code has run here
        for notice in outcome.notices:
            print(masked(notice), file=sys.stderr)
        if finals is not None and outcome.finals_due:
            self.confirm(progress=progress, **finals)
        return Results(outcome.run)


def _plain(value: Any) -> Any:
    """Return typed options as the mapping of a sweep file: only what was set, and the name that selects them."""
    if not isinstance(value, Part):
        return value
    name = {"name": value.name} if hasattr(value, "name") else {}
    return {**name, **value.model_dump(mode="json", exclude_unset=True)}


def _default_name(model: Any) -> str:
    with contextlib.suppress(TypeError, KeyError):
        model = model["class_path"]
    model = model.func if isinstance(model, functools.partial) else model
    path = getattr(model, "__qualname__", type(model).__qualname__) if callable(model) else str(model)
    return path.replace(":", ".").rsplit(".", 1)[-1].lower()
