"""How often a trial saves checkpoints between two reports: by a share of the time, by time, or by progress."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.engine.controller import SweepController
from orchestrator.errors import SpecError
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.spec.progress_options import job_saving
from orchestrator.training import Interim, Report, fit, interim_saves
from orchestrator.training.interim_saves import SHARE, SHORTEST_SECONDS, InterimSaves
from orchestrator.training.paced_reading import PacedReading
from tests.support.cut_runs import Plans, job
from tests.support.virtual_sweeps import VirtualSweep

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
ALONE: Any = SimpleNamespace(world_size=1)


def spec(every: Any, **fields: Any) -> SweepSpec:
    base = {"name": "saves", "objective": {"metric": "val_loss", "mode": "min"}, "model": "nowhere.Never"}
    space = {"model.width": {"int": [1, 4]}}
    return from_mapping({**base, "space": space, "checkpoints": {"every": every}, **fields})


@pytest.mark.parametrize(
    ("every", "progress", "expected"),
    [
        ("auto", "epochs", {}),
        (None, "epochs", None),
        ("10m", "epochs", {"seconds": 600.0}),
        ("1h30m", "steps", {"seconds": 5400.0}),
        ("500 steps", "steps", {"progress": 500}),
        (0.25, "epochs", {"progress": 0.25}),
        ("2M tokens", "metric:tokens", {"progress": 2_000_000}),
        ("10m", "seconds", {"seconds": 600.0}),
    ],
)
def test_an_interval_is_a_share_a_time_or_an_amount(every: Any, progress: str, expected: Any) -> None:
    described = spec(every, progress={"unit": progress, "until": 10_000_000}, scheduler="fifo")
    assert job_saving(described) == expected
    assert job_saving(SweepSpec.model_validate(described.model_dump())) == expected, "as the journal records it"
    assert VirtualSweep(described).job().save_every == expected


@pytest.mark.parametrize(
    ("every", "says"),
    [
        ("500 samples", "checkpoints.every is 500 samples, and progress is in steps"),
        ("soon", "expected a number"),
        (0, "above zero"),
        (True, "expected auto, a time such as 10m"),
        ([3], "expected auto, a time such as 10m"),
    ],
)
def test_another_interval_is_refused(every: Any, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        spec(every, progress="steps", trainer={"max_steps": 1000}, scheduler="fifo")


class Clock:
    """The clock that decides, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(interim_saves, "time", SimpleNamespace(monotonic=lambda: self.now))


@pytest.mark.parametrize("seed", range(20))
def test_saving_takes_at_most_a_twentieth_of_the_time_whatever_it_costs(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, rng = Clock(monkeypatch), random.Random(seed)
    saves = InterimSaves(lambda: False, {})
    cost = 10 ** rng.uniform(-2, 2)
    batch = max(SHORTEST_SECONDS, cost / SHARE) * 10 ** rng.uniform(-2, 0)
    began = last = clock.now
    spent, gaps = 0.0, []
    saves.begin(lambda: 0.0)
    while clock.now < began + 100 * max(SHORTEST_SECONDS, cost / SHARE):
        clock.now += batch
        if saves.decide(ALONE, lambda: 0.0)[0]:
            gaps.append(clock.now - last)
            took = cost * rng.uniform(0.8, 1.0)
            clock.now += took
            spent += took
            saves.saved(took, lambda: 0.0)
            last = clock.now
    assert spent <= SHARE * (clock.now - began)
    assert max(gaps) <= 2 * max(SHORTEST_SECONDS, cost / SHARE) + batch
    assert len(gaps) > 30, "nor much less than that"


def test_what_the_checkpoints_of_reports_take_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports come a second after a checkpoint between them is due, and take 4.5 % of the time by themselves."""
    clock = Clock(monkeypatch)
    saves = InterimSaves(lambda: False, {})
    saves.begin(lambda: 0.0)
    cost, between, spent, began = 1.45, 0, 0.0, clock.now
    for batch in range(1, 36_000):
        clock.now += 0.1
        is_due = saves.decide(ALONE, lambda: 0.0)[0]
        if is_due or batch % 310 == 0:
            between += is_due
            clock.now, spent = clock.now + cost, spent + cost
            saves.saved(cost, lambda: 0.0)
    assert 0 < between < 20
    assert spent <= SHARE * (clock.now - began) + cost, "a report comes after a checkpoint that could be afforded"


def test_a_reports_checkpoint_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    saves = InterimSaves(lambda: False, {"seconds": 60})
    saves.begin(lambda: 0.0)
    clock.now += 50
    saves.saved(1.0, lambda: 0.0)
    clock.now += 50
    assert saves.decide(ALONE, lambda: 0.0) == (False, False)
    clock.now += 10
    assert saves.decide(ALONE, lambda: 0.0) == (True, False)


@pytest.mark.parametrize("seed", range(20))
def test_a_limit_is_noticed_at_its_step_though_it_is_read_seldom(seed: int) -> None:
    rng = random.Random(seed)
    mean, limit = 10 ** rng.uniform(-3, 3), rng.randrange(50, 5000)
    reading, value, readings, steps = PacedReading(), 0.0, 0, 0

    def read() -> float:
        nonlocal readings
        readings += 1
        return value

    while True:
        steps += 1
        value += mean * rng.uniform(0.9, 1.1)
        if reading.reached(limit * mean, read):
            break
        assert value < limit * mean
    assert readings < 12 + 4 * steps**0.5


def saved_at(tmp_path: Path, plans: Plans, every: dict[str, float] | None) -> tuple[list[int], list[int]]:
    """The steps of the checkpoints between two reports, and those of the reports."""
    interims: list[Interim] = []
    reports: list[Report] = []

    def report(report: Report) -> bool:
        reports.append(report)
        return True

    fit(replace(job(tmp_path, plans), save_every=every), report, interim=interims.append)
    return [each.step for each in interims], [each.step for each in reports]


@pytest.mark.parametrize(
    ("progress", "every", "steps"),
    [
        ({"unit": "steps"}, {"progress": 3}, [3, 6, 11, 14]),
        ({"unit": "samples"}, {"progress": 9}, [3, 6, 11, 14]),
        ({}, {"progress": 0.5}, [4, 12]),
        ({"unit": "metric:seen"}, {"progress": 9}, [3, 6, 11, 14]),
        ({}, None, []),
        ({}, {}, []),
        ({}, {"seconds": 1e-9}, [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15]),
    ],
)
def test_checkpoints_are_saved_every_so_much_and_never_twice(
    progress: dict[str, Any], every: dict[str, float] | None, steps: list[int], tmp_path: Path
) -> None:
    plans = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 2}, progress=progress)
    assert saved_at(tmp_path, plans, every) == (steps, [8, 16])


def test_a_counter_that_is_logged_with_validations_alone_does_not_hinder_a_checkpoint() -> None:
    sweep = VirtualSweep(spec("auto", progress={"unit": "metric:tokens", "until": 100}, scheduler="fifo"))
    controller: SweepController = sweep.controller
    order = sweep.job()
    assert controller.on_interim(order.trial, order.segment, interim(order.trial, order.segment, 3, {}))
    assert controller.state.trials[0].restart_checkpoints[0].progress == 0


def interim(trial: int, segment: int, step: int, counters: dict[str, float]) -> Interim:
    from orchestrator.training import Checkpoint

    path = f"trials/{trial:04d}/checkpoints/epoch=0000-batch={step:06d}-segment={segment}.ckpt"
    return Interim(step / 8, Checkpoint(path, 10, "0" * 64, step / 8), step, 3 * step, float(step), counters)
