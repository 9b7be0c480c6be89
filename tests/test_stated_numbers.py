"""What views say in numbers, against counts made here from the journal's events alone."""

from __future__ import annotations

import html
import math
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli
from orchestrator.cli.outcome import _print_outcome
from orchestrator.engine.learning_curves import Curve, synthetic
from orchestrator.engine.simulator import simulate
from orchestrator.errors import UsageError
from orchestrator.journal import Event
from orchestrator.notify import messages
from orchestrator.policies.extend_limits import More
from orchestrator.progress import counted, percent
from orchestrator.results.audit import audit_of
from orchestrator.results.audit_text import audit_lines
from orchestrator.results.figures.compared import best_by_training
from orchestrator.results.figures.curves import learning_curves
from orchestrator.results.figures.history import history
from orchestrator.results.figures.parallel import parallel
from orchestrator.results.figures.rungs import rungs
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.results.report import sections
from orchestrator.results.run_comparison import compare_runs
from orchestrator.results.run_state import read_state
from orchestrator.results.terminal_tables import summary
from orchestrator.results.verdict import sentences, verdict
from orchestrator.results.why import stop_reason, why
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import show_apart
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.sweep.control import stop
from orchestrator.sweep.execution import Outcome
from orchestrator.testing import Faults
from orchestrator.testing import simulate as simulate_faults
from tests.support.every_view import every_view
from tests.support.watched_runs import described, write, written

ONE_IN_PLURAL = re.compile(
    r"(?<!trial )(?<!epoch )(?<!segment )(?<![\d.,/:–-])\b1 (?:[a-z]+ )?(?!is\b|was\b|has\b|fits\b|loss\b)[A-Za-z-]+s\b"
)
NO_RUN: Any = None  # figures that read the state alone


def two_metrics(params: Mapping[str, Any], progress: float) -> dict[str, float]:
    """A loss that falls, beside a cost that grows with it."""
    return {**synthetic("val_acc", "max")(params, progress), "cost": params["model.width"] * progress}


def diverging(params: Mapping[str, Any], progress: float) -> dict[str, float]:
    value = synthetic("val_acc", "max")(params, progress)["val_acc"]
    return {"val_acc": math.nan if params["model.width"] % 3 == 0 and progress >= 2 else value, "cost": 1.0}


def simulated(curve: Curve | None = None, slots: int = 1, **fields: Any) -> list[Event]:
    return simulate(described(**fields), curve=curve, slots=slots, seed=1).events


def of_code(unit: str, scheduler: Any) -> SweepSpec:
    """A sweep of a function, whose Trainer says no end."""
    base = described(trials=9, scheduler=scheduler).model_dump(mode="json")
    code = {"model": None, "trainer": {}, "train": "nowhere:main", "space": {"rate": {"uniform": [0, 1]}}}
    return from_mapping({**base, **code, "progress": {"unit": unit, "until": 9}})


SINGLE: dict[str, dict[str, Any]] = {
    "one trial": {"scheduler": "fifo"},
    "one epoch": {"epochs": 1, "scheduler": "guarded_asha"},
    "one on the front": {
        "curve": two_metrics,
        "scheduler": "fifo",
        "objective": {"metric": "val_acc", "mode": "max", "also": [{"metric": "cost", "mode": "min"}]},
    },
    "hyperband": {"scheduler": "hyperband"},
    "one configuration": {"space": {"model.width": {"choice": [3]}}},
    "one parameter": {"space": {"model.width": {"int": [1, 64]}}, "trials": 2, "scheduler": "asha"},
    "one GPU-hour": {"resources": {"gpus": 1}, "budget": {"trials": 2, "gpu_hours": 1}},
    "one epoch in all": {"budget": {"trials": 2, "epochs": 1}},
    "a takeover": {"trials": 4, "scheduler": "pbt"},
    "no value": {"trials": 2, "curve": lambda params, progress: {"val_acc": math.nan}},
}


@pytest.mark.parametrize("kind", SINGLE)
def test_one_thing_is_not_in_the_plural(kind: str, tmp_path: Path) -> None:
    events = simulated(**{"trials": 1, **SINGLE[kind]})
    _assert_singular(tmp_path, events)


