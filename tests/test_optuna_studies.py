"""Sweeps as Optuna studies: what is shown is what the journal says, at every record, and nobody can write to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import UsageError
from orchestrator.journal import Event, Journal, encode
from orchestrator.optuna_studies import Sweeps, optuna_mirror
from orchestrator.optuna_studies.optuna_mirror import Study
from orchestrator.optuna_studies.optuna_storage import JournalStorage
from orchestrator.optuna_studies.optuna_trials import display_domains
from orchestrator.optuna_studies.study_export import export_study
from orchestrator.policies.extend_limits import More
from orchestrator.results import Results
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.space import Space
from orchestrator.state import SweepState, Trial
from orchestrator.sweep import Sweep
from orchestrator.testing import Faults
from tests.chaos.simulate import SCHEDULERS, SEARCHERS, Case

FAULTS = Faults(crash=0.03, asleep=0.01, lost=0.2, memory=0.1, stop=0.02, damage=0.3, retry=0.9)
CASES = [
    *(Case(number, "random", name, 5, 5, 3, FAULTS) for number, name in enumerate(SCHEDULERS)),
    *(Case(number, name, "asha promote", 3, 4, 2, FAULTS) for number, name in enumerate(SEARCHERS) if name != "race"),
    Case(1, "race", "fifo", 3, 4, 2, FAULTS),
    Case(6, "random", "asha 2", 6, 4, 2, FAULTS, more=More(2, 2)),  # under two seeds each, and then extended
    Case(7, "random", "fifo", 7, 5, 2, FAULTS),  # with a constraint
    Case(
        8, "random", "asha 3", 5, 5, 3, Faults(crash=0.05, lost=0.1, memory=0.6, retry=0.9)
    ),  # some fail, and are tried again
]


def written(run: RunDirectory, events: Sequence[Event]) -> RunDirectory:
    """The run with these events as its journal."""
    run.root.mkdir(parents=True, exist_ok=True)
    Path(run.journal).write_bytes(b"".join(map(encode, events)))
    return run


def counted(state: SweepState, trial: Trial) -> dict[float, float]:
    """The objective at each epoch that counts, by the plainest way."""
    found, objective = {}, state.objective
    for epoch, report in trial.reports.items():
        value = report.metrics.get(objective.metric, math.nan)
        if all(constraint.holds(report.metrics) for constraint in objective.constraints) and math.isfinite(value):
            found[epoch] = value
    return found


def best_epoch(state: SweepState, trial: Trial) -> float | None:
    curve, sign = counted(state, trial), 1 if state.objective.mode == "min" else -1
    return min(curve, key=lambda epoch: (sign * curve[epoch], epoch), default=None)


def values_of(state: SweepState, trial: Trial) -> list[float] | None:
    best, objective = best_epoch(state, trial), state.objective
    names = [objective.metric, *(goal.metric for goal in objective.also)]
    found = [trial.reports[best].metrics[name] for name in names] if best is not None else [math.nan]
    return found if all(map(math.isfinite, found)) else None


def expected(state: SweepState, trial: Trial) -> dict[str, Any]:
    """A trial as it is to be shown while nobody runs the sweep."""
    best, values, several = best_epoch(state, trial), values_of(state, trial), bool(state.objective.also)
    stopped = "COMPLETE" if values and several else "PRUNED"
    ends = {"finished": "COMPLETE" if values else "FAIL", "stopped": stopped, "failed": "FAIL"}
    shown_as = ends.get(trial.status, "WAITING")
    return {
        "number": trial.number,
        "state": shown_as,
        "values": values if shown_as in ("COMPLETE", "PRUNED") else None,
        "curve": {} if several else counted(state, trial),
        "params": trial.params if best is None else trial.params_at(best),
        "ended": trial.status in ("finished", "stopped", "failed"),
        "epochs": max(trial.reports, default=0),
    }


def told(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "curve": trial.intermediate_values,
        "params": trial.params,
        "ended": trial.datetime_complete is not None,
        "epochs": trial.user_attrs["epochs"],
    }


def study_of(run: RunDirectory) -> Study:
    study = Study(run, run.name, 0)
    study.refresh()
    return study


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.searcher}, {case.scheduler}, {case.trials}")
def test_at_every_record_what_grew_is_what_is_made_anew_and_what_the_state_says(tmp_path: Path, case: Case) -> None:
    events = case.run().events
    run = RunDirectory(tmp_path / "simulated")
    grown = Study(run, run.name, 0)
    state = SweepState()
    for length, event in enumerate(events, 1):
        written(run, events[:length])
        grown.refresh()
        state.apply(event)
        assert [told(trial) for trial in grown.trials] == [expected(state, t) for t in state.trials.values()]
        won = state.winner()
        best = values_of(state, won) if won else None
        assert (grown.best and grown.best.values) == best
        assert grown.best is None or (won and grown.best.number == won.number)
        if length % 5 == 0 or length == len(events):
            anew = study_of(run)
            assert (grown.trials, grown.attributes, grown.best) == (anew.trials, anew.attributes, anew.best)


@pytest.mark.slow
def test_the_cases_have_what_makes_it_hard() -> None:
    ran = [case.run() for case in CASES]
    trials = [trial for one in ran for trial in one.state.trials.values()]
    types = {event.type for one in ran for event in one.events}
    assert {"trial.retried", "sweep.extended", "trial.set_aside", "trial.promoted", "checkpoints.removed"} <= types
    assert {trial.status for trial in trials} == {"finished", "stopped", "failed"}
    assert any(trial.takeovers for trial in trials)
    assert any(one.state.objective.also for one in ran)
    assert any(one.state.objective.best(trial) is None for one in ran for trial in one.state.trials.values())


def test_in_optuna_the_best_is_ours(tmp_path: Path) -> None:
    import optuna

    for case in (CASES[0], CASES[1]):
        run = written(run_at(f"seed-{case.seed}", tmp_path), case.run().events)
        study = optuna.load_study(study_name=run.name, storage=JournalStorage(Sweeps([run.name], tmp_path)))
        ours = Results(run).state
        won = ours.winner()
        assert won
        assert study.best_trial.number == won.number
        assert study.best_value == ours.objective.best(won).value  # type: ignore[union-attr]
        assert study.metric_names == ["val_acc"]
        assert len(study.get_trials(states=[TrialState.COMPLETE])) == ours.count("finished")
        with pytest.raises(NotImplementedError, match="can change it"):
            study.ask()


def test_values_are_shown_as_they_were_written() -> None:
    space = Space(
        {
            "model.a": {"choice": [1, True, "1"]},
            "model.b": {"choice": [[1, 2], {"x": 1}, "\u202eevil"]},
            "model.c": {"choice": [None, 0.5, 2]},
            "model.d": {"normal": [3.0, 0.5]},
            "model.e": {"log_normal": [0.0, 900.0]},
            "model.f": {"log_int": [1, 64]},
            "model.g": {"uniform": [0.0, 0.5], "step": 0.05},
            "model.h": {"const": {"deep": [1]}},
        }
    )
    found = display_domains(space)
    assert [found["model.a"].value(value) for value in (1, True, "1")] == ["1", "true", '"1"']
    assert found["model.b"].value("\u202eevil") == '"\\u202eevil"'
    assert [found["model.c"].value(value) for value in (None, 0.5, 2)] == [None, 0.5, 2]
    assert (found["model.d"].distribution.low, found["model.d"].distribution.high) == (0.0, 6.0)  # type: ignore[attr-defined]
    assert found["model.e"].distribution.high == math.exp(700)  # type: ignore[attr-defined]
    assert found["model.h"].value({"deep": [1]}) == '{"deep": [1]}'
    for name, domain in space.items():
        for probe in domain.probes():
            found[name].value(probe)
    with pytest.raises(ValueError, match="not in"):
        found["model.c"].value(3)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_mirror, "REFRESH_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
def test_all_runs_are_shown_new_ones_and_damaged_ones_too(tmp_path: Path) -> None:
    events = CASES[0].run().events
    found = Sweeps((), tmp_path)
    assert found.studies() == []
    one = written(run_at("one", tmp_path), events)
    found.refresh()
    written(run_at("two", tmp_path), events[:20])
    found.refresh()
    assert [study.name for study in found.studies()] == ["one", "two"]
    trials = list(found.studies()[0].trials)
    Path(one.journal).write_bytes(Path(one.journal).read_bytes()[:-10] + b"x" * 9 + b"\n")
    found.refresh()
    assert "cannot be read: " in found.studies()[0].attributes["status"]
    assert found.studies()[0].trials == trials
    with pytest.raises(UsageError, match="no run 'three'"):
        Sweeps(["three"], tmp_path)


def test_a_sweep_that_nobody_runs_is_interrupted_and_while_one_does_its_trials_run(tmp_path: Path) -> None:
    events = CASES[0].run().events
    cut = next(n for n, event in enumerate(events) if event.type == "segment.reported")
    run = run_at("live", tmp_path)
    journal = Journal.create(run.journal)
    for event in events[:cut]:
        journal.append(event.type, **event.fields)
    study = study_of(run)
    assert {trial.state for trial in study.trials} == {TrialState.RUNNING}
    assert study.attributes["status"] == "running"
    journal.close()
    study.refresh()
    assert {trial.state for trial in study.trials} == {TrialState.WAITING}
    assert {trial.user_attrs["status"] for trial in study.trials} == {"interrupted"}
    assert study.attributes["status"] == "interrupted"


@pytest.mark.usefixtures("at_once")
def test_a_study_of_a_run_follows_it_and_serves_optuna_s_own_functions(tmp_path: Path) -> None:
    import optuna

    events = CASES[0].run().events
    run = written(run_at("growing", tmp_path), events[: len(events) // 2])
    study = Sweep.attach("growing", tmp_path).study()
    before = len(study.trials)
    written(run, events)
    assert len(study.trials) == len(SweepState(events).trials) > before
    assert set(optuna.importance.get_param_importances(study)) == set(SweepState(events).spec["space"])


@pytest.mark.slow
def test_an_exported_study_is_what_the_journal_says_and_can_be_changed(tmp_path: Path) -> None:
    import optuna

    run = written(run_at("one", tmp_path), CASES[0].run().events)
    ours = study_of(run)
    file = export_study(run, tmp_path / "study.db")
    copy = optuna.load_study(study_name="one", storage=f"sqlite:///{file}")
    assert [told(trial) for trial in copy.trials] == [told(trial) for trial in ours.trials]
    assert copy.best_trial.number == ours.best.number  # type: ignore[union-attr]
    assert copy.metric_names == ["val_acc"]
    assert copy.user_attrs == ours.attributes
    copy.enqueue_trial(copy.best_params)
    assert len(copy.trials) == len(ours.trials) + 1
    with pytest.raises(UsageError, match="exists"):
        export_study(run, file)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "study.db"]
