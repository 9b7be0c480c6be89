"""Searchers over Optuna's samplers and our own TPE: replayed, held to references, and better than chance."""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights

from orchestrator.errors import SpecError
from orchestrator.policies import build_searcher, foreign_searcher
from orchestrator.policies.density_search import HISTORY, thinned
from orchestrator.policies.tpe_density import Axis, Mixture, Table, recency
from orchestrator.results.verify import replay
from orchestrator.spec import from_mapping
from tests.support.event_log import SPACE, Log, spec, sweep
from tests.support.markers import sampled
from tests.support.search_quality import best

NSGA = {
    "class_path": "optuna.samplers.NSGAIISampler",
    "init_args": {"population_size": 4, "crossover": {"class_path": "optuna.samplers.nsgaii.UniformCrossover"}},
}
SEARCHERS: dict[str, Any] = {
    "sobol": "sobol",
    "cmaes": "cmaes",
    "gp": {"name": "gp", "startup_trials": 3},
    "try first": {"name": "cmaes", "try_first": [{"model.x": 1}, {"model.kind": "a", "model.only_a": 0.01}]},
    "nsga2": NSGA,
    "their tpe": "optuna.samplers.TPESampler",
    "qmc": {"class_path": "optuna.samplers.QMCSampler", "init_args": {"scramble": True}},
}


@pytest.mark.parametrize("in_flight", sampled([1, 4], slow=[1]))
@pytest.mark.parametrize("name", sampled(SEARCHERS, slow=["gp"]))
def test_a_searcher_rebuilt_from_events_suggests_the_same(name: str, in_flight: int) -> None:
    described, log = spec(SEARCHERS[name]), Log()
    trials, every = (9, 4) if name == "gp" else (26, 3)
    for number, params in sweep(log, build_searcher(described), trials, in_flight):
        assert params is not None
        assert described.space.contains(params), params
        if number % every == 0:
            again = build_searcher(described)
            for event in log.events:
                again.observe(event)
            assert again.suggest(number) == params, number
            assert again.suggest(number) == params, "asking changes nothing"


def test_a_question_without_an_answer_in_the_journal_leaves_no_trace() -> None:
    """Whoever asks for trial n before the others have ended gets what the journal will hold only by chance."""
    described, log = spec("cmaes"), Log()
    asked, quiet = build_searcher(described), build_searcher(described)
    for number, params in sweep(log, asked, 12, 3):
        assert params == asked.suggest(number)
    for event in log.events:
        if event.type != "trial.suggested":
            quiet.suggest(len(log.events))
        quiet.observe(event)
    assert quiet.suggest(12) == asked.suggest(12)


@pytest.mark.parametrize(
    ("searcher", "trials", "seeds"),
    [
        ("tpe", 100, 5),
        ("cmaes", 100, 5),
        pytest.param({"name": "gp", "startup_trials": 6}, 14, 1, marks=pytest.mark.slow),
    ],
)
def test_a_smooth_optimum_is_found_sooner_than_by_chance(searcher: Any, trials: int, seeds: int) -> None:
    found = statistics.median(best(searcher, seed, trials) for seed in range(seeds))
    chance = statistics.median(best("random", seed, trials) for seed in range(9))
    assert found < chance / 3, (found, chance)


def test_sobol_points_fall_into_every_part_of_every_range() -> None:
    described = spec("sobol", space={"model.x": {"uniform": [0, 1]}, "model.y": {"choice": [0, 1, 2, 3]}})
    points = [build_searcher(described).suggest(number) or {} for number in range(16)]
    assert sorted(int(16 * point["model.x"]) for point in points) == list(range(16))
    assert sorted(point["model.y"] for point in points) == sorted([0, 1, 2, 3] * 4)
    other = build_searcher(described.model_copy(update={"seed": 6})).suggest(0)
    assert other != points[0]


DISTRIBUTIONS = {
    "rate": FloatDistribution(1e-5, 0.1, log=True),
    "share": FloatDistribution(0, 0.5),
    "width": IntDistribution(8, 512, log=True),
    "kind": CategoricalDistribution((0, 1, 2)),
    "step": FloatDistribution(0, 2, step=0.25),
    "count": IntDistribution(1, 99, step=2),
}


