"""`sweep launch --script`: a sweep file of a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.script_launch import with_sweep_file
from orchestrator.errors import UsageError
from orchestrator.spec import load

OPTIONS = {"--local": False, "--set": True, "--runs": True}


def test_the_words_become_a_sweep_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "launch", "--script", "train.py", "--local", "--lr", "log_uniform:1e-4,1e-2", "--opt=choice:adam,sgd",
        "--epochs", "4", "--set", "budget.trials=3", "--objective", "val/loss:min", "--", "--fixed", "flag",
    ]  # fmt: skip
    made = with_sweep_file(words, OPTIONS)
    assert made == ["launch", "train.sweep.yaml", "--local", "--set", "budget.trials=3"]
    assert with_sweep_file(words, OPTIONS) == made, "the same words again"
    spec = load("train.sweep.yaml")
    assert (spec.program, spec.name) == ("train.py", "train.sweep")
    assert spec.command == ["python", "${program}", "--fixed", "flag", "${args}"]
    assert (spec.objective.metric, spec.objective.mode) == ("val/loss", "min")
    assert spec.args == {"epochs": 4}
    written = spec.model_dump(mode="json")["space"]
    assert written == {"lr": {"log_uniform": [1e-4, 1e-2]}, "opt": {"choice": ["adam", "sgd"]}}
    with pytest.raises(UsageError, match="exists and says something else"):
        with_sweep_file([*words, "more"], OPTIONS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr"], "--lr has no value"),
        (["--lr", "--local"], "--lr has no value"),
        (["lr=1"], "unexpected argument 'lr=1'"),
        (["--objective", "val_loss"], "is not of the form METRIC:min"),
        (["--lr", "uniform:0,1"], "needs an objective"),
    ],
)
def test_words_that_say_nothing_are_refused(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message):
        with_sweep_file(["launch", "--script", "train.py", *words], OPTIONS)
    assert not list(tmp_path.iterdir())


def test_other_command_lines_are_as_they_were() -> None:
    for words in (["launch", "sweep.yaml", "--local"], ["results"], ["launch", "x.yaml", "--", "--script"][:2]):
        assert with_sweep_file(words, OPTIONS) == words
