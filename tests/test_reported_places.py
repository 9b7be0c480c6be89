"""Lightning's ways to say how long and how often to train, and the reports that come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ObjectiveError, ProgressError
from orchestrator.training import Report, fit
from tests.support.cut_runs import Plans, compared, job, run

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 under torch 2.15
    pytest.mark.filterwarnings("ignore:.*`__len__` defined"),  # of iterable data with a length
]
TWO = {"max_epochs": 2}
LONGER: dict[str, Any] = {"max_epochs": 9}
UNTIL = {"unit": "samples", "until": 31}
STEPS = {"unit": "steps"}
NEVER: dict[str, Any] = {"limit_val_batches": 0}
EVERY: dict[str, Any] = {"check_val_every_n_epoch": None}

# An epoch has 8 batches: 7 of three points and one of two. Each report: epochs, steps, samples.
PLACES: dict[str, tuple[Plans, list[tuple[float, int, int]]]] = {
    "max_epochs": (Plans({"kind": "map"}, {}, TWO), [(1, 8, 23), (2, 16, 46)]),
    "a fraction": (
        Plans({"kind": "map"}, {}, {**TWO, "val_check_interval": 0.5}),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (2, 16, 46)],
    ),
    "a count": (
        Plans({"kind": "map"}, {}, {**TWO, "val_check_interval": 3}),
        [(0.375, 3, 9), (0.75, 6, 18), (1.375, 11, 32), (1.75, 14, 41)],
    ),
    "a count over epochs": (
        Plans({"kind": "map"}, {}, {**TWO, **EVERY, "val_check_interval": 5}),
        [(0.625, 5, 15), (1.25, 10, 29), (1.875, 15, 44)],
    ),
    "every second epoch": (
        Plans({"kind": "map"}, {}, {"max_epochs": 4, "check_val_every_n_epoch": 2}),
        [(2, 16, 46), (4, 32, 92)],
    ),
    "max_steps": (
        Plans({"kind": "map"}, {}, {"max_epochs": -1, "max_steps": 12, "val_check_interval": 4}, progress=STEPS),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35)],
    ),
    "max_steps between two validations": (
        Plans(
            {"kind": "map"}, {}, {**LONGER, "max_steps": 13, "val_check_interval": 4}, progress={**STEPS, "until": 13}
        ),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (1.625, 13, 38)],
    ),
    "every second epoch, until three": (
        Plans(
            {"kind": "map"},
            {},
            {"max_epochs": 3, "check_val_every_n_epoch": 2},
            progress={"unit": "epochs", "until": 3},
        ),
        [(2, 16, 46), (3, 24, 69)],
    ),
    "until so many samples": (
        Plans({"kind": "map"}, {}, {**LONGER, "val_check_interval": 4}, progress=UNTIL),
        [(0.5, 4, 12), (1, 8, 23), (1.375, 11, 32)],
    ),
    "until one and a half epochs": (
        Plans({"kind": "map"}, {}, LONGER, progress={"unit": "epochs", "until": 1.5}),
        [(1, 8, 23), (1.5, 12, 35)],
    ),
    "until a counter of the module": (
        Plans({"kind": "map"}, {}, LONGER, progress={"unit": "metric:seen", "until": 30}),
        [(1, 8, 23), (1.375, 11, 32)],
    ),
    "until so many steps of a stream": (
        Plans({"kind": "stream"}, {}, LONGER, progress=UNTIL),
        [(1, 8, 23), (1, 11, 32)],
    ),
    "until so many samples without validation": (
        Plans({"kind": "map"}, {}, {**LONGER, **NEVER}, metric="train_loss", progress=UNTIL),
        [(1, 8, 23), (1.375, 11, 32)],
    ),
    "limit_train_batches": (
        Plans({"kind": "map"}, {}, {**TWO, "limit_train_batches": 4, "val_check_interval": 2}),
        [(0.5, 2, 6), (1, 4, 12), (1.5, 6, 18), (2, 8, 24)],
    ),
    "accumulation": (
        Plans({"kind": "map"}, {}, {**TWO, "accumulate_grad_batches": 4, "val_check_interval": 3}),
        [(0.375, 0, 9), (0.75, 1, 18), (1.375, 2, 32), (1.75, 3, 41)],
    ),
    "two optimizers by hand": (
        Plans({"kind": "map"}, {"manual": True}, {**TWO, "val_check_interval": 0.5}),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (2, 16, 46)],
    ),
    "loaders made anew": (
        Plans({"kind": "map"}, {}, {**TWO, "reload_dataloaders_every_n_epochs": 1}),
        [(1, 8, 23), (2, 16, 46)],
    ),
    "two validation loaders": (
        Plans({"kind": "map", "val_loaders": 2}, {}, TWO, metric="val_loss/dataloader_idx_1"),
        [(1, 8, 23), (2, 16, 46)],
    ),
    "no validation": (Plans({"kind": "map"}, {}, {**TWO, **NEVER}, metric="train_loss"), [(1, 8, 23), (2, 16, 46)]),
    "no validation, every 3 steps": (
        Plans({"kind": "map"}, {}, {"max_epochs": 1, **NEVER}, metric="train_loss", progress={**STEPS, "every": 3}),
        [(0.375, 3, 9), (0.75, 6, 18), (1, 8, 23)],
    ),
    "no validation, every 10 samples": (
        Plans(
            {"kind": "map"},
            {},
            {"max_epochs": 1, **NEVER},
            metric="train_loss",
            progress={"unit": "samples", "every": 10},
        ),
        [(0.5, 4, 12), (0.875, 7, 21), (1, 8, 23)],
    ),
    "iterable with a length": (
        Plans({"kind": "sized"}, {}, {**TWO, "val_check_interval": 0.5}),
        [(0.5, 4, 12), (1, 8, 23), (1.5, 12, 35), (2, 16, 46)],
    ),
    "iterable without a length, in steps": (
        Plans({"kind": "stream"}, {}, {**TWO, "val_check_interval": 4}, progress=STEPS),
        [(0, 4, 12), (1, 8, 23), (1, 12, 35), (2, 16, 46)],
    ),
}


@pytest.mark.parametrize("cut", [5, 9, 11])
def test_a_training_that_ends_between_validations_ends_there_after_a_cut(cut: int, tmp_path: Path) -> None:
    plans = Plans({"kind": "map", "source": "torch"}, {}, LONGER, progress=UNTIL)
    unbroken, outcome = run(tmp_path / "unbroken", plans), run(tmp_path / "cut", plans, (cut,))
    assert not compared(unbroken, outcome)
    assert outcome.segments == [cut, 11 - cut]


def test_it_goes_on_from_there_if_its_end_is_moved(tmp_path: Path) -> None:
    reports: list[Report] = []

    def report(report: Report) -> bool:
        reports.append(report)
        return True

    for segment, until in enumerate((31, 31, 42)):
        plans = Plans({"kind": "map", "source": ""}, {}, LONGER, progress={"unit": "samples", "until": until})
        fit(job(tmp_path, plans, segment, reports[-1].checkpoint if reports else None), report)
    assert [each.samples for each in reports] == [23, 32, 44]


@pytest.mark.parametrize("name", PLACES)
def test_each_way_to_train_gives_its_reports(name: str, tmp_path: Path) -> None:
    plans, places = PLACES[name]
    plans.data.setdefault("source", "")
    assert [(epoch, step, samples) for epoch, step, samples, *_ in run(tmp_path, plans).reports] == places


def test_progress_in_a_counter_of_the_module(tmp_path: Path) -> None:
    progress = {"unit": "metric:seen"}
    plans = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 1, "val_check_interval": 0.5}, progress=progress)
    assert [report[3] for report in run(tmp_path, plans).reports] == [{"seen": 12.0}, {"seen": 23.0}]


@pytest.mark.parametrize(
    ("counter", "error", "says"),
    [("tokens", ObjectiveError, "has not logged"), ("val_loss", ProgressError, "which fell from")],
)
def test_a_counter_that_does_not_count_is_refused(
    counter: str, error: type[Exception], says: str, tmp_path: Path
) -> None:
    progress = {"unit": f"metric:{counter}"}
    plans = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 9}, progress=progress)
    with pytest.raises(error, match=says):
        run(tmp_path, plans)


def test_data_without_a_length_have_no_place_within_an_epoch(tmp_path: Path) -> None:
    plans = Plans({"kind": "stream", "source": ""}, {}, {"max_epochs": 9, "val_check_interval": 4})
    with pytest.raises(ProgressError, match="the training data have no length") as caught:
        run(tmp_path, plans)
    assert "progress: {unit: steps}" in caught.value.hint


def test_a_reports_checkpoint_is_of_the_same_moment(tmp_path: Path) -> None:
    progress = {"unit": "samples", "until": 18}
    plans = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 1, "val_check_interval": 3}, progress=progress)
    outcome = run(tmp_path, plans)
    assert outcome.reports[-1][:3] == (0.75, 6, 18)
    assert float.fromhex(outcome.reports[-1][-1]["seen"]) == outcome.last["state_dict"]["seen"] == 18


def test_a_report_holds_the_metrics_of_its_moment_alone(tmp_path: Path) -> None:
    plans = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 2, "val_check_interval": 0.5})
    within = {"train_loss", "train_loss_step", "seen", "val_loss"}
    whole = within | {"train_loss_epoch", "largest", "error"}
    assert [set(metrics) for *_, metrics in run(tmp_path, plans).reports] == [within, whole, within, whole]


def test_seconds_of_training_go_on_after_a_cut(tmp_path: Path) -> None:
    plans = Plans({"kind": "map", "source": ""}, {}, {"max_epochs": 1, "val_check_interval": 0.5})
    reports: list[Any] = []

    def report(report: Report) -> bool:
        reports.append(report)
        return len(reports) == 2

    fit(job(tmp_path, plans), report)
    fit(job(tmp_path, plans, 1, reports[-1].checkpoint), report)
    assert 0 < reports[0].seconds < reports[1].seconds
