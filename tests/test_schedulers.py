"""Schedulers against references: brute force, the paper's loop, and what a takeover must be."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import UsageError
from orchestrator.journal import Event
from orchestrator.policies import build_scheduler
from orchestrator.policies.schedulers.hyperband import brackets
from orchestrator.policies.schedulers.ray import RayTune, RayTuneScheduler
from orchestrator.results.verify import replay
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState
from orchestrator.testing import Faults, Simulated, simulate
from tests.support.event_log import Log, report, spec
from tests.support.markers import examples, sampled

MODES = st.sampled_from(["min", "max"])
SEEDS = st.integers(0, 2**32)


def reports(rng: random.Random, trials: int, epochs: int) -> list[tuple[int, int, float]]:
    """Each trial's epochs in order, the trials in any; whole-number values, so that many are equal."""
    left = dict.fromkeys(range(trials), 0)
    told = []
    while left:
        trial = rng.choice(sorted(left))
        left[trial] += 1
        told.append((trial, left[trial], float(rng.randint(-4, 4))))
        if left[trial] == epochs:
            del left[trial]
    return told


@settings(max_examples=examples(100), deadline=None)
@given(MODES, st.integers(1, 4), st.integers(1, 4), st.integers(2, 9), SEEDS)
def test_median_agrees_with_brute_force(mode: str, grace: int, least: int, trials: int, seed: int) -> None:
    described = spec(
        scheduler={"name": "median", "grace_epochs": grace, "min_trials": least},
        objective={"metric": "loss", "mode": mode}, trainer={"max_epochs": 6},
    )  # fmt: skip
    scheduler, log, sign = build_scheduler(described), Log(), -1 if mode == "max" else 1
    losses: dict[int, list[float]] = defaultdict(list)
    for trial, epoch, value in reports(random.Random(seed), trials, 6):
        verdict = report(log, scheduler, trial, epoch, value)
        losses[trial].append(sign * value)
        others = [sum(told[:epoch]) / epoch for other, told in losses.items() if other != trial and len(told) >= epoch]
        late = epoch >= grace and epoch < 6 and len(others) >= least
        stops = late and min(losses[trial]) > median(others)
        assert (verdict is not None) == stops
        if verdict:
            assert verdict.why["median"] == sign * median(others)
            assert verdict.why["value"] == sign * min(losses[trial])


@settings(max_examples=examples(100), deadline=None)
@given(MODES, st.integers(1, 4), st.sampled_from([0.0, 1.0, 2.5]), SEEDS)
def test_patience_agrees_with_brute_force(mode: str, epochs: int, delta: float, seed: int) -> None:
    described = spec(
        scheduler={"name": "patience", "epochs": epochs, "min_delta": delta},
        objective={"metric": "loss", "mode": mode}, trainer={"max_epochs": 12},
    )  # fmt: skip
    scheduler, log, sign = build_scheduler(described), Log(), -1 if mode == "max" else 1
    best: dict[int, tuple[float, int]] = {}
    for trial, epoch, value in reports(random.Random(seed), 3, 12):
        if trial not in best or sign * value < best[trial][0] - delta:
            best[trial] = sign * value, epoch
        verdict = report(log, scheduler, trial, epoch, value)
        assert (verdict is not None) == (epoch - best[trial][1] >= epochs and epoch < 12)


@pytest.mark.parametrize("scheduler", ["asha", {"name": "asha", "promote": True}, "hyperband"])
def test_rungs_between_two_reports_count_at_the_next(scheduler: Any) -> None:
    """With validation every second epoch no report is at epoch 1, 3 or 9."""
    described = spec(scheduler=scheduler, trainer={"max_epochs": 12})
    built, log = build_scheduler(described), Log()
    for epoch in (2, 4):
        ends = [trial for trial in range(4) if report(log, built, trial, epoch, float(trial))]
        assert ends, f"nobody is compared at epoch {epoch}"


def test_hyperband_has_the_brackets_of_the_paper() -> None:
    """Table 1 of Li et al. 2018 (R = 81, η = 3): bracket 4 of 81 trials from 1 epoch on, … bracket 0 of 5 in full."""
    found = [(number, size, epochs[0]) for number, size, epochs in brackets(1, 3, 81)]
    assert found == [(4, 81, 1), (3, 34, 3), (2, 15, 9), (1, 8, 27), (0, 5, 81)]


