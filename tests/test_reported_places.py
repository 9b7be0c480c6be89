"""Lightning's ways to say how long and how often to train, and the reports that come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ObjectiveError, ProgressError
from orchestrator.training import Report, fit
from tests.support.cut_runs import Plans, compared, job, run
from tests.support.reported_places import LONGER, PLACES, UNTIL

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 under torch 2.15
    pytest.mark.filterwarnings("ignore:.*`__len__` defined"),  # of iterable data with a length
]


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
