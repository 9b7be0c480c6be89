"""A sweep in Python."""

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
from orchestrator.sweep.test_set import Look, look


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
        finalists: how many of the best are confirmed once the search has ended, or a mapping with options.
        resources, checkpoints, recovery, tracking, notify: as in a sweep file.

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
        finalists: int | Mapping[str, Any] | None = None,
        resources: Mapping[str, Any] | None = None,
        checkpoints: Mapping[str, Any] | None = None,
        recovery: Mapping[str, Any] | None = None,
        tracking: Mapping[str, Any] | None = None,
        notify: Sequence[Mapping[str, Any]] | None = None,
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
            "finalists": finalists,
            "resources": resources,
            "checkpoints": checkpoints,
            "recovery": recovery,
            "tracking": tracking,
            "notify": list(notify) if notify is not None else None,
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

    def launch(
        self,
        runs: str | Path | None = None,
        *,
        local: bool = False,
        address: str = "",
        warm_start: Sequence[str] = (),
        progress: bool | None = None,
    ) -> Results:
        """Run it to its end, under Ray Tune or (``local``) in this process, and return what it found.

        ``address`` is that of a Ray cluster which is there already (``"auto"``, ``"host:port"``); else Ray is our own.

        ``warm_start`` names earlier runs in the same folder, whose trials the searcher begins with. ``progress`` shows
        it while it runs: by default where somebody looks, in Jupyter or in a terminal.

        Raises RunHeldError where the run exists, SpecError and UsageError where something is wrong before the start.
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
        """Let it go on beyond its limits; ``more`` as in `extend`: ``trials=10``, ``epochs=5``, ``wall_clock="2h"``."""
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
        """Train the best again under fresh seeds until the winner is clear; options as ``finalists`` has them."""
        self._runs = runs or self._runs
        wanted = Finalists(**finalists) if finalists else None
        run = find(self.spec.name, self._runs)
        with progress_observer(finals_of(run, read_state(run)), progress) as observer:
            confirm(self.spec.name, self._runs, finalists=wanted, local=local, address=address, observer=observer)
        return self.results()

    def test(self, runs: str | Path | None = None, **options: Any) -> Look:
        """Evaluate the confirmed winner on the test set, which is put on record; options as in `look`."""
        return look(self.spec.name, runs or self._runs, **options)

    def results(self) -> Results:
        """What it has found so far, read from its journal."""
        return Results(self.spec.name, self._runs)

    @property
    def plot(self) -> Plot:
        """Figures of what it has found so far: ``sweep.plot.learning_curves()``."""
        return self.results().plot

    def best(self) -> BestTrial:
        """Its winner so far. Raises SweepError where there is none."""
        return self.results().best()


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
    import_from([str(Path(script).parent.absolute())])
    return f"{Path(script).stem}.{value.__qualname__}"


def _default_name(model: Any) -> str:
    with contextlib.suppress(TypeError, KeyError):
        model = model["class_path"]
    path = model.__qualname__ if isinstance(model, type) else str(model)
    return path.rsplit(".", 1)[-1].lower()
