"""Progress in other units than epochs: the words, the section of a sweep file, and searches that are decided by it."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from orchestrator.engine.simulator import simulate
from orchestrator.errors import SpecError, UsageError
from orchestrator.journal import Event
from orchestrator.policies.extend_limits import More, extension
from orchestrator.policies.loss_curves import Compared, LossCurve
from orchestrator.policies.scheduler import build_scheduler, scheduler_class
from orchestrator.progress import Amount, amount, place, span, value
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.results.why import why
from orchestrator.seeds import derive_seed
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.spec.progress_options import job_progress
from orchestrator.state import SweepState

UNITS = {
    "epochs": ("epochs", {"max_epochs": 27, "val_check_interval": 0.5}),
    "steps": ("steps", {"max_steps": 2700, "val_check_interval": 100, "check_val_every_n_epoch": None}),
    "samples": ({"unit": "samples", "every": "2k samples", "until": "54k samples"}, {}),
    "seconds": ({"unit": "seconds", "every": 20}, {"max_time": "00:00:09:00"}),
    "counter": ({"unit": "metric:tokens_seen", "every": 1e6, "until": "27M tokens_seen"}, {}),
}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "asha": {"name": "asha"},
    "promote": {"name": "asha", "promote": True},
    "guarded": {"name": "guarded_asha", "reduction_factor": 3},
    "hyperband": {"name": "hyperband"},
    "median": {"name": "median"},
    "patience": {"name": "patience"},
    "pbt": {"name": "pbt"},
    "pb2": {"name": "pb2"},
    "fifo": {"name": "fifo"},
    "ray": {"name": "ray", "class_path": "ray.tune.schedulers.MedianStoppingRule"},
}


def spec(scheduler: Any = "asha", progress: Any = None, trainer: Any = None, **fields: Any) -> SweepSpec:
    base = {"name": "a", "model": "a.B", "objective": {"metric": "loss", "mode": "min"}, "searcher": "random"}
    base |= {"space": {"model.rate": {"uniform": [0, 1]}}, "budget": {"trials": 9}, "scheduler": scheduler}
    return from_mapping({**base, "progress": progress, "trainer": trainer or {}, **fields})


def irregular(params: Mapping[str, Any], number: int) -> float:
    """Within half a span of where the n-th report would be."""
    return number + Random(derive_seed(7, repr(sorted(params.items())), number)).uniform(-0.45, 0.45)


def violations(described: SweepSpec, events: Any) -> list[str]:
    replayed = JournalReplay(described)
    for event in events:
        replayed.take(event)
    return replayed.violations


@pytest.mark.parametrize(
    ("text", "number", "unit"),
    [
        ("500 steps", 500, "steps"), ("1 epoch", 1, "epochs"), ("2e9 samples", 2e9, "samples"), ("10m", 600, "seconds"),
        ("1h30m", 5400, "seconds"), ("90 seconds", 90, "seconds"), ("2M tokens_seen", 2e6, "metric:tokens_seen"),
        ("0.5", 0.5, None), ("2k", 2000, None),
    ],
)  # fmt: skip
def test_text_says_an_amount(text: str, number: float, unit: str | None) -> None:
    said = amount(text)
    assert (float(said), getattr(said, "unit", None)) == (number, unit)


def test_words_for_places_and_amounts() -> None:
    assert [place(3, "epochs"), place(500, "steps"), place(600, "seconds")] == ["epoch 3", "step 500", "10 min"]
    assert [span(1, "epochs"), span(2e6, "metric:tokens_seen"), span(5400, "seconds")] == [
        "1 epoch", "2M tokens_seen", "1 h 30 min",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="such as 500 steps"):
        amount("many")


def test_a_report_says_how_far_it_is_in_each_unit() -> None:
    measures = {"epoch": 0.5, "step": 40, "samples": 1280, "seconds": 2.5, "counters": {"tokens_seen": 1e6}}
    units = ["epochs", "steps", "samples", "seconds", "metric:tokens_seen", "metric:other"]
    assert [value(measures, unit) for unit in units] == [0.5, 40, 1280, 2.5, 1_000_000, None]
    assert value({"metrics": {"tokens_seen": 7.0}}, "metric:tokens_seen") == 7


@pytest.mark.parametrize(
    ("progress", "trainer", "unit", "horizon", "limit"),
    [
        (None, {"max_epochs": 3, "max_steps": 9}, "epochs", 3, {"max_epochs": 3, "max_steps": 9}),
        (None, {"max_epochs": -1, "max_steps": 90}, "steps", 90, {"max_epochs": -1, "max_steps": 90}),
        (None, {"max_time": "00:01:00:00"}, "seconds", 3600, {"max_time": "00:01:00:00"}),
        (None, {"max_time": {"minutes": 10}}, "seconds", 600, {"max_time": {"minutes": 10}}),
        ({"until": "900 steps"}, {}, "steps", 900, {"max_steps": 900}),
        ({"until": "10m"}, {}, "seconds", 600, {"max_time": {"seconds": 600}}),
        ({"unit": "epochs", "until": 4}, {}, "epochs", 4, {"max_epochs": 4}),
        ({"unit": "samples", "until": 2e6}, {}, "samples", 2_000_000, {"max_epochs": -1}),
        ("samples", {"max_epochs": 3}, "samples", None, {"max_epochs": 3}),
        (None, {}, "epochs", 10, {"max_epochs": 10}),
    ],
)
def test_unit_and_end_follow_from_what_is_said(
    progress: Any, trainer: dict[str, Any], unit: str, horizon: float | None, limit: dict[str, Any]
) -> None:
    made = spec("fifo", progress, trainer)
    assert (made.progress.unit, made.horizon, made.trainer) == (unit, horizon, limit)
    assert SweepSpec.model_validate(made.model_dump(mode="json")) == made


@pytest.mark.parametrize(
    ("scheduler", "progress", "trainer", "words"),
    [
        ("fifo", {"until": "5 epochs"}, {"max_epochs": 3}, "progress.until is 5 epochs, and trainer.max_epochs says 3"),
        (
            {"name": "asha", "grace": "500 steps"},
            None,
            {"max_epochs": 9},
            "scheduler.grace is 500 steps, and",
        ),
        ("asha", "samples", {"max_epochs": 9}, "needs a first rung: no end of a trial is known in samples"),
        ("hyperband", "samples", {"max_epochs": 9}, "needs a first rung"),
        ("fifo", "step", {}, "did you mean steps"),
        ("fifo", {"every": 0}, {}, "above zero"),
        ("fifo", {"every": "soon"}, {}, "such as 500 steps"),
    ],
)
def test_what_does_not_fit_is_refused(scheduler: Any, progress: Any, trainer: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec(scheduler, progress, trainer)


def test_the_default_of_grace() -> None:
    assert spec("asha", None, {"max_epochs": 27}).scheduler.grace == 1  # type: ignore[attr-defined]
    one_epoch = spec("asha", None, {"max_epochs": 1, "val_check_interval": 0.01})
    assert one_epoch.scheduler.grace == pytest.approx(1 / 27, rel=1e-5)  # type: ignore[attr-defined]
    steps = {"max_steps": 1000, "val_check_interval": 50, "check_val_every_n_epoch": None}
    assert spec("asha", None, steps).scheduler.grace == 50  # type: ignore[attr-defined]
    assert spec("asha", None, {"max_steps": 2700}).scheduler.grace == 100  # type: ignore[attr-defined]
    assert spec({"name": "asha", "grace_epochs": 3}, None, {"max_epochs": 9}).scheduler.grace == 3  # type: ignore[attr-defined]


def test_a_segment_is_told_what_is_not_usual() -> None:
    assert job_progress(spec("fifo", None, {"max_epochs": 3})) == {}
    said = {"unit": "samples", "every": "1k samples", "until": 5000}
    assert job_progress(spec("fifo", said)) == {"unit": "samples", "every": 1000, "until": 5000}
    assert job_progress(spec("fifo", None, {"max_steps": 5})) == {"unit": "steps", "until": 5}


def test_trials_are_compared_at_equal_progress() -> None:
    curve = LossCurve()
    for progress, loss in ((2, 1.0), (4, 0.6), (7, 0.9)):
        curve.add(progress, loss)
    assert curve.up_to(4) == Compared(0.6)
    between = curve.up_to(3)
    assert between.loss == pytest.approx(0.8)
    assert between.between == (2, 4)
    assert curve.up_to(5) == Compared(0.6), "the best up to there, not what is interpolated"
    assert curve.up_to(1) == Compared(1.0), "its first report lies beyond"
    assert curve.up_to(6, since=5).loss == pytest.approx(0.8)
    assert curve.mean(5) == pytest.approx(0.8)
    assert curve.up_to(9) == Compared(0.6), "a report that was not finite has passed the rung"


def test_why_says_that_a_loss_is_interpolated() -> None:
    described = spec({"name": "asha", "grace": 300}, *UNITS["steps"])
    ran = simulate(described, places=irregular)
    stopped = [t for t in ran.state.trials.values() if t.status == "stopped" and "between" in t.stopped_by]
    assert stopped
    low, high = stopped[0].stopped_by["between"]
    assert low < stopped[0].stopped_by["rung"] < high
    assert {low, high} <= stopped[0].reports.keys()
    text = " ".join(why(ran.state, stopped[0].number))
    assert f"at step {stopped[0].stopped_by['rung']} (interpolated between its reports at" in text


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_decides_in_every_unit_at_irregular_places(scheduler: str, unit: str) -> None:
    progress, trainer = UNITS[unit]
    described = spec(SCHEDULERS[scheduler], progress, trainer, budget={"trials": 6})
    ran = simulate(described, places=irregular, slots=2)
    assert ran.state.status == "completed"
    assert violations(described, ran.events) == []
    assert {trial.status for trial in ran.state.trials.values()} <= {"finished", "stopped"}
    finished = [trial for trial in ran.state.trials.values() if trial.status == "finished"]
    assert finished or scheduler == "patience"
    assert all(trial.progress == described.horizon for trial in finished)


def test_an_epoch_unit_with_regular_reports_decides_as_steps_do() -> None:
    """The same search, with rungs at the same reports: only the numbers' names differ."""
    epochs = spec({"name": "asha", "grace": 1}, None, {"max_epochs": 27})
    steps = spec({"name": "asha", "grace": 100}, {"unit": "steps", "every": 100}, {"max_steps": 2700})
    ends = [{n: len(t.reports) for n, t in simulate(each).state.trials.items()} for each in (epochs, steps)]
    assert ends[0] == ends[1]
    assert len(set(ends[0].values())) > 1