@pytest.mark.parametrize(("trials", "axes"), [(0, 6), (1, 6), (2, 6), (5, 6), (9, 6), (30, 2), (300, 2)])
def test_densities_are_those_of_optuna(trials: int, axes: int) -> None:
    """No two trials are alike on any axis: there Optuna's widths would hang on the order of an unstable sort."""
    rng = np.random.RandomState(trials)

    def drawn(count: int) -> Any:
        rates, shares = 10 ** rng.uniform(-5, -1, count), rng.uniform(0, 0.5, count)
        widths, kinds = 8 + rng.permutation(505)[:count], rng.randint(0, 3, count)
        steps, counts = rng.permutation(9)[: count % 10] * 0.25, 1 + 2 * rng.permutation(50)[:count]
        columns = [rates, shares, widths, kinds, steps, counts][:axes]
        return np.stack([np.resize(column, count) for column in columns], axis=1).astype(float)

    known, asked = drawn(trials), drawn(49)
    chosen = dict(list(DISTRIBUTIONS.items())[:axes])
    theirs = _ParzenEstimator(
        {name: known[:, axis] for axis, name in enumerate(chosen)}, chosen,
        _ParzenEstimatorParameters(1.0, True, False, default_weights, True),
    ).log_pdf({name: asked[:, axis] for axis, name in enumerate(chosen)})  # fmt: skip
    table = Table(axes)
    for number, point in enumerate(known.tolist()):
        table.put(number, point)
    ours = table.mixture([Axis.of(d) for d in chosen.values()], list(range(axes)), [(n, 1) for n in range(trials)])
    assert ours.log_density(asked) == pytest.approx(theirs, abs=1e-6)
    assert recency(np.arange(trials), trials) == pytest.approx(default_weights(trials))


def test_draws_have_the_density_that_they_are_said_to_have() -> None:
    axes = [Axis(0.0, 1.0), Axis(choices=3), Axis(1.0, 5.0, step=1.0)]
    points = np.array([[0.2, 0, 2], [0.7, 2, 5], [0.75, 2, 5]], dtype=float)
    mixture = Mixture(axes, points, np.ones(3))
    drawn = mixture.sample(np.random.RandomState(0).rand(40_000, 4))
    assert set(drawn[:, 2]) == {1.0, 2.0, 3.0, 4.0, 5.0}
    for kind in range(3):
        for count in range(1, 6):
            grid = np.stack([np.linspace(0.0005, 0.9995, 1000), np.full(1000, kind), np.full(1000, count)], axis=1)
            expected = np.exp(mixture.log_density(grid)).mean()
            share = ((drawn[:, 1] == kind) & (drawn[:, 2] == count)).mean()
            assert share == pytest.approx(expected, abs=0.015)


def test_a_thinned_history_stands_for_the_whole() -> None:
    assert thinned([3, 1, 2], 3) == [(3, 1), (1, 1), (2, 1)]
    shares = thinned(list(range(1000)), 100)
    assert len(shares) == 100
    assert sum(count for _, count in shares) == 1000
    assert shares[-50:] == [(number, 1) for number in range(950, 1000)]


@pytest.mark.slow
def test_ten_thousand_trials_do_not_make_tpe_slow() -> None:
    """Some 1.5 ms on a quiet core; before the history was bounded it was over a second."""
    described, log = spec("tpe", space={name: SPACE[name] for name in ("model.x", "model.kind", "model.depth")}), Log()
    searcher, random = build_searcher(described), build_searcher(spec("random"))
    for number in range(10_000):
        params = {name: (random.suggest(number) or {})[name] for name in described.space}
        searcher.observe(log.add("trial.suggested", trial=number, params=params, by="tpe"))
        metrics = {"loss": float(number * 7919 % 1013)}
        searcher.observe(log.add("segment.reported", trial=number, segment=0, epoch=1, metrics=metrics))
        searcher.observe(log.add("trial.finished", trial=number, segment=0, epoch=1))
    costs = []
    for number in range(10_000, 10_020):
        start = time.thread_time()
        searcher.suggest(number)
        costs.append(time.thread_time() - start)
    assert statistics.median(costs) < 0.02
    assert HISTORY <= 200


