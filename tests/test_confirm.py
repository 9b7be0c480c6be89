"""Finals: estimates against references, races in the simulator, and real ones through stops and extensions."""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import intervals
from orchestrator.engine import stop_requests
from orchestrator.errors import RunHeldError, SpecError, UsageError
from orchestrator.journal import Journal, read
from orchestrator.policies.finals import candidates, confirmation, finals
from orchestrator.policies.searchers.race import LEAST_SEEDS
from orchestrator.policies.winner_statistics import Estimate, estimates, spread
from orchestrator.results import Results, read_state, why
from orchestrator.results.verdict import sentences
from orchestrator.results.verify import check, replay
from orchestrator.results.winner import finals_of, winner
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import Finalists, SweepSpec, from_mapping
from orchestrator.sweep import Outcome, confirm, extend, launch, stop
from orchestrator.testing import Faults, Simulated, simulate
from tests.chaos.spread import spread as over_processes
from tests.support.small_sweeps import request
from tests.support.small_sweeps import spec as local_spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def known(found: Sequence[Estimate | None]) -> list[Estimate]:
    assert all(found)
    return [estimate for estimate in found if estimate]


def race(points: int = 3, trials: int = 30, spares: Sequence[float] = (), confidence: float = 0.95) -> SweepSpec:
    """Points x = 0, 1, 2, …; spares follow, so far behind."""
    return from_mapping(
        {
            "name": "race",
            "objective": {"metric": "score", "mode": "max"},
            "model": "nowhere.Never",
            "trainer": {"max_epochs": 2},
            "space": {"model.x": {"int": [0, 20]}},
            "searcher": {
                "name": "race",
                "points": [{"model.x": x} for x in range(points)],
                "spares": [{"point": {"model.x": points + n}, "behind": gap} for n, gap in enumerate(spares)],
                "confidence": confidence,
            },
            "budget": {"trials": trials},
        }
    )


