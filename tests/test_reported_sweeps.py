"""Whole sweeps of Lightning's ways to say how long and how often to train: reports and rungs in the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import ASHA
from orchestrator.results.run_state import read_state
from orchestrator.results.trial_rows import rows
from orchestrator.results.verify import check
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.sweep import launch
from tests.support import cut_runs
from tests.support.reported_places import PLACES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 under torch 2.15
    pytest.mark.filterwarnings("ignore:.*`__len__` defined"),  # of iterable data with a length
]
UNITS = {"epochs": 0, "steps": 1, "samples": 2, "metric:seen": 2}
# In epochs Lightning says which are validated, so a sweep's end after an odd one has no report.
SWEPT = [name for name in PLACES if name != "every second epoch, until three"]
UNDER_RAY = ("a fraction", "max_steps between two validations", "until a counter of the module", "no validation")


def described(name: str) -> SweepSpec:
    """Return a sweep of two trials, with a rung at the first report and one at each doubling."""
    plans, places = PLACES[name]
    unit = plans.progress.get("unit", "epochs")
    first = next(place[UNITS[unit]] for place in places if place[UNITS[unit]])
    module = cut_runs.__name__
    trainer = {"limit_val_batches": 1, **plans.trainer}
    if unit == "epochs" and "until" in plans.progress:
        del trainer["max_epochs"]  # the same end
    return from_mapping(
        {
            "name": "places",
            "seed": 1,
            "objective": {"metric": plans.metric, "mode": "min"},
            "model": {"class_path": f"{module}.Model", "init_args": {"plan": plans.model}},
            "data": {"class_path": f"{module}.Data", "init_args": {"plan": {"source": "", **plans.data}}},
            "trainer": trainer,
            "progress": plans.progress or {"unit": "epochs"},
            "space": {"model.plan.dropout": {"uniform": [0.1, 0.3]}},
            "searcher": "random",
            "scheduler": {"name": "asha", "grace": first, "reduction_factor": 2},
            "budget": {"trials": 2},
        }
    )


def expected_rung(spec: SweepSpec, progress: float) -> float | None:
    """Return the last rung that a trial of this progress has passed."""
    assert isinstance(spec.scheduler, ASHA)
    assert spec.scheduler.grace is not None
    rung, passed = spec.scheduler.grace, None
    while rung <= progress:
        passed, rung = rung, rung * 2
    return passed


def check_places(name: str, spec: SweepSpec, **where: Any) -> None:
    outcome = launch(spec, **where)
    assert outcome.exit_code == 0, outcome.state.reason
    state, places = read_state(outcome.run), PLACES[name][1]
    longest = max(state.trials.values(), key=lambda trial: trial.progress)
    assert len(longest.reports) == len(places)
    for row in rows(outcome.run, state):
        trial = state.trials[row["trial"]]
        got = [(report.epoch, report.step, report.samples) for _, report in sorted(trial.reports.items())]
        assert got == places[: len(got)]
        assert row["rung"] == expected_rung(spec, trial.progress)
    assert check(outcome.run).violations == []


@pytest.mark.parametrize("name", SWEPT)
def test_a_local_sweep_has_these_reports_and_rungs(name: str, tmp_path: Path) -> None:
    check_places(name, described(name), runs=tmp_path, local=True)


@pytest.mark.ray
@pytest.mark.parametrize("name", UNDER_RAY)
def test_a_sweep_under_ray_has_them_too(name: str, shared_address: str, tmp_path: Path) -> None:
    check_places(name, described(name), runs=tmp_path, address=shared_address)
