"""What a command may still ask for is kept: retry, extend, promote, export, confirm, at any moment of any sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from orchestrator.engine.checkpoint_retention import Retention
from orchestrator.journal import Event
from orchestrator.policies.extend_limits import More
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import Objective, SweepState, Trial
from orchestrator.testing import Faults, simulate
from tests.chaos.simulate import SCHEDULERS, SPACE, curve
from tests.support.markers import sampled

SWEEPS = 600
FAULTS = Faults(crash=0.01, power=0.5, lost=0.03, user=0.1, stop=0.01, end=0.01, promote=0.05, retry=0.7, deaths=12)


def drawn(seed: int) -> tuple[SweepSpec, More | None, int]:
    """A small sweep of any kind, how it is extended, and its slots."""
    rng = Random(seed)
    scheduler = rng.choice(list(SCHEDULERS))
    takes_over = scheduler in ("pbt", "pb2")
    kind = "" if takes_over else rng.choice(["", "", "", "repeats", "race", "two objectives"])
    trials, epochs = rng.randint(2, 8), rng.randint(3, 6)
    objective: dict[str, Any] = {"metric": "val_acc", "mode": rng.choice(["max", "min"])}
    described: dict[str, Any] = {
        "name": "kept",
        "seed": seed,
        "objective": objective,
        "model": "nowhere.Never",
        "trainer": {"max_epochs": epochs},
        "space": SPACE,
        "searcher": "random",
        "scheduler": SCHEDULERS[scheduler],
        "budget": {"trials": trials} | ({"epochs": rng.randint(3, 20)} if rng.random() < 0.3 else {}),
        "checkpoints": {"keep_top": rng.randint(1, 3)},
    }
    if kind == "repeats":
        described |= {"repeats": {"seeds": 2, "rank_by": "lower_bound"}, "budget": {"trials": 2 * (trials // 2 or 1)}}
    elif kind == "race":
        points = [{"model.learning_rate": 0.01, "model.width": w, "model.optimizer": "adam"} for w in (2, 9, 30)]
        described |= {"searcher": {"name": "race", "points": points}, "scheduler": "fifo"}
    elif kind == "two objectives":
        objective["also"] = [{"metric": "size", "mode": "min"}]
    divided = takes_over or scheduler == "hyperband"
    more = More(0 if takes_over else rng.randint(0, 2), 0 if divided else rng.randint(0, 3), 0.0, {})
    if "epochs" in described["budget"]:
        more = More(more.trials, more.epochs, 0.0, {"epochs": 12})
    return from_mapping(described), more if rng.random() < 0.5 else None, rng.randint(1, 4)


@contextmanager
def status(trials: list[Trial], status: Any) -> Iterator[None]:
    """Within the block these trials have another status, as after a command or a failure."""
    before = [trial.status for trial in trials]
    for trial in trials:
        trial.status = status
    try:
        yield
    finally:
        for trial, old in zip(trials, before, strict=True):
            trial.status = old


def missing(state: SweepState) -> Iterator[str]:
    """What a command would ask for and is not there, in words."""
    trials = list(state.trials.values())
    open_trials = [trial for trial in trials if trial.status in ("running", "interrupted", "set_aside")]
    failed = [trial for trial in trials if trial.status == "failed"]
    cut_off = [t for t in trials if t.status == "stopped" and t.stopped_by["rule"] == "budget" and not t.was_set_aside]
    for trial in [*open_trials, *failed, *cut_off]:
        yield from missing_of(state, trial)
    yield from missing_winner(state, "export")
    with status(open_trials, "failed"):
        yield from missing_winner(state, "export, once all that run have failed")
    for trial in failed:
        with status([trial], "finished"):
            yield from missing_winner(state, f"retry of trial {trial.number}, then export")
    with status(failed, "finished"):
        yield from missing_winner(state, "retry of all, then export")
    with status(open_trials, "finished"):
        yield from missing_winner(state, "export, once all that run have finished")


def missing_of(state: SweepState, trial: Trial) -> Iterator[str]:
    best = state.objective.best(trial)
    if best and best.progress not in trial.checkpoints:
        yield f"trial {trial.number} ({trial.status}) has lost its best epoch {best.progress}"
    taken_over = bool(trial.takeovers)  # it continues from the donor's
    if trial.reports and not taken_over and trial.epoch not in trial.checkpoints:
        yield f"trial {trial.number} ({trial.status}) has lost its latest epoch {trial.epoch}"


def missing_winner(state: SweepState, command: str) -> Iterator[str]:
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    if winner and best and best.progress not in winner.checkpoints:
        yield f"{command}: trial {winner.number} wins with epoch {best.progress}, which it has lost"


def faults_of(seed: int) -> list[str]:
    spec, more, slots = drawn(seed)
    found: list[str] = []

    def look(state: SweepState, event: Event) -> None:
        # A trial that was extended and fails then may leave a winner that was outside the best ones before.
        if more is None or state.spec == state.created["spec"]:
            found.extend(f"record {event.seq} ({event.type}): {what}" for what in missing(state))
        elif event.type == "sweep.completed" and not state.count("failed"):
            found.extend(f"record {event.seq} (extended): {what}" for what in missing(state))

    ran = simulate(spec, curve=curve, slots=slots, seed=seed, faults=FAULTS, observer=look, more=more)
    return [*found, *ran.violations]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("sweeps", sampled([30, SWEEPS], slow=[SWEEPS]))
def test_whatever_a_command_may_ask_for_exists_after_every_event_of_any_sweep(sweeps: int) -> None:
    found = [(seed, what) for seed in range(sweeps) for what in faults_of(seed)[:1]]
    assert not found, "\n".join(f"seed {seed}: {what}" for seed, what in found[:10])


def story(*reports: float, then: str, trial: int = 0) -> list[tuple[str, dict[str, Any]]]:
    """The events of one trial with these values, which ends so."""
    events: list[tuple[str, dict[str, Any]]] = [
        ("trial.suggested", {"trial": trial, "params": {}, "by": "random"}),
        ("segment.started", {"trial": trial, "segment": 0, "node": "n", "origin": None}),
    ]
    for epoch, value in enumerate(reports, 1):
        file = {"path": f"{trial}/{epoch}", "size": 10, "sha256": ""}
        events.append(("segment.checkpointed", {"trial": trial, "segment": 0, "epoch": epoch, **file}))
        metrics = {"metrics": {"loss": value}}
        events.append(("segment.reported", {"trial": trial, "segment": 0, "epoch": epoch, **metrics}))
    if then == "trial.failed":
        failure = {"kind": "user", "message": "m", "fingerprint": "f"}
        events.append(("segment.failed", {"trial": trial, "segment": 0, **failure}))
    why = {"epoch": len(reports), "rule": "asha", "why": {}} if then == "trial.stopped" else {}
    return [*events, (then, {"trial": trial, "segment": 0, **why})]


def kept(*stories: list[tuple[str, dict[str, Any]]], keep_top: int = 1, quota: int | None = None) -> set[Any]:
    """The checkpoints that are left after these trials, by trial and epoch."""
    spec = {"objective": {"metric": "loss", "mode": "min"}, "trainer": {"max_epochs": 4}, "space": {}}
    begin: list[tuple[str, dict[str, Any]]] = [
        ("sweep.created", {"spec": {**spec, "scheduler": {"name": "fifo"}}}),
        ("sweep.launched", {"slots": 1}),
    ]
    state = SweepState()
    retention = Retention(Objective("loss", "min"), keep_top, quota)
    for seq, (type, fields) in enumerate(event for story in (begin, *stories) for event in story):
        event = Event(seq, 1, 0.0, type, fields)
        state.apply(event)
        retention.observe(event)
        if type in ("segment.reported", "trial.finished", "trial.failed", "trial.stopped"):
            removed = retention.deletable(state)
            gone = Event(seq, 1, 0.0, "checkpoints.removed", {"removed": [list(each) for each in removed]})
            state.apply(gone)
            retention.observe(gone)
    return {(number, epoch) for number, trial in state.trials.items() for epoch in trial.checkpoints}


def test_a_failed_trial_keeps_its_best_and_its_latest_for_a_retry() -> None:
    failed = story(0.5, 0.1, 0.4, 0.4, then="trial.failed", trial=1)
    worse = story(0.5, 0.3, 0.6, then="trial.failed", trial=2)
    assert kept(story(0.2, 0.3, 0.4, then="trial.stopped"), failed, worse) == {
        (0, 1), (1, 2), (1, 4), (2, 2), (2, 3)
    }  # fmt: skip


def test_a_trial_that_finished_keeps_its_latest_for_an_extension_and_one_that_was_stopped_does_not() -> None:
    finished = story(0.1, 0.2, 0.3, 0.4, then="trial.finished")
    assert kept(finished, story(0.2, 0.3, then="trial.stopped", trial=1), keep_top=2) == {(0, 1), (0, 4), (1, 1)}


@pytest.mark.parametrize("quota", [None, 1])
def test_the_best_trial_that_ended_keeps_its_checkpoint_while_a_better_one_may_still_fail(quota: int | None) -> None:
    running = story(0.1, 0.2, 0.3, then="trial.failed", trial=1)[:-2]
    assert kept(story(0.3, 0.2, then="trial.stopped"), running, quota=quota) == {(0, 2), (1, 1), (1, 3)}


def test_a_quota_costs_failed_trials_their_checkpoints_first_but_not_what_would_win() -> None:
    stories = [
        story(0.2, 0.3, then="trial.stopped"),
        story(0.5, 0.1, 0.4, then="trial.failed", trial=1),
        story(0.9, 0.8, 0.9, then="trial.failed", trial=2),
    ]
    assert kept(*stories, keep_top=3, quota=20) == {(0, 1), (1, 2)}
    assert kept(*stories, keep_top=3, quota=40) == {(0, 1), (1, 2), (2, 2), (2, 3)}
