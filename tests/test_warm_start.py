"""Warm start: earlier trials in this space's terms, told to the searcher as its own would be, and on record."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import cli
from orchestrator.engine.simulator import simulate
from orchestrator.errors import UsageError
from orchestrator.journal import Event, encode, read
from orchestrator.policies import build_searcher
from orchestrator.policies.searcher import searcher_class
from orchestrator.policies.warm_start import placed, warmth
from orchestrator.results.run_state import find
from orchestrator.results.verify import check, replay
from orchestrator.space import Space
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState
from orchestrator.sweep import launch, resume
from tests.support.budget_specs import described
from tests.support.event_log import SPACE as CONDITIONAL
from tests.support.event_log import Log
from tests.support.markers import examples
from tests.support.small_sweeps import spec as tiny

LEARNERS: dict[str, Any] = {
    "tpe": {"name": "tpe", "startup_trials": 6},
    "gp": {"name": "gp", "startup_trials": 6},
    "parzen": {"name": "parzen", "startup_trials": 6},
    "cmaes": "cmaes",
    "TPESampler": {"class_path": "optuna.samplers.TPESampler", "init_args": {"n_startup_trials": 6}},
}
EARLIER = described({"trials": 20}, searcher="random", seed=11)


def earlier(spec: SweepSpec = EARLIER) -> SweepState:
    return simulate(spec).state


def as_its_own(events: list[Event], warm: dict[str, Any]) -> list[Event]:
    """What the searcher would have seen had the earlier trials been the sweep's own first ones."""
    log = Log()
    for number, trial in enumerate(warm["trials"]):
        log.add("trial.suggested", trial=number, params=trial["params"], by="random")
        metrics = {warm["metric"]: trial["value"]}
        log.add("segment.reported", trial=number, segment=0, epoch=trial["epochs"], metrics=metrics)
        log.add(f"trial.{trial['status']}", trial=number, segment=0, epoch=trial["epochs"], rule="", why={})
    return log.events


@pytest.mark.parametrize("name", ["tpe", "gp", "parzen"])
def test_an_earlier_trial_counts_as_one_of_its_own(name: str) -> None:
    """The same model as of the same history; only the trial's number, which seeds the draw, is another."""
    spec = described({"trials": 5}, searcher=LEARNERS[name])
    warm = warmth(spec, [("before", earlier())])
    warmed, own = (searcher_class(name).build(spec.searcher, spec) for _ in range(2))
    warmed.observe(Log().add("sweep.warmed", **warm))
    for event in as_its_own([], warm):
        own.observe(event)
    inner: Any = warmed
    shifted = len(warm["trials"])
    theirs = own.suggest(shifted)
    assert theirs is not None
    assert spec.space.contains(inner.suggest(0))
    if name == "tpe":
        for found, expected in zip(inner._split(), own._split(), strict=True):  # type: ignore[attr-defined]
            assert [(n + shifted, share) for n, share in found] == expected
    elif name == "parzen":
        mine: Any = own
        assert [number + shifted for number in inner._good()] == mine._good()
        assert inner._model._all.tolist() == mine._model._all.tolist()
    else:
        assert [t.value for t in inner._visible_trials()] == [t.value for t in own._visible_trials()]  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_warm_start_finds_sooner_what_is_good(name: str) -> None:
    """The median of the first six trials over several seeds, against a cold start."""
    source = earlier()
    firsts: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(3 if name == "gp" else 8):
        spec = described({"trials": 6}, searcher=LEARNERS[name], seed=seed)
        warm = warmth(spec, [("before", source)])
        for started in (True, False):
            state = simulate(spec, warm=warm if started else None).state
            firsts[started] += [best.value for t in state.trials.values() if (best := state.objective.best(t))]
    assert median(firsts[True]) > median(firsts[False]) + 0.03


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_what_is_said_stays_and_what_is_open_is_drawn(seed: int, partly: bool) -> None:
    space, rng = Space(CONDITIONAL), random.Random(seed)
    said = space.sample(rng)
    if partly:
        said = {name: value for name, value in said.items() if rng.random() < 0.5} | {"model.other": 3}
    if rng.random() < 0.3:
        said["model.x"] = 7.5
    params, drawn = placed(space, said, random.Random(1))
    assert space.contains(params)
    for name, value in params.items():
        inside = name in said and space[name].contains(said[name])
        assert (name in drawn) == (not inside)
        if inside:
            assert value == said[name]
    assert placed(space, said, random.Random(1)) == (params, drawn)