def test_parameters_that_had_no_value_are_avoided() -> None:
    """Half of the space diverges at once, or does not fit the memory: both teach."""
    for outcome in (
        {"type": "trial.stopped", "rule": "not_finite"},
        {"type": "trial.failed", "reason": "infeasible: x"},
    ):
        described, log = spec("tpe", space={"model.x": {"uniform": [0.0, 1.0]}}), Log()
        searcher, drawn = build_searcher(described), []
        for number in range(60):
            params = searcher.suggest(number) or {}
            drawn.append(params["model.x"])
            searcher.observe(log.add("trial.suggested", trial=number, params=params, by="tpe"))
            if params["model.x"] > 0.5:
                searcher.observe(log.add(trial=number, segment=0, epoch=0, **outcome))
            else:
                metrics = {"loss": 1.0 + params["model.x"] % 0.1}
                searcher.observe(log.add("segment.reported", trial=number, segment=0, epoch=1, metrics=metrics))
                searcher.observe(log.add("trial.finished", trial=number, segment=0, epoch=1))
        assert sum(value > 0.5 for value in drawn[20:]) < 8, outcome


def test_points_are_tried_first_and_completed_by_the_random_draw() -> None:
    points = [{"model.x": 1, "model.kind": "b"}, {"model.kind": "a", "model.only_a": 0.05, "model.noise": 0.3}, {}]
    described = spec({"name": "tpe", "try_first": points})
    searcher, plain = build_searcher(described), build_searcher(spec("random"))
    first, second, third = (searcher.suggest(number) or {} for number in range(3))
    drawn = plain.suggest(0) or {}
    assert (first["model.x"], first["model.kind"]) == (1.0, "b")
    assert isinstance(first["model.x"], float)
    assert first["model.depth"] == drawn["model.depth"]
    assert (second["model.only_a"], second["model.noise"]) == (0.05, 0.3)
    assert third == plain.suggest(2)
    assert [searcher.by(number) for number in range(4)] == ["try_first"] * 3 + ["tpe"]
    assert all(described.space.contains(params) for params in (first, second, third))


def test_a_class_that_is_not_optunas_is_not_imported_to_read_a_journal() -> None:
    described = spec({"class_path": "antigravity.Sampler", "init_args": {"a": 1}})
    nested = spec({"class_path": NSGA["class_path"], "init_args": {"crossover": {"class_path": "antigravity.Cross"}}})
    assert foreign_searcher(described) == "antigravity.Sampler"
    assert foreign_searcher(nested) == NSGA["class_path"]
    assert (foreign_searcher(spec(NSGA)), foreign_searcher(spec("tpe"))) == ("", "")
    log = Log()
    log.add("sweep.created", format=1, spec=described.model_dump(mode="json"), seed=5, versions={})
    log.add("sweep.launched", engine="x", slots=1, host="h", pid=1)
    log.add("trial.suggested", trial=0, params={"model.x": 0.5}, by="Sampler")
    assert replay(described, log.events) == []
    build_searcher(described)
    assert "antigravity" not in sys.modules


def test_a_sampler_is_refused_before_anything_is_made_of_it() -> None:
    with pytest.raises(SpecError, match="own `seed` is passed to the sampler"):
        from_mapping({**BASE, "searcher": {"class_path": "optuna.samplers.CmaEsSampler", "init_args": {"seed": 3}}})
    for path, said in (("optuna.storages.InMemoryStorage", "not a BaseSampler"), ("optuna.samplers.Nope", "imported")):
        with pytest.raises(Exception, match=said):
            build_searcher(spec(path)).suggest(0)


BASE = {"name": "a", "objective": {"metric": "loss", "mode": "min"}, "model": "some.Model", "space": SPACE}