def table(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
    """A whole-number curve for each configuration, so that many values are equal."""
    return {"loss": float(random.Random(f"{params['model.x']}{epoch}").randint(0, 9))}


def halved(seed: int, trials: list[int], epochs: list[float], factor: int, params: dict[int, Any]) -> dict[int, float]:
    """The paper's inner loop, one bracket: the epoch at which each of its trials ends."""
    ends: dict[int, float] = {}
    for rung in epochs[:-1]:
        best = {t: min(table(params[t], epoch)["loss"] for epoch in range(1, int(rung) + 1)) for t in trials}
        order = sorted(trials, key=lambda t: (best[t], t))
        kept = order[: max(1, len(order) // factor)]
        ends |= {trial: rung for trial in order if trial not in kept}
        trials = kept
    return ends | dict.fromkeys(trials, epochs[-1])


@pytest.mark.slow
@settings(max_examples=examples(25), deadline=None)
@given(st.integers(2, 4), st.integers(4, 20), st.integers(1, 60), st.integers(1, 6), st.integers(0, 2**31))
def test_hyperband_is_the_papers_loop_whatever_the_workers(
    factor: int, max_epochs: int, trials: int, slots: int, seed: int
) -> None:
    described = spec(
        "random", {"name": "hyperband", "reduction_factor": factor}, seed=seed,
        trainer={"max_epochs": max_epochs}, budget={"trials": trials},
    )  # fmt: skip
    ran = simulate(described, curve=table, slots=slots, seed=seed)
    params = {number: trial.params for number, trial in ran.state.trials.items()}
    expected: dict[int, float] = {}
    while len(expected) < trials:
        for _, size, epochs in brackets(1, factor, max_epochs):
            members = list(range(len(expected), min(len(expected) + size, trials)))
            if members:
                expected |= halved(seed, members, epochs, factor, params)
    assert {number: trial.epoch for number, trial in ran.state.trials.items()} == expected


# Population based training


def population(scheduler: str = "pbt", **options: Any) -> SweepSpec:
    return spec(
        "random", {"name": scheduler, "interval_epochs": 2, **options},
        trainer={"max_epochs": 8}, budget={"trials": 8}, checkpoints={"keep_top": 1},
    )  # fmt: skip


def drifting(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
    return {"loss": abs(params["model.x"] - 0.3) + 0.1 * (params["model.kind"] != "b") + 1 / epoch}


def takeovers(ran: Simulated) -> list[Event]:
    return [event for event in ran.events if event.type == "trial.promoted" and "params" in event.fields]


@pytest.mark.parametrize("name", ["pbt", "pb2"])
@pytest.mark.parametrize("slots", [1, 3, 8])
def test_only_the_worst_take_over_and_only_from_the_best(name: str, slots: int) -> None:
    described = population(name)
    ran = simulate(described, curve=drifting, slots=slots, seed=slots)
    assert ran.state.count("finished") == 8
    assert len(takeovers(ran)) >= 3
    for event in takeovers(ran):
        before = SweepState(ran.events[: event.seq])
        rung, (donor, at) = event["why"]["rung"], event["donor"]
        came = [
            (t.reports[rung].metrics["loss"], t.number) for t in before.trials.values() if rung in t.reports
        ]  # fmt: skip
        order = [number for _, number in sorted(came)]
        quarter = math.ceil(len(order) / 4)
        assert event["trial"] in order[-quarter:]
        assert donor in order[:quarter]
        assert at in before.trials[donor].checkpoints
        assert described.space.contains(event["params"])
        changed = {k for k, v in event["params"].items() if before.trials[donor].params.get(k) != v}
        assert changed <= {"model.x", "model.only_a", "model.noise"}, "whole numbers and choices stay"
        assert changed


def test_what_may_change_is_asked_for_by_name() -> None:
    ran = simulate(population(mutate=["model.depth"], resample=0.0), curve=drifting, slots=2)
    assert takeovers(ran)
    for event in takeovers(ran):
        donor = SweepState(ran.events[: event.seq]).trials[event["donor"][0]].params
        assert {**event["params"], "model.depth": 0} == {**donor, "model.depth": 0}
        assert abs(event["params"]["model.depth"] - donor["model.depth"]) <= 1


@pytest.mark.slow
def test_a_trial_goes_on_from_the_donors_checkpoint_also_after_a_crash() -> None:
    """The donor trains on meanwhile, and its checkpoint stays until the other has one of its own."""
    for seed in range(30):
        ran = simulate(population(), curve=drifting, slots=3, seed=seed, faults=Faults(crash=0.05, lost=0.1, power=0.5))
        assert not ran.violations
        for taken in takeovers(ran):
            started = next(
                e for e in ran.events[taken.seq :] if e.type == "segment.started" and e["trial"] == taken["trial"]
            )
            assert started["origin"] == SweepState(ran.events[: taken.seq]).trials[taken["donor"][0]].checkpoints[
                taken["donor"][1]
            ].path  # fmt: skip


def test_the_winner_has_the_parameters_of_its_best_epoch() -> None:
    ran = simulate(population(), curve=drifting, slots=1)
    moved = next(t for t in ran.state.trials.values() if t.takeovers)
    first = moved.takeovers[0]
    old = [epoch for epoch, told in moved.reports.items() if told.segment < first.segment]
    new = [epoch for epoch, told in moved.reports.items() if told.segment >= first.segment]
    assert {str(moved.params_at(epoch)) for epoch in old} == {str(moved.suggested)}
    for epoch in new:
        assert moved.reports[epoch].metrics == drifting(moved.params_at(epoch), int(epoch))


@pytest.mark.slow
def test_pb2_finds_better_numbers_than_pbt() -> None:
    """What makes trials improve can be learnt from the intervals before: it is the distance of x from 0.8."""

    def improving(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        return {"loss": 10.0 - epoch * (1.0 - abs(params["model.x"] - 0.8))}

    def best(name: str) -> float:
        described = population(name, interval_epochs=1, mutate=["model.x"])
        ran = [simulate(described.model_copy(update={"seed": seed}), curve=improving) for seed in range(8)]
        return sum(
            min(t.metrics["loss"] for trial in r.state.trials.values() for t in trial.reports.values()) for r in ran
        )

    assert best("pb2") < best("pbt") - 0.3


@pytest.mark.parametrize("name", ["fifo", "asha", "hyperband", "median", "patience", "pbt", "pb2"])
def test_a_scheduler_rebuilt_from_events_decides_the_same(name: str) -> None:
    described = spec("random", name, trainer={"max_epochs": 9}, budget={"trials": 12})
    events = simulate(described, curve=drifting, slots=3, seed=1).events
    for cut in range(0, len(events), len(events) // 5):
        again = build_scheduler(described)
        for event in events[:cut]:
            again.observe(event)
        told = build_scheduler(described)
        for event, following in pairwise([*events[:cut], events[cut]]):
            told.observe(event)
            if event.type == "segment.reported":
                told.judge(event["trial"], event["epoch"])
            if following.type in ("trial.promoted", "trial.suggested"):
                told.promote(last=False)
        assert again.promote(last=False) == told.promote(last=False), "asking changes nothing"


# Ray Tune's, by import path


RAYS = {
    "asha": {
        "class_path": "ray.tune.schedulers.AsyncHyperBandScheduler",
        "init_args": {"max_t": 9, "grace_period": 1, "reduction_factor": 2},
    },
    "brackets": {"class_path": "ray.tune.schedulers.AsyncHyperBandScheduler", "init_args": {"max_t": 9, "brackets": 2}},
    "median": {
        "class_path": "ray.tune.schedulers.MedianStoppingRule",
        "init_args": {"time_attr": "training_iteration", "grace_period": 1, "min_samples_required": 2},
    },
    "median by time": {"class_path": "ray.tune.schedulers.MedianStoppingRule", "init_args": {"grace_period": 2.0}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(RAYS, slow=["brackets", "median", "median by time"]))
def test_a_scheduler_of_rays_is_rebuilt_by_replay(name: str) -> None:
    described = spec("random", RAYS[name], trainer={"max_epochs": 9}, budget={"trials": 12})
    stopped = 0
    for seed in range(6):
        faults = Faults(crash=0.02, lost=0.05) if seed else Faults()
        ran = simulate(described, curve=drifting, slots=3, seed=seed, faults=faults)
        assert not replay(described, ran.events)
        stopped += ran.state.count("stopped")
    assert stopped >= 6


def test_a_scheduler_of_rays_decides_as_under_ray() -> None:
    """Ray's own ASHA, told by hand of the same reports in the same order."""
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import AsyncHyperBandScheduler

    described = spec("random", RAYS["asha"], trainer={"max_epochs": 9}, budget={"trials": 30})
    ran = simulate(described, curve=drifting, slots=4, seed=3)
    rays = AsyncHyperBandScheduler(metric="loss", mode="min", **RAYS["asha"]["init_args"])  # type: ignore[arg-type]
    trials: dict[int, Any] = {}
    decided = {}
    for event in ran.events:
        if event.type == "trial.suggested":
            trials[event["trial"]] = Trial("unregistered", stub=True, trial_id=str(event["trial"]))
            rays.on_trial_add(None, trials[event["trial"]])  # type: ignore[arg-type]
        elif event.type == "segment.reported":
            result = {"training_iteration": event["epoch"], **event["metrics"]}
            decided[event["trial"], event["epoch"]] = rays.on_trial_result(None, trials[event["trial"]], result)  # type: ignore[arg-type]
    stopped = {(t.number, t.epoch) for t in ran.state.trials.values() if t.status == "stopped"}
    assert stopped == {key for key, answer in decided.items() if answer == "STOP"}
    assert stopped


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        ({"class_path": "ray.tune.schedulers.HyperBandScheduler"}, "cannot be rebuilt from a journal"),
        (
            {"class_path": "ray.tune.schedulers.PopulationBasedTraining",
             "init_args": {"time_attr": "training_iteration", "perturbation_interval": 1,
                           "hyperparam_mutations": {"x": [1, 2]}}},
            "cannot be rebuilt from a journal",
        ),
        ({"class_path": "ray.tune.schedulers.Nowhere"}, "cannot be imported"),
        ({"class_path": "collections.Counter"}, "is no TrialScheduler"),
        ({"class_path": "ray.tune.schedulers.MedianStoppingRule", "init_args": {"x": 1}}, "refuses its arguments"),
        ({"class_path": "ray.tune.schedulers.MedianStoppingRule", "init_args": {"metric": "a", "mode": "min"}},
         "has a metric or mode already"),
    ],
)  # fmt: skip
def test_a_scheduler_that_cannot_be_rebuilt_is_refused(scheduler: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RayTuneScheduler.preflight(RayTune(**scheduler), spec(scheduler=scheduler, trainer={"max_epochs": 100}))