@pytest.mark.parametrize(
    ("progress", "trainer", "times"),
    [
        (None, {"max_epochs": 20}, [2, 4, 18]),  # as earlier versions have it
        (None, {"max_epochs": 1, "val_check_interval": 0.05}, [1, 2, 9]),
        ({"unit": "steps", "every": 50}, {"max_steps": 1000}, [1, 2, 9]),
    ],
)
def test_the_model_of_pb2_counts_intervals_also_within_an_epoch(progress: Any, trainer: Any, times: list[int]) -> None:
    scheduler: Any = build_scheduler(spec("pb2", progress, trainer))
    points = scheduler._points
    assert [scheduler._time(points[number]) for number in (0, 1, len(points) - 1)] == pytest.approx(times)


@pytest.mark.parametrize("unit", UNITS)
def test_a_scheduler_of_rays_is_tried_up_to_the_end_of_a_training(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses late does so before the sweep starts, whatever progress is measured in."""
    progress, trainer = UNITS[unit]
    seen: list[float] = []

    def on_trial_result(self: Any, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        seen.append(result["training_iteration"])
        return "PAUSE" if result["training_iteration"] >= end else "CONTINUE"

    monkeypatch.setattr("ray.tune.schedulers.MedianStoppingRule.on_trial_result", on_trial_result)
    described = spec(SCHEDULERS["ray"], progress, trainer)
    end = described.horizon
    assert end is not None
    with pytest.raises(UsageError, match="answers PAUSE"):
        scheduler_class("ray").preflight(described.scheduler, described)
    assert max(seen) == pytest.approx(end)
    assert len(set(seen)) <= 100


def test_a_budget_in_samples_ends_the_sweep() -> None:
    progress, trainer = UNITS["samples"]
    described = spec("fifo", progress, trainer, budget={"trials": 9, "samples": "100k"})
    ran = simulate(described)
    assert ran.state.reason == "budget.samples"
    assert 100_000 <= ran.state.trained["samples"] < 110_000
    assert violations(described, ran.events) == []


def test_a_sweep_in_seconds_is_extended() -> None:
    progress, trainer = UNITS["seconds"]
    described = spec("asha", progress, trainer)
    ran = simulate(described, more=More(progress=60.0))
    extended = next(event for event in ran.events if event.type == "sweep.extended")
    assert extended["changed"] == {"trainer": {"max_time": {"seconds": 600}}}
    assert {trial.progress for trial in ran.state.trials.values() if trial.status == "finished"} == {600}
    assert violations(described, ran.events) == []
    with pytest.raises(UsageError, match="not in epochs"):
        extension(ran.state, More(epochs=1))
    with pytest.raises(UsageError, match="progress is in seconds, not in steps"):
        extension(ran.state, More(progress=amount("5 steps")))


def test_a_sweep_in_epochs_is_extended_by_a_part_of_one() -> None:
    """The Trainer's limit was its end before, so that ``progress.until`` had no value to be compared with."""
    described = spec("fifo", None, {"max_epochs": 2, "val_check_interval": 0.5}, budget={"trials": 2})
    ran = simulate(described, more=More(progress=0.5))
    assert {trial.progress for trial in ran.state.trials.values()} == {2.5}
    assert violations(described, ran.events) == []


@pytest.mark.parametrize("scheduler", ["pbt", "pb2"])
def test_who_comes_to_a_point_at_the_end_neither_waits_nor_lends(scheduler: str) -> None:
    """Reports are so far apart that most trials pass the last point with their last one."""
    progress = {"unit": "steps", "every": 40, "until": 100}
    described = spec({"name": scheduler, "interval": 50, "quantile": 0.5}, progress, budget={"trials": 6})
    ran = simulate(described, places=lambda params, number: 1 + (number - 1) * (1.1 + params["model.rate"]), slots=2)
    assert violations(described, ran.events) == []
    donors = [event["donor"] for event in ran.events if event.type == "trial.promoted" and "donor" in event.fields]
    assert donors
    assert all(progress < 100 for _, progress in donors)
    assert all(event.progress < 100 for event in ran.events if event.type == "trial.set_aside")
    assert {trial.status for trial in ran.state.trials.values()} == {"finished"}


def test_an_amount_keeps_the_unit_that_it_names() -> None:
    assert (float(Amount(5, "steps")), Amount(5, "steps").unit) == (5.0, "steps")


def test_an_old_journal_is_measured_in_epochs() -> None:
    """Its spec says nothing of progress, and a sweep like it would be measured in steps today."""
    written = spec({"name": "asha", "grace": 3}, None, {"max_steps": 90}).model_dump(mode="json")
    assert written.pop("progress")["unit"] == "steps"
    state = SweepState([Event(0, 1, 0.0, "sweep.created", {"spec": written, "seed": 0, "versions": {}})])
    assert (state.unit, state.spec["progress"]) == ("epochs", {"unit": "epochs", "interpolate": False})
    assert SweepSpec.model_validate(state.spec).horizon is None
