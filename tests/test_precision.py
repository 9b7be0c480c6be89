"""The precision that ``auto`` comes to is one of a trial's, on whatever machine it resumes, and on record."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.engine import controller
from orchestrator.engine.segment_runner import attempt
from orchestrator.journal import read
from orchestrator.results.winner import lineage, winner
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.sweep import extend, launch
from orchestrator.training import Job, resolve_precision
from orchestrator.training.code_check import _shortened
from orchestrator.training.precision import bfloat16_for_numpy
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


def halves(folder: Path, model: str, **trainer: Any) -> Job:
    """Return a trial in bfloat16, which ``auto`` has chosen on its first machine unless ``trainer`` names it."""
    return Job(
        0, 0, 1, "val_loss", {"class_path": f"tests.support.faulty_modules.{model}", "init_args": {}},
        {"class_path": "tests.support.tiny.TinyData", "init_args": {}},
        {"max_epochs": 1, "accelerator": "cpu", **trainer}, str(folder / "run/trials/0000"), precision="bf16-mixed",
    )  # fmt: skip


def test_outputs_of_half_precision_may_go_to_numpy(tmp_path: Path) -> None:
    assert attempt(halves(tmp_path, "ToNumpy"), lambda report: True) is None
    assert "numpy" not in vars(torch.Tensor), "torch is as it was"


def test_an_error_that_may_come_of_the_default_precision_names_the_way_out(tmp_path: Path) -> None:
    failure = attempt(halves(tmp_path, "IntoFloat32"), lambda report: True)
    assert failure is not None
    assert "got Float for the destination and BFloat16" in failure.message
    assert "`trainer: {precision: 32-true}` in the sweep file" in failure.message
    assert "faulty_modules.py" in failure.place
    chosen = attempt(halves(tmp_path / "chosen", "IntoFloat32", precision="bf16-mixed"), lambda report: True)
    assert chosen is not None
    assert "hint" not in chosen.message


def test_the_check_trains_in_the_precision_of_the_trials() -> None:
    assert _shortened({}, 1)["precision"] == HERE
    assert _shortened({"precision": "16-mixed"}, 1)["precision"] == "32-true", "which a CPU lacks"


def test_the_way_to_numpy_may_be_opened_within_itself() -> None:
    """As where an export runs its formats."""
    number = torch.tensor(1.5, dtype=torch.bfloat16)
    with bfloat16_for_numpy():
        with bfloat16_for_numpy():
            assert number.numpy() == 1.5
        assert number.numpy() == 1.5
    assert "numpy" not in vars(torch.Tensor), "torch is as it was"
