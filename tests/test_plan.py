"""`sweep plan`: what is said on paper agrees with what the simulator does; what does not fit is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.simulator import simulate
from orchestrator.errors import SpecError, UsageError
from orchestrator.plan import costs as costing
from orchestrator.plan import plan
from orchestrator.plan.costs import measure
from orchestrator.plan.extremes import Corner, configuration, corners
from orchestrator.plan.formatting import lines
from orchestrator.spec import SweepSpec
from orchestrator.training import Measured, profiler
from tests.support.budget_specs import described
from tests.support.small_sweeps import spec as tiny
from tests.support.small_sweeps import tiny_job

ASHA = {"name": "asha", "reduction_factor": 3}
MEGABYTE = 1_000_000


def test_without_a_scheduler_every_epoch_is_expected() -> None:
    found = plan(described({"trials": 7}))
    assert (found.trials, found.max_epochs, found.most, found.expected, found.rungs) == (7, 8, 56, 56, {})


def test_finals_are_counted_beside_the_search() -> None:
    plain, found = plan(described({"trials": 7})), plan(described({"trials": 7}, finalists={"top": 2, "trials": 9}))
    assert (plain.finals, found.finals, found.most) == (0, 9, plain.most)
    assert "finals: at most 9 trainings of the best, 72 epochs, in addition to the above" in lines(found)


@pytest.mark.parametrize("promote", [False, True])
def test_what_is_expected_is_about_what_a_search_takes(promote: bool) -> None:
    spec = described({"trials": 40}, scheduler={**ASHA, "promote": promote}, trainer={"max_epochs": 27})
    found = plan(spec)
    took = simulate(spec, seed=5).state
    assert found.expected == pytest.approx(took.epochs, rel=0.35)
    assert list(found.rungs) == [1, 3, 9, 27]
    assert found.rungs[1] == 40
    assert found.rungs[3] == pytest.approx(40 / 3, rel=0.5)


def test_more_trials_than_are_simulated_are_counted_up() -> None:
    small, large = (plan(described({"trials": n}, scheduler=ASHA)) for n in (100, 10_000))
    assert small.expected is not None
    assert large.expected == pytest.approx(100 * small.expected, rel=0.25)
    assert large.rungs[1] == 10_000


@pytest.mark.parametrize(
    ("limits", "fields", "trials", "most"),
    [
        ({"trials": 9, "epochs": 30}, {}, 9, 30),
        ({"epochs": 30, "reserve": 0.5}, {}, None, 15),
        ({"wall_clock": 60}, {}, None, None),
        ({"trials": 9}, {"trainer": {"max_epochs": -1, "max_steps": 50}}, 9, 450),
        ({"trials": 9, "steps": 300}, {"trainer": {"max_steps": 50}}, 9, 300),
        ({"trials": 9}, {"trainer": {"max_steps": 50}, "progress": "epochs"}, 9, None),
        ({}, {"searcher": "grid", "space": {"model.a": {"int": [1, 5]}, "model.b": {"choice": ["x", "y"]}}}, 10, 80),
        ({"trials": 3}, {"space": {"trainer.max_epochs": {"int": [2, 30]}}}, 3, 90),
    ],
)
def test_what_bounds_a_sweep(
    limits: dict[str, Any], fields: dict[str, Any], trials: int | None, most: int | None
) -> None:
    found = plan(described(limits, **fields))
    assert (found.trials, found.most) == (trials, most)
    assert found.expected is None or (most is not None and found.expected <= most)


def test_planning_on_paper_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from orchestrator import cli; sys.argv = ['sweep', 'plan', 'quickstart']\n"
        "try: cli.main()\n"
        "except SystemExit: print(*[n for n in ('torch', 'lightning', 'ray', 'pandas') if n in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert answer.stdout.splitlines()[0] == "quickstart: 12 trials, at most 9 epochs each"
    assert answer.stdout.splitlines()[-1].split() == []


def known(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Corners as if they had been measured."""
    cheap = Measured(seconds=2.0, memory=500 * MEGABYTE, device_memory=0, device_total=0, checkpoint=MEGABYTE, steps=20)
    dear = replace(cheap, **{"seconds": 10.0, "memory": 800 * MEGABYTE, **fields})
    slow = Corner({}, dear)
    found = {"cheap": Corner({}, cheap), "dear": slow, "large": slow}
    monkeypatch.setattr(costing, "corners", lambda spec, roots: found)
    monkeypatch.setattr(costing, "checked_roots", lambda spec: [])
    monkeypatch.setattr(costing, "cpu_count", lambda: 4)
    monkeypatch.setattr(costing, "gpu_count", lambda: 0)
    monkeypatch.setattr(costing, "local_slots", lambda resources, cpus: 4)
    monkeypatch.setattr(costing, "memory", lambda: 64_000 * MEGABYTE)


def priced(**fields: Any) -> SweepSpec:
    return described({"trials": 9, **fields.pop("limits", {})}, scheduler=ASHA, trainer={"max_epochs": 9}, **fields)