def noisy(
    means: Mapping[int, float], noise: float, seed: int = 0
) -> Callable[[Mapping[str, Any], float], dict[str, float]]:
    def curve(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        draw = random.Random(f"{seed} {params['model.x']} {params.get('repeat', 0)}").gauss(0, noise)
        return {"score": means[params["model.x"]] + draw - 0.5 * (2 - epoch)}

    return curve


def trainings(ran: Simulated) -> dict[int, int]:
    found: dict[int, int] = {}
    for trial in ran.state.trials.values():
        found[trial.params["model.x"]] = found.get(trial.params["model.x"], 0) + 1
    return found


def test_probabilities_agree_with_draws_from_the_posterior() -> None:
    losses = [[1.0, 1.4, 0.9], [1.2, 1.3], [1.5, 0.8, 1.1, 1.25], [2.0]]
    rng, draws = np.random.default_rng(0), 400_000
    freedom = sum(len(each) - 1 for each in losses)
    deviation = spread(losses)
    assert deviation
    spreads = deviation * np.sqrt(freedom / rng.chisquare(freedom, draws))
    means = np.stack([np.mean(each) + spreads / math.sqrt(len(each)) * rng.standard_normal(draws) for each in losses])
    drawn = np.bincount(means.argmin(axis=0), minlength=4) / draws
    found = [estimate.probability for estimate in known(estimates(losses))]
    assert found == pytest.approx(drawn, abs=0.01)
    assert sum(found) == pytest.approx(1)


def test_one_configuration_has_students_interval() -> None:
    values = [0.3, 0.5, 0.45, 0.38]
    (found,) = known(estimates([values], 0.9))
    reach = stats.t.ppf(0.95, 3) * np.std(values, ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((np.mean(values) - reach, np.mean(values) + reach))
    assert found.probability == 1


def test_estimates_at_the_edges() -> None:
    assert estimates([]) == []
    assert estimates([[], [1.0]])[0] is None
    lone = known(estimates([[1.0], [2.0]]))
    assert [estimate.probability for estimate in lone] == [0.5, 0.5]
    assert all(math.isinf(estimate.high) for estimate in lone)
    same = known(estimates([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]))
    assert [estimate.probability for estimate in same] == [0.5, 0.5, 0.0]
    assert same[0].low == same[0].high == 1.0


def test_the_interval_of_a_chosen_one_reaches_further_towards_worse() -> None:
    alike = [[1.0, 1.2, 1.1]] * 5
    best, *others = known(estimates(alike))
    assert best.mean - best.low == pytest.approx(others[0].mean - others[0].low)
    assert best.high - best.mean > others[0].high - others[0].mean


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_interval_of_the_confirmed_winner_covers_the_truth() -> None:
    """1,000 whole sweeps from a known noise model; and the search's own number is the flattering one."""
    work = partial(one_sweep, name="as far apart as seeds")
    found = list(over_processes(work, list(range(1000)), 2))
    covered = sum(each.low <= each.truth <= each.high for each in found) / len(found)
    assert 0.85 <= covered <= 0.95
    bias = sum(each.mean - each.truth for each in found) / len(found)
    search = sum(each.searched - each.searched_truth for each in found) / len(found)
    assert search > 1.0
    assert bias < search / 2


def one_sweep(seed: int, name: str) -> intervals.Outcome:
    model = intervals.MODELS[name]
    return intervals.run(intervals.Case(seed, model["effect"], model["tilt"]), Finalists())


def test_a_race_is_over_when_it_is_clear() -> None:
    for slots in (1, 3):
        ran = simulate(race(), curve=noisy({0: 1.0, 1: 0.0, 2: -1.0}, 0.05), slots=slots)
        assert sum(trainings(ran).values()) < 9 + slots, "what runs beside the last of the nine began before it ended"
        assert ran.state.configurations()[0].first == 0
        assert not replay(race(), ran.events)


def test_a_race_that_stays_unclear_spends_its_budget_on_those_that_may_win() -> None:
    ran = simulate(race(trials=40, confidence=0.999), curve=noisy({0: 1.0, 1: 1.0, 2: 0.0}, 0.2), slots=2)
    counts = trainings(ran)
    assert sum(counts.values()) == 40
    assert counts[2] <= 5 < 15 <= min(counts[0], counts[1])
    assert not replay(race(trials=40, confidence=0.999), ran.events)


def test_near_ties_join_and_others_do_not() -> None:
    described = race(points=2, trials=20, spares=[0.01, 5.0])
    ran = simulate(described, curve=noisy({0: 1.0, 1: 1.0, 2: 3.0, 3: 9.0}, 0.2))
    assert set(trainings(ran)) == {0, 1, 2}
    assert ran.state.configurations()[0].first == next(
        t.number for t in ran.state.trials.values() if t.params["model.x"] == 2
    )
    assert not replay(described, ran.events)


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 3])
def test_races_go_on_through_faults_as_if_nothing_had_happened(slots: int) -> None:
    described = race(trials=12, spares=[0.01], confidence=0.9)
    curve = noisy({0: 1.0, 1: 0.9, 2: 0.95, 3: 1.0}, 0.1)
    unbroken = simulate(described, curve=curve).state
    for seed in range(60):
        ran = simulate(described, curve=curve, slots=slots, seed=seed, faults=Faults.mixed(random.Random(seed)))
        assert not ran.violations + replay(described, ran.events)
        assert len(ran.state.trials) <= 12
        stopped = any(trial.status == "failed" or trial.stopped_by for trial in ran.state.trials.values())
        if slots == 1 and not stopped:
            assert [t.params for t in ran.state.trials.values()] == [t.params for t in unbroken.trials.values()]
        first = ran.state.winner()
        assert first
        best = ran.state.objective.best(first)
        assert best
        assert best.progress in first.checkpoints


