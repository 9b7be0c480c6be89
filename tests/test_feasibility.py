"""The default search avoids what trials have shown to be impossible to train, and never for ever."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np
import pytest

from benchmarks.failures import WALLS, searched
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.policies import build_searcher
from orchestrator.policies.feasibility import Feasibility
from orchestrator.policies.parzen_search import PROBES
from orchestrator.policies.recorded_versions import version_changes
from orchestrator.policies.searchers.density_ratio import DensityRatioSearcher
from orchestrator.results.verify import replay
from orchestrator.space import Space
from orchestrator.spec import SweepSpec
from orchestrator.training import Job
from tests.support.budget_specs import described
from tests.support.virtual_sweeps import VirtualSweep

SPACE: dict[str, Any] = {
    "model.width": {"log_int": [16, 1024]},
    "model.rate": {"log_uniform": [1e-4, 1.0]},
    "model.kind": {"choice": ["relu", "tanh"]},
    "data.batch_size": {"choice": [64, 8, 16, 32]},
}


def spec(trials: int = 50, **fields: Any) -> SweepSpec:
    loss = {"metric": "loss", "mode": "min"}
    base = {"space": SPACE, "searcher": "density_ratio", "data": "nowhere.Data", "trainer": {"max_epochs": 2}}
    return described({"trials": trials}, **{**base, "objective": loss, **fields})


def too_large(params: Mapping[str, Any]) -> bool:
    return bool(params["model.width"] * params["data.batch_size"] > 8000)


def curve(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
    loss = math.log10(params["model.rate"]) ** 2 - 0.01 * math.log(params["model.width"])
    return {"loss": loss + math.exp(-epoch)}


def test_what_fits_is_learned_from_trials_that_did_not() -> None:
    space, rng = Space(SPACE), np.random.default_rng(0)
    learned = Feasibility(space)
    assert not learned.learned
    points = rng.random((300, len(space)))
    truth = []
    for number, point in enumerate(points):
        params = space.at(point.tolist())
        learned.add(number, params)
        truth.append(too_large(params))
        if number < 200:
            learned.note(number, truth[-1])
    assert learned.learned
    risks, wrong = learned.risks(points[200:]), np.array(truth[200:])
    assert 20 < wrong.sum() < 80
    assert ((risks > 0.5) == wrong).mean() > 0.95
    assert wrong[learned.taken(points[200:])].mean() < 0.05
    assert learned.taken(points[200:])[~wrong].mean() > 0.8, "what fits is not avoided, too"


def test_failures_that_follow_no_plane_leave_a_choice() -> None:
    space, rng = Space(SPACE), np.random.default_rng(0)
    learned, points = Feasibility(space), rng.random((200, len(space)))
    for number, point in enumerate(points):
        learned.add(number, space.at(point.tolist()))
        learned.note(number, bool(rng.random() < 0.5))
    assert learned.taken(points).mean() >= 0.25


def test_a_retried_trial_that_then_fits_is_no_longer_held_against_its_parameters() -> None:
    learned = Feasibility(Space(SPACE))
    learned.add(0, {"model.width": 1024, "model.rate": 0.1, "model.kind": "relu", "data.batch_size": 64})
    for unfit, expected in ((True, True), (None, False), (True, True), (False, False)):
        learned.note(0, unfit)
        assert learned.learned is expected


def test_without_a_failure_every_suggestion_is_that_of_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def smooth(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        return {"loss": math.log10(params["model.rate"]) ** 2}

    now = [trial.params for trial in simulate(spec(20), curve=smooth).state.trials.values()]
    monkeypatch.setattr(DensityRatioSearcher, "avoids_unfit", False)
    assert [trial.params for trial in simulate(spec(20), curve=smooth).state.trials.values()] == now


def driven(described: SweepSpec, interruptions: int = 0) -> VirtualSweep:
    """A sweep whose too large trials run out of memory until they fail, with a new driver now and then."""
    sweep = VirtualSweep(described)
    while isinstance(job := sweep.controller.next_job(), Job):
        if interruptions and job.trial and job.trial % interruptions == 0 and job.segment == 0:
            sweep = sweep.again()
            job = sweep.job()
        params = sweep.controller.state.trials[job.trial].params
        if too_large(params):
            failure = SegmentFailure("memory", "out of memory", "memory")
            sweep.controller.on_failure(job.trial, job.segment, failure)
        else:
            sweep.report(job, 1, curve(params, 1)["loss"])
            sweep.controller.on_end(job.trial, job.segment)
    return sweep


def outcomes(sweep: VirtualSweep) -> list[tuple[Any, bool]]:
    trials = sweep.controller.state.trials.values()
    return [(trial.params, trial.status == "failed") for trial in trials]


def test_a_sweep_with_failures_replays_resumes_and_has_fewer_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = spec(40, trainer={"max_epochs": 1})
    sweep = driven(alone)
    assert len(outcomes(sweep)) == 40
    assert any(failed for _, failed in outcomes(sweep))
    assert replay(alone, sweep.events) == []
    assert outcomes(driven(alone, interruptions=7)) == outcomes(sweep)
    monkeypatch.setattr(DensityRatioSearcher, "avoids_unfit", False)
    before = driven(alone)
    assert replay(alone, sweep.events) != [], "verify tells the versions apart"
    assert sum(failed for _, failed in outcomes(sweep)) < sum(failed for _, failed in outcomes(before)) / 2


def test_a_resume_of_version_1_says_what_changes() -> None:
    recorded = {
        "searcher": {"name": "density_ratio", "version": 1},
        "scheduler": {"name": "guarded_asha", "version": 3},
    }
    [sentence] = version_changes(spec(scheduler="guarded_asha"), recorded, "0.1.0")
    assert "version 2 of its rules applies from here on" in sentence
    assert "too large for the memory are avoided" in sentence


def test_nothing_is_excluded_for_ever() -> None:
    """Among suggestions after a hundred failures of large widths, some are of large widths."""
    search = build_searcher(spec())
    observed(search, 200, lambda params: params["model.width"] > 100)
    widths = []
    for number in range(200, 600):
        params = search.suggest(number)
        assert params is not None
        widths.append(params["model.width"])
    large = np.mean([width > 150 for width in widths])
    assert 0 < large < 5 * PROBES


def observed(search: Any, trials: int, fails: Any) -> None:
    """Let a searcher observe random trials that end as ``fails`` says."""
    random = build_searcher(spec(trials, searcher="random"))
    seq = 0
    for number in range(trials):
        params = random.suggest(number)
        assert params is not None
        failed = {"type": "trial.failed", "reason": "infeasible: out of memory"}
        steps: list[dict[str, Any]] = [{"type": "trial.suggested", "params": params, "by": "random"}]
        if fails(params):
            steps.append(failed)
        else:
            steps += [{"type": "segment.reported", "epoch": 1, "metrics": curve({**params, "model.rate": 1e-3}, 1)}]
            steps += [{"type": "trial.finished", "epoch": 1}]
        for step in steps:
            fields = {key: value for key, value in step.items() if key != "type"}
            search.observe(Event(seq, 1, float(seq), step["type"], {"trial": number, "segment": 0, **fields}))
            seq += 1


@pytest.mark.slow
def test_a_suggestion_takes_less_than_five_milliseconds_behind_a_thousand_trials() -> None:
    search, times = build_searcher(spec(1100)), []
    observed(search, 1000, lambda params: params["model.width"] > 100)
    for number in range(1000, 1050):
        search.observe(Event(9999, 1, 0.0, "trial.retried", {"trial": number - 1000}))
        began = time.process_time()
        search.suggest(number)
        times.append(time.process_time() - began)
    assert median(times) < 0.005


@pytest.mark.slow
def test_the_wall_costs_few_trials_and_no_quality() -> None:
    shares, best = {}, {}
    for searcher in ("tpe", "density_ratio"):
        ran = [searched(searcher, seed, 120, WALLS["high"]) for seed in range(4)]
        shares[searcher] = np.mean([bool(reason) for reasons, _ in ran for reason in reasons])
        best[searcher] = np.mean([best for _, best in ran])
    assert shares["density_ratio"] < shares["tpe"] / 2
    assert best["density_ratio"] < best["tpe"] + 0.15