def test_an_open_parameter_teaches_nothing() -> None:
    """A sweep over the width alone says where the width is good; the rate stays as spread as random search has it."""
    narrow = earlier(described({"trials": 40}, searcher="random", space={"model.width": {"int": [1, 64]}}))
    spec = described({"trials": 1}, searcher={"name": "tpe", "startup_trials": 5}, seed=2)
    searcher = build_searcher(spec)
    warm = warmth(spec, [("narrow", narrow)])
    assert all(trial["drawn"] == ["model.rate"] for trial in warm["trials"])
    searcher.observe(Log().add("sweep.warmed", **warm))
    drawn = [searcher.suggest(number) or {} for number in range(60)]
    low = sum(params["model.rate"] < 10**-2.5 for params in drawn)
    assert 12 < low < 48


def test_names_that_are_written_otherwise_are_the_same() -> None:
    space = {"model.init_args.width": {"int": [1, 64]}, "model.rate": {"log_uniform": [1e-4, 1e-1]}}
    warm = warmth(described({"trials": 3}, searcher="tpe"), [("a", earlier(described({"trials": 6}, space=space)))])
    assert not any(trial["drawn"] for trial in warm["trials"])


def test_trials_that_did_not_end_are_not_taken_and_failed_ones_neither() -> None:
    state = earlier()
    state.trials[3].status, state.trials[4].status, state.trials[5].status = "failed", "interrupted", "running"
    taken = {trial["trial"] for trial in warmth(described({}, searcher="tpe"), [("a", state)])["trials"]}
    assert taken == set(range(20)) - {3, 4, 5}