def test_a_near_tie_joins_although_a_finalist_fails() -> None:
    def curve(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        return {"score": math.nan if params["model.x"] == 0 else noisy({1: 1.0, 2: 1.1}, 0.1)(params, epoch)["score"]}

    described = race(points=2, trials=12, spares=[0.0], confidence=0.999)
    ran = simulate(described, curve=curve)
    assert trainings(ran)[2] >= LEAST_SEEDS
    assert not replay(described, ran.events)


def test_a_point_that_mostly_fails_is_out() -> None:
    def curve(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        return {"score": math.nan if params["model.x"] == 0 else noisy({1: 1.0, 2: 1.0}, 0.1)(params, epoch)["score"]}

    ran = simulate(race(trials=20, confidence=0.999), curve=curve)
    counts = trainings(ran)
    assert counts[0] <= LEAST_SEEDS
    assert ran.state.configurations()[0].first != 0
    assert not replay(race(trials=20, confidence=0.999), ran.events)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scheduler": "asha"}, "come to their end"),
        ({"repeats": 3, "budget": {"trials": 30}}, "decides how often each point trains"),
        ({"searcher": {"name": "race", "points": [{}]}}, "leaves model.x open"),
        ({"searcher": {"name": "race", "points": [{"model.x": 99}]}}, "outside its domain"),
        ({"searcher": {"name": "race", "points": []}}, "at least 1"),
    ],
)
def test_a_race_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    written = race().model_dump(mode="json")
    with pytest.raises(SpecError, match=said):
        from_mapping({**written, **change})


def test_finals_take_the_best_and_what_is_close_behind_once_each() -> None:
    searched = simulate(
        from_mapping({**race().model_dump(mode="json"), "searcher": "random", "budget": {"trials": 40}}),
        curve=noisy({x: float(x) for x in range(21)}, 0.0),
    ).state
    ranked = [found.params["model.x"] for found in candidates(searched)]
    assert ranked == sorted(set(ranked), reverse=True)
    described = finals(searched, Finalists(top=3, trials=15), 1)
    searcher: Any = described.searcher
    assert [point["model.x"] for point in searcher.points] == ranked[:3]
    assert [spare.behind for spare in searcher.spares] == [ranked[2] - x for x in ranked[3:5]]
    assert described.seed != finals(searched, Finalists(), 2).seed != searched.spec["seed"]


def test_what_the_finals_came_to_is_what_their_trials_say() -> None:
    for mode, sign in (("max", 1), ("min", -1)):
        written = race().model_dump(mode="json") | {"objective": {"metric": "score", "mode": mode}}
        search = from_mapping({**written, "searcher": "random", "budget": {"trials": 20}})
        searched = simulate(search, curve=noisy(dict.fromkeys(range(21), 0.0), 1.0, seed=1)).state
        raced = simulate(
            finals(searched, Finalists(), 1), curve=noisy(dict.fromkeys(range(21), 0.0), 1.0, seed=2)
        ).state
        found = confirmation(searched, raced)
        for row in found["table"]:
            values = [raced.objective.best(raced.trials[n]).value for n in row["trials"]]  # type: ignore[union-attr]
            assert row["values"] == values
            assert row["mean"] == pytest.approx(np.mean(values))
            assert row["low"] < row["mean"] < row["high"]
        leader = next(row for row in found["table"] if row["configuration"] == found["first"])
        assert found["optimism"] == pytest.approx(sign * (leader["searched"] - leader["mean"]))
        assert found["winner"]["value"] == sign * max(sign * value for value in found["table"][0]["values"])
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert len(sentences(found, "score")) == 2


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return launch(local_spec(budget={"trials": 4}), tmp_path_factory.mktemp("runs"), local=True)


def copied(swept: Outcome, tmp_path: Path) -> tuple[str, Path]:
    import shutil

    shutil.copytree(swept.run.root, tmp_path / "runs" / swept.run.name)
    return swept.run.name, tmp_path / "runs"


