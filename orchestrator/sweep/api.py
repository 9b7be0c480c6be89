"""The `Sweep` class: a sweep in Python."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.results import BestTrial, Results
from orchestrator.results.notebook import progress_observer
from orchestrator.results.plot import Plot
from orchestrator.results.run_state import find, read_state
from orchestrator.results.winner import finals_of
from orchestrator.rundir import run_at
from orchestrator.spec import Finalists, from_mapping, load
from orchestrator.sweep.confirm import confirm
from orchestrator.sweep.lifecycle import extend, launch
from orchestrator.sweep.preflight import import_from
from orchestrator.sweep.test_set import WinnerTest, test


class Sweep:
    """A sweep in Python: the fields of a sweep file, with classes instead of import paths.

    Example:
        >>> sweep = Sweep(model=MyModel, data=MyData, objective=("val_acc", "max"),
        ...               space={"model.learning_rate": log_uniform(1e-4, 1e-2)}, budget=20)
        >>> results = sweep.launch()

    Args:
        model: a LightningModule class, its import path, or ``{"class_path": …, "init_args": {…}}``.
        data: the same for the LightningDataModule; None if the module brings its own loaders.
        space: parameter name → domain: ``{"model.learning_rate": log_uniform(1e-4, 1e-2)}``.
        objective: ``("val_acc", "max")`` or ``{"metric": "val_acc", "mode": "max"}``; more objectives under ``also``.
        constraints: bounds on other metrics: ``[{"metric": "val_loss", "max": 0.7}]``.
        name: of the run directory; by default the model class's name in lower case.
        seed: fixes every random choice of the sweep.
        trainer: any arguments of ``lightning.Trainer``.
        searcher: a name, or a mapping with options; by default that of a sweep file.
        scheduler: likewise.
        budget: a number of trials, or ``{"trials": 64, "wall_clock": "4h"}``.
        repeats: trials of each configuration, or ``{"seeds": 3, "rank_by": "lower_bound"}``.
        finalists: how many of the best are confirmed once the search has ended, or a mapping with options.
        resources: as in a sweep file.
        checkpoints: as in a sweep file.
        recovery: as in a sweep file.
        tracking: as in a sweep file.
        notify: as in a sweep file.

    Raises:
        SpecError: A field is wrong.
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
        finalists: int | Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        checkpoints: Mapping[str, Any] | None = None,
        recovery: Mapping[str, Any] | None = None,
        tracking: Mapping[str, Any] | None = None,
        notify: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        fields = {
            "name": name or _default_name(model),
            "seed": seed,
            "objective": dict(zip(("metric", "mode"), objective, strict=True))
            if isinstance(objective, tuple)
            else objective,
            "constraints": list(constraints) if constraints is not None else None,
            "model": _importable(model),
            "data": _importable(data),
            "trainer": _importable(trainer),
            "space": space,
            "searcher": searcher,
            "scheduler": scheduler,
            "budget": {"trials": budget} if isinstance(budget, int) else budget,
            "repeats": repeats,
            "finalists": finalists,
            "resources": resources,
            "checkpoints": checkpoints,
            "recovery": recovery,
            "tracking": tracking,
            "notify": list(notify) if notify is not None else None,
        }
        self.spec = from_mapping({key: value for key, value in fields.items() if value is not None})
        self._runs: str | Path | None = None

    @classmethod
    def from_file(cls, spec: str | Path, overrides: Sequence[str] = (), name: str | None = None) -> Sweep:
        """Read a sweep file, or a shipped one by name.

        Args:
            spec: the file, or the name of a shipped sweep.
            overrides: ``key=value``, as ``--set`` takes them.
            name: of the run directory, instead of the file's.

        Raises:
            SpecError: The file is wrong.
        """
        sweep = cls.__new__(cls)
        sweep.spec = load(str(spec), overrides, name)
        sweep._runs = None
        return sweep

    def launch(
        self,
        runs: str | Path | None = None,
        *,
        local: bool = False,
        address: str = "",
        warm_start: Sequence[str] = (),
        progress: bool | None = None,
    ) -> Results:
        """Run the sweep to its end and return its results; with ``finalists``, confirm the winner as well.

        Args:
            runs: the folder of runs, or a URL; by default ``SWEEP_RUNS``, else ``runs``.
            local: run the trials in this process instead of under Ray.
            address: of a running Ray cluster (``"auto"``, ``"host:port"``); by default Ray starts on this machine.
            warm_start: names of earlier runs in the same folder, whose trials the searcher starts from.
            progress: show progress; by default in Jupyter and in a terminal only.

        Raises:
            RunHeldError: A run of this name exists.
            SpecError: The spec cannot run; nothing was started.
            UsageError: The machine or the cluster cannot run it; nothing was started.
        """
        self._runs = runs
        with progress_observer(run_at(self.spec.name, runs), progress) as observer:
            outcome = launch(self.spec, runs, local=local, address=address, warm_start=warm_start, observer=observer)
        for notice in outcome.notices:
            print(notice, file=sys.stderr)
        if self.spec.finalists and outcome.state.status == "completed" and not outcome.exit_code:
            self.confirm(runs, local=local, address=address, progress=progress)
        return Results(outcome.run)

    def extend(
        self,
        runs: str | Path | None = None,
        *,
        local: bool = False,
        address: str = "",
        progress: bool | None = None,
        **more: Any,
    ) -> Results:
        """Extend the sweep beyond its limits: ``trials=10``, ``epochs=5``, ``wall_clock="2h"``, as in `extend`."""
        self._runs = runs or self._runs
        with progress_observer(run_at(self.spec.name, self._runs), progress) as observer:
            return Results(
                extend(self.spec.name, self._runs, local=local, address=address, observer=observer, **more).run
            )

    def confirm(
        self,
        runs: str | Path | None = None,
        *,
        local: bool = False,
        address: str = "",
        progress: bool | None = None,
        **finalists: Any,
    ) -> Results:
        """Train the best again under fresh seeds until the winner is clear; options as in `Finalists`."""
        self._runs = runs or self._runs
        run = find(self.spec.name, self._runs)
        with progress_observer(finals_of(run, read_state(run)), progress) as observer:
            confirm(
                self.spec.name,
                self._runs,
                finalists=Finalists(**finalists) if finalists else None,
                local=local,
                address=address,
                observer=observer,
            )
        return self.results()

    def test(self, runs: str | Path | None = None, **options: Any) -> WinnerTest:
        """Evaluate the confirmed winner on the test set, on record; options as in `orchestrator.sweep.test`."""
        return test(self.spec.name, runs or self._runs, **options)

    def results(self) -> Results:
        """Return the results so far, read from the journal."""
        return Results(self.spec.name, self._runs)

    @property
    def plot(self) -> Plot:
        """Figures of the results so far: ``sweep.plot.learning_curves()``."""
        return self.results().plot

    def best(self) -> BestTrial:
        """Return the winner so far. Raises SweepError if there is none."""
        return self.results().best()


def _importable(value: Any) -> Any:
    """Return the value with each class of the running script replaced by an import path that workers can import."""
    if isinstance(value, Mapping):
        return {key: _importable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_importable(item) for item in value]
    if not isinstance(value, type) or value.__module__ != "__main__":
        return value
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None:
        raise UsageError(
            f"{value.__qualname__} is defined in this session only, and workers cannot import it",
            hint="put the class into a file beside the notebook and import it from there",
        )
    import_from([str(Path(script).parent.absolute())])
    return f"{Path(script).stem}.{value.__qualname__}"


def _default_name(model: Any) -> str:
    with contextlib.suppress(TypeError, KeyError):
        model = model["class_path"]
    path = model.__qualname__ if isinstance(model, type) else str(model)
    return path.rsplit(".", 1)[-1].lower()