@pytest.mark.parametrize(
    ("fields", "source", "says"),
    [
        ({"searcher": "random"}, EARLIER, "uses no results"),
        ({"searcher": "tpe", "objective": {"metric": "val_loss", "mode": "max"}}, EARLIER, "was judged by val_acc"),
        ({"searcher": "tpe", "objective": {"metric": "val_acc", "mode": "min"}}, EARLIER, r"not by val_acc \(min"),
        ({"searcher": "tpe", "space": {"model.depth": {"int": [1, 3]}}}, EARLIER, "has a parameter of this space"),
        ({"searcher": "tpe", "space": {"model.width": {"int": [900, 901]}}}, EARLIER, "has a parameter of this space"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused(fields: dict[str, Any], source: SweepSpec, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        warmth(described({"trials": 3}, **fields), [("before", earlier(source))])
    assert caught.value.hint


def test_a_second_argument_is_refused_where_nothing_is_warmed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", "launch", "quickstart", "cifar10"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "unexpected argument 'cifar10'" in capsys.readouterr().err


def changed(events: list[Event], **fields: Any) -> list[Event]:
    return [replace(e, fields={**e.fields, **fields}) if e.type == "sweep.warmed" else e for e in events]


@pytest.mark.slow
def test_verify_derives_the_suggestions_from_what_was_taken() -> None:
    spec = described({"trials": 8}, searcher={"name": "tpe", "startup_trials": 4})
    warm = warmth(spec, [("before", earlier())])
    events = simulate(spec, warm=warm).events
    assert replay(spec, events) == []
    trials = [{**trial, "value": -trial["value"]} for trial in warm["trials"]]
    assert any("tpe suggests" in sentence for sentence in replay(spec, changed(events, trials=trials)))
    outside = [{**warm["trials"][0], "params": {"model.width": 999}}]
    assert any("not of this space" in sentence for sentence in replay(spec, changed(events, trials=outside)))
    assert any("but the sweep names" in sentence for sentence in replay(spec, changed(events, sources=[])))
    without = [replace(e, seq=n) for n, e in enumerate(e for e in events if e.type != "sweep.warmed")]
    assert any("comes before sweep.warmed" in sentence for sentence in replay(spec, without))


@pytest.mark.slow
def test_a_real_sweep_starts_from_others_and_needs_them_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("first", "second"):
        launch(tiny(name=name, seed=len(name), budget={"trials": 3}), tmp_path, local=True)
    file = tmp_path / "third.yaml"
    file.write_text(json.dumps(tiny(name="third", budget={"trials": 2}).model_dump(mode="json")))
    monkeypatch.setenv("SWEEP_RUNS", str(tmp_path))
    asked = ["sweep", "launch", str(file), "--local", "--warm-start", "first", "second"]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None), capsys.readouterr().err
    run = find("third", tmp_path)
    events = list(read(run.journal))
    warm = events[1]
    assert (warm.type, [source["run"] for source in warm["sources"]]) == ("sweep.warmed", ["first", "second"])
    assert sorted((trial["run"], trial["trial"]) for trial in warm["trials"]) == [
        (name, number) for name in ("first", "second") for number in range(3)
    ]
    # A launch that is cut off right after its first record is warmed by the resume.
    cut = tmp_path / "cut" / "third"
    cut.mkdir(parents=True)
    (cut / "journal.jsonl").write_bytes(encode(events[0]))
    for name in ("first", "second"):
        (tmp_path / name).rename(tmp_path / "cut" / name)
    again = resume("third", tmp_path / "cut", local=True)
    assert list(read(again.run.journal))[1].fields == warm.fields
    assert [t.params for t in again.state.trials.values()] == [
        event["params"] for event in events if event.type == "trial.suggested"
    ]
    assert check(run).violations == [], "though the earlier runs are gone from here"


@pytest.mark.parametrize("name", ["density_ratio", "tpe"])
def test_a_second_sweep_with_the_same_seed_repeats_no_random_draw(name: str) -> None:
    """Nor does a third one that starts from both."""
    spec = described({"trials": 20}, searcher=name, seed=11)
    states = [simulate(spec).state]
    for _ in range(2):
        sources = [(f"r{number}", state) for number, state in enumerate(states)]
        states.append(simulate(spec, warm=warmth(spec, sources)).state)
    points = [json.dumps(trial.params, sort_keys=True) for state in states for trial in state.trials.values()]
    assert len(set(points)) == len(points) == 60


def _grid(widths: list[int], rates: list[float], **fields: Any) -> SweepSpec:
    space = {"model.width": {"choice": widths}, "model.learning_rate": {"choice": rates}}
    return described({}, searcher="grid", scheduler="fifo", space=space, **fields)


@pytest.mark.parametrize("searcher", ["grid", "random"])
def test_a_widened_grid_trains_only_what_is_new(searcher: str) -> None:
    before = simulate(_grid([64, 128], [0.1, 0.01])).state
    wider = _grid([64, 128, 256], [0.1])
    wider = wider if searcher == "grid" else described({"trials": 9}, searcher="random", scheduler="fifo",
                                                       space=wider.space.to_yaml())  # fmt: skip
    warm = warmth(wider, [("g1", before)])
    assert len(warm["trials"]) == 2
    trained = [trial.params for trial in simulate(wider, warm=warm).state.trials.values()]
    assert trained == [{"model.width": 256, "model.learning_rate": 0.1}]


def test_a_grid_is_not_continued_from_other_training_or_to_nothing() -> None:
    before = simulate(_grid([64, 128], [0.1])).state
    with pytest.raises(UsageError, match="has another `trainer`"):
        warmth(_grid([64, 256], [0.1], trainer={"max_epochs": 7}), [("g1", before)])
    with pytest.raises(UsageError, match="all 2 configurations of this space were trained in g1"):
        warmth(_grid([128, 64], [0.1]), [("g1", before)])
    with pytest.raises(UsageError, match="is a configuration of this space"):
        warmth(_grid([512], [0.1]), [("g1", before)])
