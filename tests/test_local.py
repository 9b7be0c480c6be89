"""A sweep in this process: the journal's story, stopping and going on, failures, and what the read side makes of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import stop_requests
from orchestrator.errors import RunHeldError, SpecError, UsageError
from orchestrator.journal import read
from orchestrator.policies import build_scheduler, build_searcher
from orchestrator.results import Results, why
from orchestrator.results.verify import check
from orchestrator.rundir import run_at
from orchestrator.state import SweepState
from orchestrator.sweep import Outcome, launch, resume, retry
from tests.support.small_sweeps import request, spec, story

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return launch(spec(), tmp_path_factory.mktemp("runs"), local=True)


def test_a_sweep_ends_with_a_ranked_table(unbroken: Outcome) -> None:
    assert unbroken.exit_code == 0
    results = Results(unbroken.run)
    rows = results.rows
    assert sorted(row["trial"] for row in rows) == list(range(6))
    values = [row["best"] for row in rows]
    assert values == sorted(values)
    assert {row["status"] for row in rows} == {"finished", "stopped"}
    assert all(Path(row["checkpoint"]).is_file() for row in rows)
    assert results.best().trial == rows[0]["trial"]
    assert results.best().checkpoint == Path(rows[0]["checkpoint"])


def test_tables_are_tidy(unbroken: Outcome) -> None:
    results = Results(unbroken.run)
    trials, epochs = results.trials, results.epochs
    assert list(trials["rank"]) == [1, 2, 3, 4, 5, 6]
    assert {"trial", "status", "val_loss", "model.learning_rate", "checkpoint"} <= set(trials.columns)
    assert set(zip(epochs["trial"], epochs["epoch"], strict=True)) == {
        (trial.number, epoch) for trial in results.state.trials.values() for epoch in trial.reports
    }
    for row in results.rows:
        own = epochs[epochs["trial"] == row["trial"]]
        assert own["val_loss"].min() == row["best"]


def test_every_decision_is_re_derived_from_the_journal(unbroken: Outcome) -> None:
    described = spec()
    searcher, scheduler = build_searcher(described), build_scheduler(described)
    pending: dict[int, Any] = {}
    stops = 0
    for event in read(unbroken.run.journal):
        if event.type == "trial.suggested":
            assert searcher.suggest(event["trial"]) == event["params"]
        searcher.observe(event)
        scheduler.observe(event)
        if event.type == "segment.reported":
            assert not pending, "a verdict was not journaled"
            verdict = scheduler.judge(event["trial"], event["epoch"])
            pending = {event["trial"]: verdict} if verdict else {}
        if event.type == "trial.stopped":
            verdict = pending.pop(event["trial"])
            assert (verdict.rule, dict(verdict.why)) == (event["rule"], event["why"])
            stops += 1
    assert stops


@pytest.mark.parametrize("after", [1, 2, 4, 7])
def test_stopped_and_resumed_is_the_unbroken_sweep(
    unbroken: Outcome, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after so many reports, again and again, until it is through."""
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    run = run_at("tiny", tmp_path)

    def interrupter() -> Any:
        seen = []

        def observe(state: SweepState, event: Any) -> None:
            seen.extend([event] if event.type == "segment.reported" else [])
            if len(seen) == after:
                request(run)

        return observe

    outcome = launch(spec(), tmp_path, local=True, observer=interrupter())
    rounds = 1
    while outcome.state.status == "paused":
        assert outcome.state.reason == "sweep stop"
        outcome = resume("tiny", tmp_path, local=True, observer=interrupter())
        rounds += 1
        assert rounds < 20
    assert rounds > 1
    assert story(run) == story(unbroken.run)


def test_resuming_a_completed_sweep_changes_nothing(unbroken: Outcome) -> None:
    before = Path(unbroken.run.journal).read_bytes()
    assert resume("tiny", unbroken.run.root.parent, local=True).exit_code == 0
    assert Path(unbroken.run.journal).read_bytes() == before


def test_a_run_that_exists_is_left_alone(unbroken: Outcome) -> None:
    before = Path(unbroken.run.journal).read_bytes()
    with pytest.raises(RunHeldError, match="exists already"):
        launch(spec(), unbroken.run.root.parent, local=True)
    assert Path(unbroken.run.journal).read_bytes() == before


def test_why_tells_each_trials_story(unbroken: Outcome) -> None:
    state = Results(unbroken.run).state
    for number, trial in state.trials.items():
        text = " ".join(why(state, number))
        assert text.startswith("Suggested: model.learning_rate = ")
        assert ("ASHA compared" in text) == (trial.status == "stopped")
        assert "rank" in text
    with pytest.raises(UsageError, match="no trial 99"):
        why(state, 99)


