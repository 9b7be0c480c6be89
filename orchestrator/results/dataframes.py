"""A sweep as pandas DataFrames, and its best trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.codec import loaded, readable
from orchestrator.errors import SweepError
from orchestrator.progress import counted
from orchestrator.results.run_state import find, read_state
from orchestrator.results.trial_rows import params_of, rows
from orchestrator.results.winner import confirmed_finals
from orchestrator.rundir import RunDirectory
from orchestrator.state import Report, SweepState

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.results.plot import Plot


_REACHED = ("progress", "epoch", "step", "samples", "seconds")


def _reached(report: Report) -> dict[str, float]:
    """Return how far a report is, in every unit."""
    return {name: getattr(report, name) for name in _REACHED}


@dataclass(frozen=True)
class BestTrial:
    """The winner of a sweep.

    ``value`` is the objective at the trial's best finite report, whose ``progress`` is in the sweep's unit and whose
    ``epoch`` is a fraction within one; ``params`` are the hyperparameters of that moment, and ``checkpoint`` is its
    file, None if it was not kept.

    After finals ``confirmed`` is True: ``trial`` is then the trial of the search whose parameters won, while ``value``,
    ``epoch`` and ``checkpoint`` are those of the best training in the finals.

    Example:
        >>> import orchestrator
        >>> best = orchestrator.load_results("quickstart").best()
        >>> best.confirmed  # no finals were held
        False
        >>> learning_rate = best.params["model.learning_rate"]
    """

    trial: int
    value: float
    epoch: float
    params: dict[str, Any]
    checkpoint: Path | None
    confirmed: bool = False
    progress: float = 0


def load_results(name: str | Path | RunDirectory | None = None, runs: str | Path | None = None) -> Results:
    """Read the results of a run.

    Args:
        name: The run's name, a unique beginning of it, its path or URL, or its directory; by default the newest run.
        runs: The folder or URL that holds the runs; by default ``SWEEP_RUNS`` or ``./runs``.

    Raises:
        UsageError: If there is no such run.
        JournalError: If its journal is damaged.

    Example:
        >>> import orchestrator
        >>> results = orchestrator.load_results("quickstart")
        >>> top = results.trials.head(3)  # a DataFrame, best trial first
        >>> list(top["rank"])
        [1, 2, 3]
    """
    return Results(name, runs)


class Results:
    """The results of a sweep, as its journal held them when this object was made.

    ``run`` is the run directory, ``state`` the replayed journal, ``metric`` the name of the objective. In Jupyter a
    Results shows the verdict and the best ten trials.

    Args:
        name: The run's name, a unique beginning of it, its path or URL, or its directory; by default the newest run.
        runs: The folder or URL that holds the runs; by default ``SWEEP_RUNS`` or ``./runs``.

    Raises:
        UsageError: If there is no such run.
        JournalError: If its journal is damaged.

    Example:
        >>> import orchestrator
        >>> results = orchestrator.Results("quickstart")
        >>> results.metric
        'val_acc'
        >>> curves = results.epochs.pivot(index="epoch", columns="trial", values="val_acc")
    """

    def __init__(self, name: str | Path | RunDirectory | None = None, runs: str | Path | None = None) -> None:
        self.run = name if isinstance(name, RunDirectory) else find(name, runs)
        self.state: SweepState = read_state(self.run)
        self.metric = self.state.objective.metric

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a trial, best first, with the keys of `orchestrator.results.rows`."""
        return rows(self.run, self.state)

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, best first; one column a parameter, and the objective under its own name."""
        import pandas as pd

        records = []
        for row in self.rows:
            params, best = _values(params_of(self.state, self.state.trials[row["trial"]])), row.pop("best")
            stopped, also = row.pop("stopped_by"), row.pop("also", {})
            head = {name: row.pop(name) for name in ("rank", "trial", "status")}
            rule = stopped and stopped["rule"]
            del row["params"]
            records.append({**head, self.metric: best, **also, **params, **row, "stopped_by": rule})
        columns = ["rank", "trial", "status", self.metric, "epoch", "epochs", "checkpoint"]
        return pd.DataFrame(_escape_surrogates(records)) if records else pd.DataFrame(columns=columns)

    @property
    def front(self) -> pd.DataFrame:
        """The rows of `trials` on the Pareto front, by the first objective.

        With one objective these are the winner and the trials that equal it.
        """
        trials = self.trials
        order = {number: place for place, number in enumerate(self.state.front())}
        front = trials[trials["trial"].isin(order)]
        return front.sort_values("trial", key=lambda numbers: numbers.map(order)).reset_index(drop=True)

    @property
    def epochs(self) -> pd.DataFrame:
        """One row a report, one column a metric; ``progress`` is in the sweep's unit.

        ``step``, ``samples`` and ``seconds`` are 0 in a run of version 0.1.0. A metric of such a name replaces them.
        """
        import pandas as pd

        records = [
            {"trial": trial.number, **_reached(report), **report.counters, **report.metrics}
            for trial in self.state.trials.values()
            for _, report in sorted(trial.reports.items())
        ]
        return pd.DataFrame(_escape_surrogates(records)) if records else pd.DataFrame(columns=["trial", *_REACHED])

    @property
    def finalists(self) -> pd.DataFrame:
        """One row a configuration of the finals, best first; empty if none were held."""
        import pandas as pd

        return pd.DataFrame((self.state.confirmation or {}).get("table", []))

    @property
    def plot(self) -> Plot:
        """The figures, for notebooks: ``results.plot.learning_curves()``."""
        from orchestrator.results.plot import Plot

        return Plot(self.run, self.state)

    def best(self) -> BestTrial:
        """Return the winner: that of the finals if they confirmed one, else the best trial of the search.

        Raises:
            SweepError: If no trial has a finite value yet.

        Example:
            >>> import orchestrator
            >>> best = orchestrator.load_results("quickstart").best()
            >>> best.epoch >= 1
            True
        """
        run, state, confirmation = self.run, self.state, self.state.confirmation
        if confirmation:
            run = confirmed_finals(run, state)
            state = read_state(run)
        trial = state.trials.get(confirmation["winner"]["trial"]) if confirmation else state.winner()
        best = state.objective.best(trial) if trial else None
        if trial is None or best is None:
            raise SweepError(
                f"no trial of {run.name!r} has a finite {self.metric}{state.objective.within} yet",
                hint=f"list the trials: sweep results {run.name}",
            )
        held = trial.checkpoints.get(best.progress)
        file = run.fetch(held.path) if held else None
        return BestTrial(
            confirmation["winner"]["configuration"] if confirmation else trial.number,
            best.value,
            trial.reports[best.progress].epoch,
            _values(trial.params_at(best.progress)),
            file if file and file.exists() else None,
            confirmed=bool(confirmation),
            progress=best.progress,
        )

    def report(self, path: str | Path | None = None, *, format: str | None = None) -> Path:
        """Write a report and return its path.

        Args:
            path: The file; by default ``report.html`` in the run directory.
            format: ``html``, ``md``, ``png`` or ``svg``; by default the suffix of ``path``.

        Raises:
            UsageError: If the suffix is none of these, or ``path`` is a folder.

        Example:
            >>> import orchestrator
            >>> orchestrator.load_results("quickstart").report("quickstart.md").name
            'quickstart.md'
        """
        from orchestrator.results.report import write

        return write(self.run, self.state, path, format)

    def _repr_html_(self) -> str:
        from orchestrator.results.notebook import results_html

        return results_html(self.run, self.state)

    def __repr__(self) -> str:
        return f"Results({self.run.name!r}: {counted(len(self.state.trials), 'trial')}, {self.state.status})"


def _values(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as Python has them; a class or function is its import path where nobody has imported it."""
    return {name: readable(value, loaded) for name, value in params.items()}


def _escape_surrogates(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Escape lone surrogates, which a file name in a message may hold and no UTF-8 file can."""

    def escaped(value: Any) -> Any:
        return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

    return [{escaped(name): escaped(value) for name, value in record.items()} for record in records]
