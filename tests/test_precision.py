"""The precision that ``auto`` comes to is one of a trial's, on whatever machine it resumes, and on record."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.engine import controller
from orchestrator.journal import read
from orchestrator.results.winner import lineage, winner
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.sweep import extend, launch
from orchestrator.training import Job, resolve_precision
from tests.support.small_sweeps import spec

HERE = str(resolve_precision(accelerator="cpu"))
ELSEWHERE = "32-true" if HERE == "bf16-mixed" else "bf16-mixed"
"""The default of a processor of the other kind. Both kinds train in either."""


def checkpoints(run: RunDirectory) -> list[dict[str, Any]]:
    return [dict(event.fields) for event in read(run.journal) if event.type == "segment.checkpointed"]


def losses(state: SweepState) -> list[float | None]:
    return [state.trials[0].value(epoch, "val_loss") for epoch in (1, 2, 3)]


def tiny(**trainer: Any) -> Any:
    arguments = {"max_epochs": 2, "accelerator": "cpu", **trainer}
    return spec(searcher="random", scheduler="fifo", budget={"trials": 1}, trainer=arguments)


@pytest.mark.slow
def test_a_trial_keeps_its_precision_on_a_machine_with_another_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(controller, "Job", lambda **fields: Job(**{**fields, "precision": ELSEWHERE}))
        launched = launch(tiny(), tmp_path, local=True)
    extended = extend("tiny", tmp_path, epochs=1, local=True)
    assert extended.state.trials[0].segments == 2
    saved = checkpoints(launched.run)
    assert [checkpoint.get("precision") for checkpoint in saved] == [ELSEWHERE, None, None], "recorded where it changes"
    named = launch(tiny(precision=ELSEWHERE, max_epochs=3), tmp_path / "named", local=True)
    assert losses(extended.state) == losses(named.state), "it trained in what it says"
    won = winner(extended.run, extended.state)
    assert [stage.trainer["precision"] for stage in lineage(won)] == [ELSEWHERE], "a bundle is trained again in it"


def test_a_precision_that_the_sweep_file_names_is_not_recorded(tmp_path: Path) -> None:
    outcome = launch(tiny(precision="32-true"), tmp_path, local=True)
    assert [checkpoint.get("precision") for checkpoint in checkpoints(outcome.run)] == [None, None]
    assert outcome.state.trials[0].as_trained({"precision": "32-true"}) == {"precision": "32-true"}


def test_a_journal_of_an_earlier_version_leaves_it_to_the_machine() -> None:
    earlier = partial(resolve_precision, accelerator="cpu")
    assert earlier(earlier="") == HERE
    assert earlier(earlier=ELSEWHERE) == ELSEWHERE
    assert earlier(precision="64-true", earlier=ELSEWHERE) == "64-true"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_half_precision_of_a_gpu_does_not_follow_a_trial_to_a_cpu() -> None:
    assert resolve_precision(accelerator="cpu", earlier="16-mixed") == HERE
