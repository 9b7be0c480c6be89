"""Several objectives: the Pareto front against brute force, the searchers for it, and a real sweep."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks import fronts
from orchestrator import Sweep
from orchestrator.errors import SpecError
from orchestrator.policies.schedulers.fifo import FIFO
from orchestrator.policies.searchers.sampler import OptunaSampler
from orchestrator.results.terminal_tables import ranking
from orchestrator.results.verify import check, replay
from orchestrator.results.why import why
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import Objective, SweepState
from orchestrator.sweep import launch
from orchestrator.testing import simulate
from tests.chaos.rankings import METRIC, history
from tests.support.page_blocks import blocks

ALSO = [{"metric": "cost", "mode": "min"}]
SEARCHERS: dict[str, Any] = {
    "default": None,
    "nsga2": {"name": "nsga2", "population": 8},
    "nsga3": {"name": "nsga3", "population": 4},
    "random": "random",
}


def described(searcher: Any = None, seed: int = 0, trials: int = 48, axes: int = 6, **fields: Any) -> SweepSpec:
    given = {
        "name": "several",
        "seed": seed,
        "objective": {"metric": "gain", "mode": "max", "also": ALSO},
        "model": "some.Model",
        "trainer": {"max_epochs": 2},
        "space": {f"model.x{axis}": {"uniform": [0.0, 1.0]} for axis in range(axes)},
        "searcher": searcher,
        "budget": {"trials": trials},
    }
    return from_mapping(given | fields)


def dtlz2(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
    """The better the later."""
    first, second = fronts.dtlz2(list(params.values()))
    late = 0.1 * (2 - epoch)
    return {"gain": -first - late, "cost": second + late}


def zdt1(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
    first, second = fronts.zdt1(list(params.values()))
    return {"gain": -first, "cost": second}


def brute_force(points: Mapping[int, Sequence[float]]) -> set[int]:
    def beaten(number: int) -> bool:
        mine = points[number]
        return any(
            all(a <= b for a, b in zip(other, mine, strict=True))
            and any(a < b for a, b in zip(other, mine, strict=True))
            for other in points.values()
        )

    return {number for number in points if not beaten(number)}


@pytest.mark.parametrize("goals", [1, 2, 3])
def test_the_front_is_that_of_brute_force(goals: int) -> None:
    """Over random histories with ties, values that are missing or not finite, failures and restarts."""
    sizes = set()
    for seed in range(300):
        state = SweepState(history(seed).events)
        if state.repeats["seeds"] > 1:
            continue
        rng = random.Random(seed)
        also = [{"metric": f"other{index}", "mode": rng.choice(("min", "max"))} for index in range(1, goals)]
        state.set_spec({**state.spec, "objective": {**state.spec["objective"], "also": also}})
        for trial in state.trials.values():
            for report in trial.reports.values():
                report.metrics.update({goal["metric"]: rng.choice((0, 1, 2, 3, math.nan, math.inf)) for goal in also})
        points = {}
        for number, trial in state.trials.items():
            best = state.objective.best(trial)
            if best and trial.status != "failed":
                metrics = trial.reports[best.progress].metrics
                signed = [(-1 if goal["mode"] == "max" else 1) * metrics[goal["metric"]] for goal in also]
                sign = -1 if state.objective.mode == "max" else 1
                points[number] = (sign * metrics[METRIC], *signed)
        points = {number: losses for number, losses in points.items() if all(map(math.isfinite, losses))}
        assert state.points() == points
        front = state.front()
        assert set(front) == brute_force(points), seed
        assert all(points[a] <= points[b] for a, b in pairwise(front))
        sizes.add(len(front))
    assert len(sizes) > 2


def test_the_default_for_several_is_a_searcher_for_several_and_no_early_end() -> None:
    spec = described()
    assert isinstance(spec.searcher, OptunaSampler)
    assert spec.searcher.class_path == "optuna.samplers.TPESampler"
    assert isinstance(spec.scheduler, FIFO)
    assert described(scheduler="asha").scheduler.name == "asha", "what is written stands"
    assert described(objective={"metric": "gain", "mode": "max"}).searcher.name == "density_ratio"
    in_python = Sweep(model="some.Model", objective={"metric": "gain", "mode": "max", "also": ALSO}).spec
    assert (in_python.searcher, in_python.scheduler) == (spec.searcher, spec.scheduler)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("name", SEARCHERS)
def test_every_searcher_for_several_is_replayed(name: str, slots: int) -> None:
    spec = described(SEARCHERS[name], trials=16)
    found = simulate(spec, curve=dtlz2, slots=slots)
    assert not found.violations + replay(spec, found.events)
    assert len(found.state.trials) == 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "curve", "corner", "least"),
    [("default", dtlz2, 2.2, 1.05), ("default", zdt1, 6, 1.1), ("nsga2", zdt1, 6, 1.1)],
)
def test_a_searcher_for_several_dominates_more_than_chance(name: str, curve: Any, corner: float, least: float) -> None:
    def median(searcher: Any) -> float:
        found = (simulate(described(searcher, seed, 80), curve=curve).state for seed in range(5))
        points = ([(losses[0], losses[1]) for losses in state.points().values()] for state in found)
        return statistics.median(fronts.hypervolume(each, (corner, corner)) for each in points)

    assert median(SEARCHERS[name]) > least * median("random")


@pytest.mark.slow
def test_both_ends_of_the_front_are_found() -> None:
    """A searcher that went by the first objective alone would leave the other end empty."""
    state = simulate(described(seed=1, trials=64), curve=dtlz2).state
    front = [state.points()[number] for number in state.front()]
    assert min(point[0] for point in front) < 0.5
    assert min(point[1] for point in front) < 0.5
    assert len(front) > 4


@pytest.mark.parametrize("searcher", ["density_ratio", "tpe", "bohb", "gp", "cmaes"])
def test_a_searcher_of_one_objective_is_refused(searcher: str) -> None:
    with pytest.raises(SpecError, match=f"searcher {searcher} supports one objective") as caught:
        described(searcher)
    assert "nsga2" in caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"objective": [{"metric": "gain", "mode": "max"}, *ALSO]}, "of several objectives one comes first"),
        ({"objective": {"metric": "gain", "mode": "max", "also": [{"metric": "gain", "mode": "min"}]}}, "of its own"),
        ({"objective": {"metric": "gain", "mode": "max", "also": [{"metric": "test_cost", "mode": "min"}]}}, "sealed"),
        ({"objective": {"metric": "gain", "mode": "max", "also": [{"metric": "cost"}]}}, "mode"),
        ({"repeats": 2}, "a Pareto front is of single trials"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        described(**fields)


def test_why_says_who_is_better() -> None:
    state = simulate(described(trials=24), curve=dtlz2).state
    front = state.front()
    outside = next(number for number in state.trials if number not in front)
    assert why(state, front[0])[-1] == f"It is one of the {len(front)} trials on the Pareto front, of 24 in all."
    told = why(state, outside)[-1]
    ahead = int(told.split("trial ")[1].split()[0])
    assert ahead in front
    assert "gain = " in told
    assert "cost = " in told


def test_a_point_is_of_one_epoch_and_one_without_a_value_is_not_on_the_front() -> None:
    """The checkpoint of a point is that of its values."""

    def curve(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        return {"gain": params["model.x0"] + epoch, "cost": math.nan if params["model.x0"] > 0.5 else 10.0 * epoch}

    state = simulate(described("random", trials=12, axes=1), curve=curve).state
    assert {number for number, trial in state.trials.items() if trial.params["model.x0"] <= 0.5} == set(state.points())
    assert {losses[1] for losses in state.points().values()} == {20.0}
    assert Objective.from_spec(state.spec).metrics == ["gain", "cost"]
    lost = next(number for number in state.trials if number not in state.points())
    assert "an objective has no finite value" in why(state, lost)[-1]


@pytest.mark.parametrize("slots", [1, 3])
def test_all_on_the_front_keep_the_checkpoint_of_their_point(slots: int) -> None:
    state = simulate(described(trials=40, checkpoints={"keep_top": 1}), curve=dtlz2, slots=slots).state
    front = state.front()
    assert len(front) > 3, "more than keep_top"
    held = {number for number, trial in state.trials.items() if trial.checkpoints}
    assert held == set(front)
    for number in front:
        best = state.objective.best(state.trials[number])
        assert best
        assert best.progress in state.trials[number].checkpoints


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    """The sweep file of docs/spec.md, made short."""
    text = next(block for block in blocks("docs/spec.md", "yaml") if "also:" in block)
    file = tmp_path / "digits.yaml"
    file.write_text(text)
    return file


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_the_example_of_the_documents_ends_with_a_front(spec_file: Path, tmp_path: Path) -> None:
    short = ["budget.trials=6", "trainer.max_epochs=2", "trainer.limit_train_batches=4", "name=digits"]
    found = Sweep.from_file(spec_file, short).launch(tmp_path, local=True)
    assert not check(found.run).violations
    table, front = found.trials, found.front
    assert len(table) == 6
    assert list(front["trial"]) == found.state.front()
    assert list(table["front"]) == [number in found.state.front() for number in table["trial"]]
    assert front["val_acc"].is_monotonic_decreasing
    assert front["val_loss"].is_monotonic_decreasing, "who gives up accuracy gets a lower loss for it"
    best = table.iloc[0]
    epochs = found.epochs.set_index(["trial", "epoch"])
    assert best["val_loss"] == epochs.loc[(best["trial"], best["epoch"]), "val_loss"], "of the same epoch"
    assert best["trial"] == found.best().trial


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_the_table_in_the_terminal_stars_the_front(spec_file: Path, tmp_path: Path) -> None:
    short = ["budget.trials=3", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "name=digits"]
    found = Sweep.from_file(spec_file, short).launch(tmp_path, local=True)
    console = Console(width=160, record=True, file=StringIO())
    console.print(ranking(found.rows, found.metric))
    text = console.export_text()
    assert "val_loss" in text.splitlines()[1]
    assert found.state.front()
    assert f"* on the Pareto front: {len(found.state.front())} of 3 trials" in text
    for number in range(3):
        assert (f"* {number}" in text) == (number in found.state.front())


@pytest.mark.slow
def test_an_objective_that_is_never_logged_is_named_before_the_start(
    spec_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_NO_PREFLIGHT")
    spec_file.write_text(spec_file.read_text().replace("val_loss", "latency"))
    with pytest.raises(SpecError, match="never logged 'latency'") as caught:
        Sweep.from_file(spec_file, ["name=digits"]).launch(tmp_path, local=True)
    assert caught.value.problems[0].line > 1
    assert not (tmp_path / "digits").exists()


def test_an_objective_that_the_source_leaves_open_is_missed_at_the_first_report(tmp_path: Path) -> None:
    given = from_mapping(
        {
            "name": "tiny",
            "objective": {"metric": "val_loss", "mode": "min", "also": [{"metric": "val_latency", "mode": "min"}]},
            "model": "tests.support.tiny.Computed",
            "data": "tests.support.tiny.TinyData",
            "trainer": {"max_epochs": 1},
            "budget": {"trials": 1},
        }
    )
    outcome = launch(given, tmp_path, local=True)
    assert outcome.exit_code != 0
    failure = outcome.state.trials[0].failures[-1]
    assert "never logged 'val_latency'" in failure.message
