"""A sweep as pandas DataFrames, and its winner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SweepError
from orchestrator.results.run_state import find, read_state
from orchestrator.results.trial_rows import rows
from orchestrator.results.winner import winner
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.results.plot import Plot


@dataclass(frozen=True)
class BestTrial:
    """The winner: ``value`` is the objective at its best finite ``epoch``, ``checkpoint`` that epoch's file.

    After finals, as ``confirmed`` says, ``trial`` is that of the search whose parameters have won; value, epoch and
    checkpoint are those of their best training in the finals.
    """

    trial: int
    value: float
    epoch: int
    params: dict[str, Any]
    checkpoint: Path | None
    confirmed: bool = False


class Results:
    """What a sweep has found, read from its journal when this was made."""

    def __init__(self, name: str | RunDirectory, runs: str | Path | None = None) -> None:
        self.run = name if isinstance(name, RunDirectory) else find(name, runs)
        self.state: SweepState = read_state(self.run)
        self.metric = self.state.objective.metric

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a trial, best first (see ``results.rows``)."""
        return rows(self.run, self.state)

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, best first; a column a parameter, and the objective under its own name."""
        import pandas as pd

        flat = []
        for row in self.rows:
            params, best = row.pop("params"), row.pop("best")
            stopped, also = row.pop("stopped_by"), row.pop("also", {})
            head = {name: row.pop(name) for name in ("rank", "trial", "status")}
            flat.append({**head, self.metric: best, **also, **params, **row, "stopped_by": stopped and stopped["rule"]})
        columns = ["rank", "trial", "status", self.metric, "epoch", "epochs", "checkpoint"]
        return pd.DataFrame(_storable(flat)) if flat else pd.DataFrame(columns=columns)

    @property
    def front(self) -> pd.DataFrame:
        """The Pareto front: its rows of `trials`, by the first objective. Of one, the winner and its equals."""
        found = self.trials
        order = {number: place for place, number in enumerate(self.state.front())}
        on_it = found[found["trial"].isin(order)]
        return on_it.sort_values("trial", key=lambda numbers: numbers.map(order)).reset_index(drop=True)

    @property
    def epochs(self) -> pd.DataFrame:
        """One row a trial and epoch, a column a metric."""
        import pandas as pd

        flat = [
            {"trial": trial.number, "epoch": report.epoch, **report.metrics}
            for trial in self.state.trials.values()
            for _, report in sorted(trial.reports.items())
        ]
        return pd.DataFrame(_storable(flat)) if flat else pd.DataFrame(columns=["trial", "epoch"])

    @property
    def finalists(self) -> pd.DataFrame:
        """One row a configuration that took part in the finals, best first; empty before there were any."""
        import pandas as pd

        return pd.DataFrame((self.state.confirmation or {}).get("table", []))

    @property
    def plot(self) -> Plot:
        """Its figures, for notebooks: ``results.plot.learning_curves()``."""
        from orchestrator.results.plot import Plot

        return Plot(self.run, self.state)

    def best(self) -> BestTrial:
        """The winner, that of the finals if there were any. Raises SweepError where no trial has a finite value yet."""
        if self.state.confirmation:
            won, number = winner(self.run, self.state), self.state.confirmation["winner"]["configuration"]
            file = won.run.fetch(won.checkpoint.path)
            checkpoint = file if file.exists() else None
            return BestTrial(number, won.best.value, won.best.epoch, dict(won.trial.params), checkpoint, confirmed=True)
        first = self.state.winner()
        best = self.state.objective.best(first) if first else None
        if first is None or best is None:
            within = " within the constraints" if self.state.objective.constraints else ""
            raise SweepError(
                f"no trial of {self.run.name!r} has a finite {self.metric}{within} yet",
                hint=f"see what happened: sweep results {self.run.name}",
            )
        kept = first.checkpoints.get(best.epoch)
        path = self.run.fetch(kept.path) if kept else None
        params, found = first.params_at(best.epoch), path if path and path.exists() else None
        return BestTrial(first.number, best.value, best.epoch, params, found)

    def report(self, path: str | Path | None = None, *, format: str | None = None) -> Path:
        """Write a report and return where it is: by default ``report.html`` in the run directory.

        ``format`` is ``html``, ``md``, ``png`` or ``svg``; without it the ending of ``path`` says which.

        Raises UsageError where the ending is none of these, or ``path`` is a folder.
        """
        from orchestrator.results.report import write

        return write(self.run, self.state, path, format)

    def _repr_html_(self) -> str:
        from orchestrator.results.notebook import page

        return page(self.run, self.state)

    def __repr__(self) -> str:
        return f"Results({self.run.name!r}: {len(self.state.trials)} trials, {self.state.status})"


def _storable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with lone surrogates written out: a file name in a message may hold some, and no UTF-8 file can."""

    def whole(value: Any) -> Any:
        return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value

    return [{whole(name): whole(value) for name, value in row.items()} for row in rows]
