"""A function instead of a LightningModule: its arguments, its reports, its checkpoints, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Sweep
from orchestrator.errors import SpecError, UsageError
from orchestrator.journal import read
from orchestrator.results import Results
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory
from orchestrator.spec import Finalists, SweepSpec, from_mapping
from orchestrator.sweep import confirm, launch, resume
from orchestrator.sweep import test as on_test_set
from orchestrator.training import Job
from orchestrator.training.doors.call_arguments import bound
from orchestrator.training.doors.code_checks import check_code
from tests.support import functions
from tests.support.doc_blocks import blocks_of
from tests.support.paths import ROOT
from tests.support.segment_reports import reports_of

HOME = "tests.support.functions"


def spec(train: str = "counts", **fields: Any) -> SweepSpec:
    base: dict[str, Any] = {
        "name": "function",
        "seed": 3,
        "train": f"{HOME}:{train}",
        "objective": {"metric": "loss", "mode": "min"},
        "space": {"rate": {"uniform": [0.0, 1.0]}},
        "scheduler": {"name": "asha", "grace": 1, "reduction_factor": 2},
        "budget": {"trials": 6},
    }
    return from_mapping({**base, **fields})


def job(folder: Path, train: str, **args: Any) -> Job:
    model = {"train": f"{HOME}:{train}", "program": "", "command": [], "args": args}
    return Job(
        trial=0,
        segment=0,
        seed=1,
        metric="loss",
        model=model,
        data=None,
        trainer={},
        folder=str(folder / "trials/0000"),
    )


@pytest.mark.parametrize(
    ("function", "args", "value"),
    [
        ("objective", {"rate": 0.5, "optim.momentum": 0.25}, 0.25),
        ("metrics", {"rate": 0.5}, 0.5),
        ("of_dataclass", {"rate": 0.5, "optim.lr": 0.25}, 0.75),
        ("of_dataclass", {"cfg.rate": 0.5}, 0.6),
        ("of_pydantic", {"rate": 0.5}, 0.5),
        ("of_namespace", {"rate": 0.5}, 0.5),
        ("of_dict", {"rate": 0.5}, 0.5),
    ],
)
def test_a_function_gets_its_arguments_in_the_form_that_it_takes(
    function: str, args: dict[str, Any], value: float
) -> None:
    positional, named = bound(getattr(functions, function), args)
    returned = getattr(functions, function)(*positional, **named)
    assert (returned["loss"] if isinstance(returned, dict) else returned) == pytest.approx(value)


def test_a_function_that_returns_is_a_trial_of_one_report(tmp_path: Path) -> None:
    (report,) = reports_of(job(tmp_path, "metrics", rate=0.25))
    assert (report.epoch, report.metrics, report.checkpoint) == (1, {"loss": 0.25, "other": 1.0}, None)


@pytest.mark.parametrize("scheduler", ["guarded_asha", "asha", "median", {"name": "asha", "promote": True}], ids=str)
def test_a_trial_of_one_report_is_trained_once_and_finishes(scheduler: Any, tmp_path: Path) -> None:
    """Whatever its value: at its report it has ended already, and to continue it would begin again."""
    run = launch(spec("metrics", scheduler=scheduler, budget={"trials": 9}), tmp_path, local=True).run
    types = [event.type for event in read(run.journal)]
    assert types.count("segment.started") == types.count("trial.finished") == 9
    assert check(run).violations == []


def test_a_confirmed_winner_without_checkpoint_is_shown_and_not_exported(tmp_path: Path) -> None:
    run = launch(spec("metrics", budget={"trials": 3}), tmp_path, local=True).run
    confirm("function", tmp_path, finalists=Finalists(top=2, trials=6), local=True)
    sweep = Sweep.attach("function", tmp_path)
    assert "In the finals its parameters trained 3 times" in " ".join(sweep.why())
    best = sweep.best()
    assert (best.confirmed, best.checkpoint, best.value) == (True, None, Results(run).rows[0]["best"])
    with pytest.raises(UsageError, match="no checkpoint") as error:
        sweep.export()
    assert "the code saves none" in error.value.hint


def test_once_a_trial_has_reported_twice_first_reports_decide(tmp_path: Path) -> None:
    scheduler = {"name": "guarded_asha", "grace": 1, "reduction_factor": 2}
    run = launch(spec("counts", scheduler=scheduler, budget={"trials": 9}), tmp_path, local=True).run
    paused = [(event["trial"], event.progress) for event in read(run.journal) if event.type == "trial.set_aside"]
    assert (0, 1) not in paused
    assert sum(progress == 1 for _, progress in paused) >= 3
    assert check(run).violations == []


def test_a_function_ends_where_its_report_says_and_continues_from_its_checkpoint(tmp_path: Path) -> None:
    first = reports_of(job(tmp_path, "counts", rate=1.0), most=2)
    saved = first[-1].checkpoint
    assert saved is not None
    second = job(tmp_path, "counts", rate=1.0)
    rest = reports_of(replace(second, segment=1, checkpoint=asdict(saved)))
    assert [(each.epoch, each.metrics["resumed"]) for each in (*first, *rest)] == [(1, 0), (2, 0), (3, 2), (4, 2)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"space": {"rat": {"uniform": [0, 1]}}}, "did you mean rate?"),
        ({"args": {"epochs": "many"}}, "counts's `epochs` must be int"),
        ({"space": {}}, "counts needs the argument `rate`"),
        ({"train": "count"}, "did you mean tests.support.functions.counts?"),
        ({"train": "NOT_A_FUNCTION"}, "is not a function"),
        ({"train": "of_dataclass", "space": {"rates": {"uniform": [0, 1]}}}, "Config has no field 'rates'"),
        ({"train": "of_pydantic", "args": {"width": "x"}}, "Model's `width` must be int"),
    ],
)
def test_what_a_function_cannot_take_is_refused_before_the_start(fields: dict[str, Any], words: str) -> None:
    assert words in "; ".join(map(str, check_code(spec(**fields))))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "tests.support.tiny.Tiny"}, "`model` and `train` exclude each other"),
        ({"program": "train.py"}, "`train` names a function, and `program`"),
        ({"args": {"rate": 1.0}}, "rate is in `space` and in `args`"),
        ({"resources": {"workers": 2}}, "trains in one process"),
        ({"resources": {"tpu": "v5e-16"}}, "cannot be trained on TPU slices"),
    ],
)
def test_what_excludes_a_function_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec(**fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "words"), [("silent", "never reported 'loss'"), ("backwards", "after it was called")]
)
def test_a_function_that_reports_nothing_or_backwards_is_refused(
    train: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SWEEP_NO_PREFLIGHT", raising=False)
    monkeypatch.setattr("orchestrator.sweep.code_run._PATIENCE_SECONDS", 120.0)
    with pytest.raises(SpecError, match=words):
        launch(spec(train), tmp_path, local=True)


@pytest.mark.slow
def test_a_function_that_is_killed_continues_from_its_checkpoint(tmp_path: Path) -> None:
    sweep = spec("killed_once", args={"mark": str(tmp_path / "mark")})
    program = (
        "from tests.test_function_door import *\n"
        f"launch(spec('killed_once', args={{'mark': {str(tmp_path / 'mark')!r}}}), {str(tmp_path)!r}, local=True,"
        " preflight=False)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == -9
    outcome = resume(sweep.name, tmp_path, local=True)
    assert outcome.state.status == "completed"
    reports = [event for event in read(RunDirectory(tmp_path / "function").journal) if event.type == "segment.reported"]
    places = [(event["trial"], event["epoch"]) for event in reports]
    assert len(places) == len(set(places)), "something finished was repeated"
    assert any(event["metrics"]["resumed"] == 2.0 for event in reports)
    confirmed = confirm(outcome.run.name, tmp_path, local=True, finalists=Finalists(top=2, trials=3))
    assert confirmed.state.status == "completed"
    with pytest.raises(UsageError, match="needs a LightningModule"):
        on_test_set(outcome.run.name, tmp_path)


def test_the_example_of_readme_has_15_lines() -> None:
    blocks = [block for block in blocks_of(ROOT / "README.md", ROOT) if block.what.endswith("test_function_door.py")]
    lines = [line for block in blocks for line in block.text.splitlines()]
    assert len([line for line in lines if line.strip() and not line.startswith("#")]) == 15


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/any-code.md"])
def test_the_page_s_example_runs_as_printed(page: str, tmp_path: Path) -> None:
    for block in blocks_of(ROOT / page, ROOT):
        if block.what.endswith("test_function_door.py"):
            (tmp_path / block.text.splitlines()[0].removeprefix("# ")).write_text(block.text)
    program = [sys.executable, "-m", "orchestrator", "launch", "sgd.yaml", "--local", "--set", "budget.trials=8"]
    finished = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False, env=_environment())
    assert finished.returncode == 0, finished.stderr
    assert "best: trial" in finished.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
