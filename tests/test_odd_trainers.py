"""Odd Trainers: a trial is what a plain Trainer is with the same arguments, and equals itself wherever it is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.exact_runs import in_segments, judge
from tests.support.markers import sampled
from tests.support.odd_trainers import ODD, odd

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")
QUICK = ["accumulation by the epoch", "averaged weights with batch norm", "checkpoints by steps", "min_epochs"]
SLOW = [name for name in ODD if name not in QUICK]


@pytest.mark.parametrize("name", sampled(list(ODD), slow=SLOW), ids=lambda name: name.replace(" ", "-"))
def test_an_odd_trainer_is_what_it_is_to_lightning_and_equals_itself_after_cuts(name: str, tmp_path: Path) -> None:
    """Reports, validations, steps, learning rates, the weights at the end to the bit, and the best checkpoints."""
    verdict = judge(ODD[name], tmp_path, batches=3)
    assert verdict.faults == []
    assert verdict.outcome == "exact"


def test_a_progress_bar_of_the_users_is_left_out(tmp_path: Path) -> None:
    """A Trainer whose bar is switched off refuses it."""
    history = in_segments(odd({"max_epochs": 1}, {}, {}, ("TQDMProgressBar", {})), tmp_path)
    assert (history.error, history.segments) == ("", [[1]])


def test_a_validation_that_is_never_due_is_named(tmp_path: Path) -> None:
    trained = odd({"check_val_every_n_epoch": None, "val_check_interval": "01:00:00:00", "max_epochs": 1})
    assert "it logs train_loss, and no validation has run" in in_segments(trained, tmp_path).error