def test_hours_and_money_follow_from_epochs_and_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    spec = priced()
    paper = plan(spec)
    assert paper.expected is not None
    found = measure(spec, paper)
    low, high = paper.expected * 2 / 3600, 81 * 10 / 3600
    assert found.hours == pytest.approx((low / 4, high / 4))
    assert found.gpu_hours == pytest.approx((low * 2, high * 2))
    assert found.cost == pytest.approx((low * 7.2, high * 7.2))
    assert (found.memory, found.disk) == (800 * MEGABYTE, (2 * 9 + 4 * 4) * MEGABYTE)
    limited = priced(limits={"wall_clock": 60, "cost": 0.5})
    bounded = measure(limited, plan(limited))
    assert bounded.hours is not None
    assert bounded.cost is not None
    assert (bounded.hours[1], bounded.cost[1]) == (60 / 3600, 0.5)
    timed = described({"wall_clock": 3600})
    assert measure(timed, plan(timed)).cost == pytest.approx((4 * 7.2, 4 * 7.2))


@pytest.mark.parametrize(
    ("measured", "fields", "says"),
    [
        ({"memory": 65_000 * MEGABYTE}, {}, "a trial needs 65.0 GB of memory, and the machine has 64.0 GB"),
        ({"memory": 20_000 * MEGABYTE}, {}, "resources.concurrent=3"),
        ({"checkpoint": 10**18}, {}, "free"),
        ({"checkpoint": 50 * MEGABYTE}, {"checkpoints": {"quota": "200MB"}}, "checkpoints.quota=850000000"),
        ({"device_memory": 9 * MEGABYTE, "device_total": 8 * MEGABYTE}, {}, "of the GPU's 8.0 MB"),
    ],
)
def test_what_does_not_fit_is_refused(
    measured: dict[str, Any], fields: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, **measured)
    spec = priced(**fields)
    with pytest.raises(UsageError) as caught:
        measure(spec, plan(spec))
    assert says in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_configuration_heeds_its_conditions() -> None:
    space = described(
        {"trials": 1},
        space={
            "model.kind": {"choice": ["a", "b"]},
            "model.only_b": {"int": [1, 9], "when": {"model.kind": "b"}},
        },
    ).space
    assert configuration(space, {"model.only_b": 9}) == {"model.kind": "a"}
    assert configuration(space, {"model.only_b": 9, "model.kind": "b"}) == {"model.kind": "b", "model.only_b": 9}


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_an_epoch_that_is_longer_than_the_steps_to_time_is_measured(tmp_path: Path) -> None:
    data = {"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 2}}
    measured = profiler.measure(replace(tiny_job(tmp_path), data=data), steps=4)
    assert measured.seconds is not None
    assert 4 <= measured.steps < 32


@pytest.mark.slow
def test_the_dear_corner_is_found_by_real_steps() -> None:
    """Each batch sleeps for ``pause``; small batches are many. The learning rate costs nothing at either end."""
    space = {
        "model.pause": {"choice": [0.1, 0.0, 0.2]},
        "data.batch_size": {"int": [4, 32]},
        "model.learning_rate": {"log_uniform": [1e-3, 0.5]},
    }
    found = corners(tiny(space=space), [])
    cheap, dear = found["cheap"], found["dear"]
    assert (cheap.params["model.pause"], cheap.params["data.batch_size"]) == (0.0, 32)
    assert (dear.params["model.pause"], dear.params["data.batch_size"]) == (0.2, 4)
    assert dear.measured.seconds == pytest.approx(16 * 0.2, rel=0.5), "16 batches of a fifth of a second"
    assert dear.measured.steps == 16
    assert cheap.measured.memory > 50 * MEGABYTE
    assert 1000 < cheap.measured.checkpoint < MEGABYTE


@pytest.mark.slow
def test_a_corner_that_cannot_be_trained_is_refused() -> None:
    broken = tiny(data={"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 0}}, space={})
    with pytest.raises(UsageError, match=r"cannot be trained: ValueError: batch_size"):
        corners(broken, [])
    with pytest.raises(SpecError, match="did you mean"):
        measure(tiny(model={"class_path": "tests.support.tiny.Tiny", "init_args": {"puase": 0}}), plan(tiny()))


def test_a_plan_says_times_as_a_sweep_file_does_and_what_a_budget_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    spec = priced(limits={"wall_clock": 90})
    said = lines(plan(spec), measure(spec, plan(spec)))
    assert "budget: wall_clock 1m30s" in said
    hours = next(line for line in said if line.startswith("hours: "))
    assert "without the budget, which" in hours
    assert lines(plan(described({"wall_clock": 14400})))[-1] == "budget: wall_clock 4h"
    assert said[-1] == "no GPU here: trials train on CPU cores"


def test_corners_are_called_by_what_they_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, seconds=1.0)  # the corner that probes took for the dear one
    said = lines(plan(priced()), measure(priced(), plan(priced())))
    assert any(line.startswith("fastest and largest corner: 1 s an epoch, 800 MB") for line in said)
    assert any(line.startswith("slowest corner: 2 s an epoch") for line in said)


def test_hours_of_other_units_follow_from_their_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, rates={"steps": 0.5})
    spec = described({"trials": 9}, trainer={"max_steps": 100})
    found = measure(spec, plan(spec))
    assert found.hours == pytest.approx((900 * 0.5 / 3600 / 4,) * 2)