def test_the_winner_is_confirmed_under_fresh_seeds(swept: Outcome, tmp_path: Path) -> None:
    name, runs = copied(swept, tmp_path)
    searched = Results(name, runs).best()
    outcome = confirm(name, runs, finalists=Finalists(top=2, trials=8), local=True)
    assert outcome.exit_code == 0
    found = Results(name, runs)
    told = found.state.confirmation
    assert told
    assert not check(found.run).violations + check(outcome.run).violations
    row = told["table"][0]
    params = found.state.trials[row["configuration"]].params
    assert all(outcome.state.trials[number].params == params for number in row["trials"])
    seeds = {outcome.state.created["seed"], found.state.created["seed"]}
    assert len(seeds) == 2
    won = winner(found.run, found.state)
    best = found.best()
    assert best.confirmed
    assert not searched.confirmed
    assert (best.params, best.value) == (params, won.best.value)
    assert best.checkpoint == won.run.resolve(won.checkpoint.path)
    assert best.checkpoint.is_file()
    assert best.value == min(row["values"])
    assert "In the finals" in why(found.state, row["configuration"])[-1]


@pytest.mark.slow
def test_asked_again_nothing_is_trained_and_with_more_trainings_it_goes_on(swept: Outcome, tmp_path: Path) -> None:
    name, runs = copied(swept, tmp_path)
    first = confirm(name, runs, finalists=Finalists(top=2, trials=6, confidence=0.999), local=True)
    assert len(first.state.trials) == 6
    records = len(list(read(run_at(name, runs).journal)))
    again = confirm(name, runs, finalists=Finalists(top=2, trials=6, confidence=0.999), local=True)
    assert len(again.state.trials) == 6
    assert len(list(read(run_at(name, runs).journal))) == records
    more = confirm(name, runs, finalists=Finalists(top=2, trials=8, confidence=0.999), local=True)
    assert len(more.state.trials) == 8
    told = read_state(run_at(name, runs)).confirmation
    assert told
    assert sum(len(row["values"]) for row in told["table"]) == 8