def test_one_failure_is_not_in_the_plural(tmp_path: Path) -> None:
    spec = described(trials=3, scheduler="fifo")
    events = next(
        run.events
        for seed in range(50)
        if (run := simulate_faults(spec, seed=seed, faults=Faults(user=0.05))).state.count("failed") == 1
    )
    _assert_singular(tmp_path, events)


def _assert_singular(folder: Path, events: list[Event]) -> None:
    for view, text in every_view(written(folder, events), events):
        if view == "report" or "page" in view or view == "comparison":
            text = html.unescape(re.sub(r"<(script|style)\b.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL))
        assert not (found := ONE_IN_PLURAL.search(text)), f"{view}: {found and text[found.start() - 40 : found.end()]}"


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_a_takeover_trains_no_more_than_what_follows_it(name: str) -> None:
    """Each trial trains its 20 epochs once, whosever weights it continues with."""
    events = simulated(trials=8, epochs=20, slots=4, scheduler=name)
    assert any("donor" in event.fields for event in events)
    state = SweepState(events)
    assert state.trained["epochs"] == 8 * 20
    assert any("8 trials and 160 epochs" in sentence for sentence in verdict(NO_RUN, state))


def spared(events: list[Event], end: int) -> tuple[float, float]:
    """Epochs that trials did not train, and their share of all, of those that ended without failing or wait."""
    reached: dict[int, float] = {}
    status: dict[int, str] = {}
    for event in events:
        if event.type == "segment.reported":
            reached[event["trial"]] = event.progress
        elif event.type.startswith("trial."):
            status[event["trial"]] = event.type.removeprefix("trial.")
    settled = [trial for trial, word in status.items() if word in ("finished", "stopped", "set_aside")]
    saved = sum(end - reached[trial] for trial in settled)
    return saved, saved / (end * len(settled))


SAVING: dict[str, dict[str, Any]] = {
    "asha": {},
    "median": {"scheduler": "median", "trials": 20},
    "guarded_asha": {"scheduler": "guarded_asha", "trials": 20},
    "constrained": {"curve": two_metrics, "constraints": [{"metric": "cost", "max": 150}], "trials": 20},
    "diverging": {"curve": diverging, "scheduler": "guarded_asha", "trials": 20},
}


@pytest.mark.parametrize("kind", SAVING)
@pytest.mark.parametrize("share", [1.0, 0.7])
def test_all_views_say_what_early_stopping_saved(kind: str, share: float) -> None:
    events = simulated(**SAVING[kind], slots=2)
    events = events[: int(share * len(events))]
    state = SweepState(events)
    saved, part = spared(events, 9)
    result = audit_of(state, check=False)
    assert result.saved == saved > 0
    assert result.saved_share == pytest.approx(part)
    lines = list(audit_lines("s", result, state))
    assert f"early stopping saved {saved:g} epochs, {100 * part:.0f} % of training all to the end" in lines
    figure = rungs(NO_RUN, state)
    assert figure is not None
    assert f"{part:.0%} of the training was saved" in figure.title
    assert percent(part) == f"{100 * part:.0f} %"
    running = [number for number, trial in state.trials.items() if trial.status in ("running", "interrupted")]
    assert bool(running) is (share < 1)
    assert result.trials <= len(state.trials) - len(running)
    assert not set(running) & set(result.probabilities)


def test_the_share_stopped_early_is_of_all_that_ended() -> None:
    spec = described(trials=20)
    run = simulate_faults(spec, seed=2, faults=Faults(user=0.1))
    ends = [event.type for event in run.events if event.type in ("trial.finished", "trial.stopped", "trial.failed")]
    assert ends.count("trial.failed") > 1
    expected = f"{ends.count('trial.stopped') / len(ends):.0%} of those that ended were stopped early"
    assert expected in " ".join(verdict(NO_RUN, run.state))


def test_a_failed_trial_with_a_value_is_not_said_to_have_none() -> None:
    run = simulate_faults(described(trials=20), seed=2, faults=Faults(user=0.1))
    failed = [trial for trial in run.state.trials.values() if trial.status == "failed"]
    assert any(trial.reports for trial in failed)
    figure = history(NO_RUN, run.state)
    assert figure is not None
    assert f"Not drawn: {len(failed)} trials that failed or are without a value." in figure.caption


def test_a_figure_at_equal_progress_says_so_beside_its_best() -> None:
    """At the first rung another trial may be the best than at the end: the title names the rung."""
    state = SweepState(simulated(trials=14, epochs=27, slots=2, scheduler="hyperband"))
    figure = parallel(NO_RUN, state)
    winner = state.winner()
    assert figure is not None
    assert winner is not None
    said = re.fullmatch(
        r"14 trials over 3 parameters; up to epoch (\d+) the best is trial (\d+) with (\S+)", figure.title
    )
    assert said is not None
    upto = int(said[1])
    values = {
        number: max(report.metrics["val_acc"] for at, report in trial.reports.items() if at <= upto)
        for number, trial in state.trials.items()
        if trial.progress >= upto
    }
    assert int(said[2]) == max(values, key=values.__getitem__)
    assert said[3] == f"{max(values.values()):.4g}"
    assert upto < 27
    assert int(said[2]) != winner.number


def test_the_best_of_repeated_configurations_is_not_called_the_best_of_all_trials(tmp_path: Path) -> None:
    spec = from_mapping(described(trials=18).model_dump(mode="json") | {"repeats": {"seeds": 3}, "seed": 5})
    state = simulate(spec, slots=2).state
    winner = state.winner()
    assert winner is not None
    values = {
        number: max(r.metrics["val_acc"] for r in trial.reports.values()) for number, trial in state.trials.items()
    }
    groups = [range(first, first + 3) for first in range(0, 18, 3)]
    means = {group: sum(values[number] for number in group) / 3 for group in groups}
    best = max(means, key=means.__getitem__)
    first = verdict(NO_RUN, state)[0]
    assert first.startswith(
        f"Trial {winner.number} is the best of the best configuration (mean {means[best]:.4g}, n = 3)"
    )
    assert winner.number == max(best, key=values.__getitem__)


def test_a_curve_reaches_what_counts_within_the_constraints() -> None:
    """The cost grows with each epoch, so that a trial's best value counts only up to some epoch."""
    state = SweepState(
        simulated(curve=two_metrics, constraints=[{"metric": "cost", "max": 30}], trials=12, scheduler="fifo")
    )
    counting = [
        (report.metrics["val_acc"], -number, at)
        for number, trial in state.trials.items()
        for at, report in trial.reports.items()
        if report.metrics["cost"] <= 30
    ]
    value, number, at = max(counting)
    figure = learning_curves(NO_RUN, state)
    assert figure is not None
    assert figure.title == f"val_acc reached {value:.4g} in trial {-number}, epoch {at}"
    assert max(report.metrics["val_acc"] for report in state.trials[-number].reports.values()) > value


def test_values_that_violate_a_constraint_are_not_said_to_be_no_values(tmp_path: Path) -> None:
    events = simulated(curve=two_metrics, constraints=[{"metric": "cost", "max": 0.5}], trials=3, scheduler="fifo")
    state = SweepState(events)
    figure = learning_curves(NO_RUN, state)
    assert figure is not None
    assert figure.title == "val_acc by epoch: no trial has a finite value within the constraints"
    with pytest.raises(
        UsageError, match="no trial with a finite val_acc within the constraints was trained to its end"
    ):
        audit_of(state)
    views = dict(every_view(written(tmp_path, events), events))
    assert "no trial has a finite val_acc within the constraints workers" in views["watch, header"]


def test_words_about_segments_hold_for_each_of_them() -> None:
    state = SweepState(simulated(trials=8, epochs=20, slots=4, scheduler="pbt"))
    for number, trial in state.trials.items():
        said = "\n".join(why(state, number))
        assert f"It ran in {trial.segments} segments; the later ones resumed from the last checkpoint" in said
        taken = f", {len(trial.takeovers)} of them from that of another trial"
        assert (taken in said) is bool(trial.takeovers)


def test_values_that_differ_are_shown_with_the_digits_that_tell_them_apart() -> None:
    assert show_apart(0.47351, 0.47349) == ("0.47351", "0.47349")
    assert show_apart(0.5, 0.25) == ("0.5", "0.25")
    assert show_apart(0.5, 0.5) == ("0.5", "0.5")
    why_stopped = {"rung": 1, "place": 2, "of": 3, "kept": 1, "value": 0.47351, "needed": 0.47349, "bracket": 1}
    for rule in ("asha", "hyperband"):
        said = stop_reason({"rule": rule, "progress": 1, **why_stopped})
        assert said.endswith("this one took place 2 with 0.47351, and 0.47349 was needed")
    median = {"rule": "median", "progress": 1, "rung": 1, "value": 0.47351, "median": 0.47349, "of": 3}
    assert "0.47351, was worse than 0.47349" in stop_reason(median)
    assert stop_reason({"rule": "budget", "target": 0.5, "trial": 3, "value": 0.499999}).endswith("0.5 with 0.499999")


@pytest.mark.parametrize("scheduler", ["asha", "hyperband"])
def test_a_tie_at_a_rung_is_said_to_be_one(scheduler: str) -> None:
    state = SweepState(simulated(curve=lambda params, progress: {"val_acc": 0.5}, scheduler=scheduler))
    stopped = [trial for trial in state.trials.values() if trial.status == "stopped"]
    assert stopped
    for trial in stopped:
        said = stop_reason(trial.stopped_by)
        assert said.endswith("and 0.5 was needed; of equal values those of lower trial numbers were kept")


def test_each_next_command_of_a_stopped_launch_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    events = simulated(scheduler="guarded_asha")
    events = events[: len(events) // 2]
    last = events[-1]
    run = written(tmp_path, [*events, Event(last.seq + 1, last.lease, last.time, "sweep.paused", {"reason": "SIGINT"})])
    monkeypatch.setenv("SWEEP_RUNS", str(tmp_path))
    _print_outcome(Outcome(run, read_state(run), 130), next_steps=True)
    commands = re.findall(r"(?m)^  \S*sweep (.+?)   #", capsys.readouterr().err)
    assert len(commands) >= 3
    for command in commands:
        if command.startswith("export"):
            continue  # it builds the module, and this sweep has none
        monkeypatch.setattr(sys, "argv", ["sweep", *shlex.split(command)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, command


def test_a_sweep_of_plain_code_is_not_told_to_export(tmp_path: Path) -> None:
    """`sweep export` refuses code without a Trainer."""
    events = simulate(of_code("steps", "fifo"), seed=1).events
    run = written(tmp_path, events)
    page = sections.environment_section(run, SweepState(events), sections.leader_of(SweepState(events)))
    assert "sweep confirm watched" in str(page)
    assert "sweep export" not in str(page)


def test_the_summary_counts_every_trial_once(tmp_path: Path) -> None:
    events = simulated(scheduler="guarded_asha", trials=20, slots=3)
    for end in range(len(events) // 3, len(events), len(events) // 9):
        run = written(tmp_path, events[:end])
        state = read_state(run)  # no process runs it, so that trials are interrupted
        line = summary(run, state, 20)
        said = {word: int(count) for count, word in re.findall(r", (\d+) (running|interrupted|set aside|failed)", line)}
        assert sum(said.values()) + state.ended == len(state.trials), line


def test_an_extended_end_that_the_trainer_does_not_say_is_verified() -> None:
    """Of a function's trials `progress.until` is the end, and its Trainer has no `max_epochs`."""
    spec = of_code("epochs", {"name": "asha", "promote": True})
    events = simulate(spec, more=More(epochs=3), seed=1).events
    assert [event["changed"] for event in events if event.type == "sweep.extended"] == [
        {"progress": {"until": 12}, "trainer": {"max_epochs": 12}}
    ]
    replay = JournalReplay(spec)
    for event in events:
        replay.take(event)
    assert not replay.violations


def test_an_end_by_itself_is_not_said_to_be_the_whole_training() -> None:
    """Code that stops early of its own has not trained in full."""
    events = simulated(trials=2, scheduler="fifo")
    cut = [event for event in events if not (event.type.startswith("segment.") and event.fields.get("epoch", 0) > 5)]
    state = SweepState(cut)
    assert "Finished: it ended by itself after 5 epochs, of 9 epochs." in why(state, 0)
    assert "Finished: it trained for all its 9 epochs." in why(SweepState(events), 0)


def test_a_mean_that_equals_the_best_of_the_search_is_not_said_to_differ() -> None:
    row = {
        "configuration": 0,
        "searched": 0.5,
        "mean": 0.5,
        "low": 0.5,
        "high": 0.5,
        "probability": 1.0,
        "values": [0.5] * 3,
    }
    found = {"table": [row], "first": 0, "clear": True, "confidence": 0.9, "level": 0.9, "optimism": 0.0}
    assert sentences(found, "loss")[1].endswith("0.5 of trial 0, was equal to the mean of that trial's fresh trainings")
    assert "was 0.1 better than the mean" in sentences({**found, "optimism": 0.1}, "loss")[1]
    assert "was 0.1 worse than the mean" in sentences({**found, "optimism": -0.1}, "loss")[1]


def test_a_sweep_that_has_ended_is_not_to_be_resumed(tmp_path: Path) -> None:
    run = written(tmp_path, simulated(trials=2))
    with pytest.raises(UsageError, match="no process runs 'watched'") as refused:
        stop(run.name, tmp_path)
    assert "sweep extend watched" in str(refused.value)
    assert "resume" not in str(refused.value)


def test_of_runs_that_are_equal_none_leads(tmp_path: Path) -> None:
    events = simulated(trials=4)
    first = written(tmp_path, events)
    other = RunDirectory(tmp_path / "other")
    write(other, events)
    found = [(run, SweepState(events)) for run in (first, other)]
    best = found[0][1].winner()
    assert best is not None
    value = f"{max(report.metrics['val_acc'] for report in best.reports.values()):.4g}"
    comparison = compare_runs(found)
    assert comparison.verdict()[0] == f"watched and other are equal: val_acc {value}."
    figure = best_by_training(comparison)
    assert figure is not None
    assert figure.title == f"At equal training watched and other are equal, with {value}"


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0004, "below 0.1 %"), (0.004, "0.4 %"), (0.424, "42 %"), (0.996, "above 99 %"), (1.0, "100 %")],
)
def test_only_none_and_all_are_0_and_100_percent(share: float, words: str) -> None:
    assert percent(share) == words
    assert percent(share, "") == words.replace(" %", "%")


def test_a_probability_short_of_one_is_not_said_to_be_certain() -> None:
    row: dict[str, Any] = {
        "configuration": 0,
        "searched": 0.5,
        "mean": 0.5,
        "low": 0.4,
        "high": 0.6,
        "probability": 0.998,
    }
    row["values"] = [0.5, 0.5, 0.5]
    found = {"table": [row, row], "first": 0, "clear": True, "confidence": 0.9, "level": 0.9, "optimism": None}
    assert "the best with probability above 99% (confirmed)" in sentences(found, "loss")[0]
    why_stopped = {"rule": "guarded_asha", "rung": 1, "place": 9, "of": 9, "kept": 2, "value": 0.5, "agreement": 0.998}
    assert "above 99 % of the controls' pairs" in stop_reason({**why_stopped, "progress": 1})


def test_a_small_value_is_not_printed_as_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    events = simulated(trials=2, curve=lambda params, progress: {"val_acc": 3.2e-5}, scheduler="fifo")
    run = written(tmp_path, events)
    _print_outcome(Outcome(run, read_state(run), 0), next_steps=False)
    assert "best: trial 0, val_acc 3.2e-05 at epoch 1" in capsys.readouterr().out


def test_the_only_finalist_is_not_said_to_be_the_best_of_several() -> None:
    """Of one finalist the probability to be the best is 1, whatever its trainings gave."""
    row: dict[str, Any] = {"configuration": 0, "searched": 0.5, "mean": 0.5, "low": 0.4, "high": 0.6}
    row |= {"values": [0.5, 0.5, 0.5], "probability": 1.0, "failed": 0}
    alone = {"table": [row], "first": 0, "clear": True, "confidence": 0.9, "level": 0.9, "optimism": None}
    alone["winner"] = {"configuration": 0}
    state = SweepState(simulated(trials=2, scheduler="fifo"))
    state.confirmation = alone
    told = [
        *sentences(alone, "loss"),
        *verdict(NO_RUN, state),
        *why(state, 0),
        messages.confirmed("s", state, alone).text,
    ]
    for word in ("probability", "100%", "onfirmed", "place 1 of 1"):
        assert word not in " ".join(told)
    assert [text for text in told if "the only finalist" in text] == [told[0], told[2], told[-2], told[-1]]
    several = {**alone, "table": [row, {**row, "configuration": 1, "probability": 0.0}]}
    assert "the best with probability 100% (confirmed)" in sentences(several, "loss")[0]


def test_a_recorded_number_may_be_text() -> None:
    assert [counted(number, "core") for number in (1, 1200, 2.5, "Infinity")] == [
        "1 core", "1,200 cores", "2.5 cores", "Infinity cores",
    ]  # fmt: skip
