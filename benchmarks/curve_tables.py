"""Make a table of learning curves for `benchmarks.search` from finished sweeps.

    sweep launch quickstart --name digits --set searcher=random --set scheduler=fifo --set budget.trials=500
    python -m benchmarks.curve_tables digits --out digits.npz

A sweep that trains every trial to its end is a table already: its journal has every configuration and every loss. Any
sweep file will do, of the shipped systems or your own; one run is one task of the table. A trial that diverged has NaN
from there on. Trials that failed, or did not come to the end for another reason, are left out, and so is a run with
fewer than two. Losses are float16, of which 500 trials of 50 reports take 50 kB; parameters are places in their ranges.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.results.run_state import find, read_state
from orchestrator.space import Space
from orchestrator.state import SweepState, Trial, spec_in_force

Table = dict[str, NDArray[np.generic]]


def task(name: str, state: SweepState) -> Table:
    """Return the arrays of one sweep: ``NAME/valid``, ``NAME/params`` and the parameters' names."""
    places = _places(state.trials.values())
    ended = [trial for trial in state.trials.values() if _is_whole(trial, places)]
    if len(ended) < 2:
        raise SystemExit(f"error: {name} has fewer than two trials that came to their end; use scheduler: fifo")
    space = spec_in_force(state).space
    names = [parameter for parameter in space.order if space[parameter].size != 1]
    params = [[_coordinate(space, parameter, trial) for parameter in names] for trial in ended]
    losses = [[_loss(state, trial, place) for place in places] for trial in ended]
    return arrays(name, losses, params, names)


def arrays(name: str, losses: Sequence[Any], params: Sequence[Any], names: Sequence[str]) -> Table:
    """Return a task's arrays from its rows: losses (None for NaN), and places of the named parameters in [0, 1]."""
    return {
        f"{name}/valid": np.array(losses, dtype=float).astype(np.float16),
        f"{name}/params": np.array(params).astype(np.float16),
        f"{name}/param_names": np.array(names),
    }


def _places(trials: Iterable[Trial]) -> list[float]:
    """Return where trials report: the places of the trial that reported most."""
    return max((sorted(trial.reports) for trial in trials), key=lambda places: len(places), default=[])


def _is_whole(trial: Trial, places: list[float]) -> bool:
    diverged = trial.stopped_by.get("rule") == "not_finite"
    return diverged or (trial.status == "finished" and sorted(trial.reports) == places)


def _coordinate(space: Space, parameter: str, trial: Trial) -> float:
    """Return a parameter's place in its range, from 0 to 1; one half for a trial that lacks it."""
    if parameter not in trial.suggested:
        return 0.5
    return float(space[parameter].coordinate(trial.suggested[parameter]))


def _loss(state: SweepState, trial: Trial, place: float) -> float:
    report = trial.reports.get(place)
    value = state.objective.value(report.metrics) if report else math.nan
    return state.objective.loss(value) if math.isfinite(value) else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME", help="finished sweeps, one task each")
    parser.add_argument("--runs", dest="folder", default=None, help="the folder of the run directories")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    arrays: Table = {}
    for name in args.runs:
        arrays |= task(name, read_state(find(name, args.folder)))
    np.savez_compressed(args.out, **arrays)  # type: ignore[arg-type]
    shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items() if key.endswith("/valid"))
    print(f"{args.out}: {shapes}; {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