def test_a_failing_trial_fails_alone(tmp_path: Path) -> None:
    space = {"model.fault": {"choice": ["", "raise", "nan"]}}
    outcome = launch(spec(space=space, searcher="grid", scheduler="fifo", budget=None), tmp_path, local=True)
    assert outcome.exit_code == 0
    rows = {row["params"]["model.fault"]: row for row in Results(outcome.run).rows}
    assert [rows[fault]["rank"] for fault in ("", "nan", "raise")] == [1, 2, 3]
    assert rows["nan"]["status"] == "stopped"
    assert rows["nan"]["stopped_by"]["rule"] == "not_finite"
    assert rows["nan"]["epochs"] == 2
    assert rows["raise"]["status"] == "failed"
    assert "the user's own mistake" in rows["raise"]["error"]
    logs = outcome.run.trial(rows["raise"]["trial"]) / "logs"
    assert "break_down" in (logs / "error_segment_0.txt").read_text()


def test_a_failed_trial_never_wins_though_it_led(tmp_path: Path) -> None:
    outcome = launch(
        spec(
            model={"class_path": "tests.support.tiny.Tiny", "init_args": {"fault": "raise"}},
            space={"model.learning_rate": {"choice": [0.3]}},
            budget={"trials": 1},
        ),
        tmp_path,
        local=True,
    )
    assert outcome.exit_code == 1
    state = Results(outcome.run).state
    assert state.winner() is None
    assert math.isfinite(state.objective.best(state.trials[0]).value)  # type: ignore[union-attr]


def test_the_same_failure_three_times_stops_the_sweep(tmp_path: Path) -> None:
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {"fault": "raise"}}
    described = spec(model=model, trainer={"max_epochs": 3, "check_val_every_n_epoch": 3}, budget={"trials": 50})
    outcome = launch(described, tmp_path, local=True)
    assert outcome.exit_code == 1
    assert outcome.state.status == "paused"
    assert "the user's own mistake" in outcome.state.reason
    assert len(outcome.state.trials) == 3


def test_a_failed_trial_that_is_retried_goes_on_from_its_last_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fault is mended meanwhile, as a person would mend it."""
    marker = tmp_path / "mended"
    described = spec(
        model={"class_path": "tests.support.faulty.Mended", "init_args": {"marker": str(marker)}},
        scheduler="fifo",
        searcher="random",
        budget={"trials": 2},
    )
    outcome = launch(described, tmp_path, local=True)
    assert outcome.state.count("failed") == 2
    assert resume("tiny", tmp_path, local=True).state.count("failed") == 2, "a resume leaves failed trials alone"
    marker.touch()
    outcome = retry("tiny", tmp_path, trials=[1], local=True)
    assert [trial.status for trial in outcome.state.trials.values()] == ["failed", "finished"]
    started = [event for event in read(outcome.run.journal) if event.type == "segment.started" and event["trial"] == 1]
    assert started[-1]["origin"].endswith("epoch=0001-segment=0.ckpt")
    outcome = retry("tiny", tmp_path, local=True)
    assert [trial.status for trial in outcome.state.trials.values()] == ["finished", "finished"]
    assert check(outcome.run).violations == []
    assert "none is retried" not in capsys.readouterr().err
    assert retry("tiny", tmp_path, local=True).state.seq == outcome.state.seq
    assert capsys.readouterr().err == "no trial of 'tiny' has failed, so none is retried\n"


def test_one_trial_is_ended_by_request_and_the_sweep_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    run = run_at("tiny", tmp_path)

    def ask(state: SweepState, event: Any) -> None:
        if event.type == "segment.started" and event["trial"] == 1:
            request(run, 1)

    outcome = launch(spec(scheduler="fifo", budget={"trials": 3}), tmp_path, local=True, observer=ask)
    trials = outcome.state.trials
    assert [trials[number].status for number in range(3)] == ["finished", "stopped", "finished"]
    assert trials[1].stopped_by["rule"] == "request"
    assert trials[1].epoch == 0
    assert "sweep stop --trial" in " ".join(why(outcome.state, 1))
    assert check(run).violations == []
    assert not run.requests.exists()


@pytest.mark.slow
def test_an_objective_that_is_never_logged_is_refused_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWEEP_NO_PREFLIGHT")
    described = spec(objective={"metric": "val_los", "mode": "min"})
    with pytest.raises(SpecError, match="val_los"):
        launch(described, tmp_path, local=True)
    assert not (tmp_path / "tiny").exists()


def test_an_unwritable_folder_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        launch(spec(), tmp_path / "file", local=True)


def test_a_wall_clock_budget_ends_the_sweep(tmp_path: Path) -> None:
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}}
    outcome = launch(
        spec(model=model, scheduler="fifo", trainer={"max_epochs": 50}, budget={"wall_clock": 1}), tmp_path, local=True
    )
    assert outcome.state.status == "completed"
    assert outcome.state.reason == "budget.wall_clock"
    last = outcome.state.trials[max(outcome.state.trials)]
    assert last.status == "stopped"
    assert last.stopped_by["rule"] == "budget"


def test_nothing_of_the_run_directory_is_needed_but_its_journal_and_checkpoints(unbroken: Outcome) -> None:
    for line in Path(unbroken.run.journal).read_text().splitlines():
        assert not {"pickle", "__reduce__"} & json.loads(line).keys()
    assert unbroken.run.root.stat().st_mode & 0o077 == 0