@pytest.mark.slow
def test_finals_that_were_stopped_go_on_to_the_same_end(
    swept: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    name, runs = copied(swept, tmp_path / "one")
    wanted = Finalists(top=2, trials=7)
    unbroken = confirm(name, runs, finalists=wanted, local=True)
    expected = read_state(run_at(name, runs)).confirmation
    name, runs = copied(swept, tmp_path / "two")
    run = run_at(name, runs)
    race = finals_of(run, read_state(run))

    def stop(state: Any, event: Any) -> None:
        if event.type == "segment.reported" and event["trial"] == 2:
            request(race)

    stopped = confirm(name, runs, finalists=wanted, local=True, observer=stop)
    assert stopped.state.status == "paused"
    assert read_state(run).confirmation is None
    resumed = confirm(name, runs, finalists=wanted, local=True)
    assert resumed.run == race
    found = read_state(run).confirmation
    assert found
    assert expected
    assert found["table"] == expected["table"]
    assert len(resumed.state.trials) == len(unbroken.state.trials)


@pytest.mark.slow
def test_a_confirmation_that_the_finals_do_not_say_is_found(swept: Outcome, tmp_path: Path) -> None:
    name, runs = copied(swept, tmp_path)
    confirm(name, runs, finalists=Finalists(top=2, trials=6), local=True)
    run = run_at(name, runs)
    assert not check(run).violations
    told = read_state(run).confirmation
    assert told
    assert len(Results(name, runs).finalists) == len(told["table"])
    journal = Journal.open(run.journal)
    journal.append("winner.confirmed", **{**told, "optimism": told["optimism"] + 0.01})
    journal.close()
    (violation,) = check(run).violations
    assert "but the finals yield" in violation


def test_finals_are_stopped_by_the_name_of_the_search(
    swept: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    name, runs = copied(swept, tmp_path)
    asked: list[threading.Thread] = []

    def ask(state: Any, event: Any) -> None:
        if event.type == "segment.reported":
            asked.append(threading.Thread(target=stop, args=(name, runs)))
            asked[-1].start()
            race = finals_of(swept.run, read_state(swept.run))
            while not RunDirectory(runs / name / race.name).stop_request().exists():
                time.sleep(0.01)

    outcome = confirm(name, runs, finalists=Finalists(top=2, trials=6), local=True, observer=ask)
    for thread in asked:
        thread.join(30)
        assert not thread.is_alive()
    assert outcome.state.status == "paused"
    with pytest.raises(UsageError, match="no process runs"):
        stop(name, runs)


@pytest.mark.parametrize("left", [b"", b'{"seq":0,"lease":1,"type":"sweep.crea'], ids=["nothing", "a torn record"])
def test_finals_whose_launch_was_cut_off_are_launched_anew(left: bytes, swept: Outcome, tmp_path: Path) -> None:
    name, runs = copied(swept, tmp_path)
    run = run_at(name, runs)
    race = finals_of(run, read_state(run))
    journal = Journal.open(run.journal)
    journal.append("finals.begun", number=1, folder=race.name)
    journal.close()
    race.root.mkdir()
    Path(race.journal).write_bytes(left)
    assert confirm(name, runs, finalists=Finalists(top=1, trials=3), local=True).run == race
    assert read_state(run).confirmation


@pytest.mark.slow
def test_a_search_that_goes_on_has_finals_of_its_own(swept: Outcome, tmp_path: Path) -> None:
    name, runs = copied(swept, tmp_path)
    run = run_at(name, runs)
    first = confirm(name, runs, finalists=Finalists(top=1, trials=3), local=True)
    extend(name, runs, trials=2, local=True)
    state = read_state(run)
    assert state.confirmation is None
    assert not Results(name, runs).best().confirmed
    second = confirm(name, runs, finalists=Finalists(top=1, trials=3), local=True)
    assert second.run != first.run
    assert second.state.created["seed"] != first.state.created["seed"]
    assert not check(run).violations


def test_what_cannot_be_confirmed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    runs = tmp_path / "runs"

    def stop(state: Any, event: Any) -> None:
        if event.type == "segment.reported":
            request(run_at("half", runs))

    launch(local_spec(name="half"), runs, local=True, observer=stop)
    with pytest.raises(UsageError, match="has not ended"):
        confirm("half", runs, local=True)
    launch(local_spec(name="hopeless",
                      model={"class_path": "tests.support.tiny.Tiny", "init_args": {"learning_rate": 1e30}},
                      space={}, budget={"trials": 1}), runs, local=True)  # fmt: skip
    with pytest.raises(UsageError, match="nothing to confirm"):
        confirm("hopeless", runs, local=True)


def test_a_search_that_runs_is_not_confirmed(swept: Outcome, tmp_path: Path) -> None:
    name, runs = copied(swept, tmp_path)
    journal = Journal.open(run_at(name, runs).journal)
    try:
        with pytest.raises(RunHeldError):
            confirm(name, runs, finalists=Finalists(top=1, trials=3), local=True)
    finally:
        journal.close()


@pytest.mark.slow
def test_the_spec_asks_for_finals_at_the_end(tmp_path: Path) -> None:
    from orchestrator import Sweep

    sweep = Sweep(
        model="tests.support.tiny.Tiny", data="tests.support.tiny.TinyData",
        objective=("val_loss", "min"), name="asked",
        trainer={"max_epochs": 2}, space={"model.learning_rate": {"log_uniform": [1e-3, 0.5]}}, budget=3,
        finalists={"top": 1, "trials": 3},
    )  # fmt: skip
    found = sweep.launch(tmp_path / "runs", local=True)
    assert found.state.confirmation
    assert found.best().confirmed
    assert sweep.best().confirmed
