"""Tables of finished trials as other programs write them: delimiters, decimal commas, columns of Optuna."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from orchestrator.errors import UsageError
from orchestrator.spec.foreign_trials import read_trials


@pytest.mark.parametrize(
    "text",
    [
        "lr,hidden,val_loss\n0.01,8,0.5\n0.02,16,0.4\n",
        "\ufefflr;hidden;val_loss\r\n0,01;8;0,5\r\n0,02;16;0,4\r\n",
        "config/lr\tconfig/hidden\tval_loss\n0.01\t8\t0.5\n0.02\t16\t0.4\n",
        " lr , hidden , val_loss \n0.01, 8 ,0.5\n0.02,16,0.4,9\n",
        'lr,hidden,"val_loss"\n\n1e-2,8,5e-1\n2e-2,16,4e-1\n',
    ],
    ids=["commas", "a spreadsheet of Europe", "tabs", "spaces", "exponents"],
)
def test_a_table_is_read_whatever_separates_its_columns(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(text, newline="")
    found = read_trials(tmp_path / "table.csv", "val_loss", "min")
    assert [(dict(trial.params), trial.value) for trial in found] == [
        ({"lr": 0.01, "hidden": 8}, 0.5),
        ({"lr": 0.02, "hidden": 16}, 0.4),
    ]


def test_text_with_a_comma_stays_text_where_commas_separate(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text('layers,act,val_loss\n"8,16",relu,0.5\n')
    (trial,) = read_trials(tmp_path / "table.csv", "val_loss", "min")
    assert trial.params == {"layers": "8,16", "act": "relu"}


def test_the_table_of_an_optuna_study_has_its_value_under_another_name(tmp_path: Path) -> None:
    study = optuna.create_study()
    rate = optuna.distributions.FloatDistribution(0, 1)
    study.add_trial(optuna.create_trial(params={"lr": 0.5}, value=0.25, distributions={"lr": rate}))
    study.add_trial(optuna.create_trial(state=optuna.trial.TrialState.FAIL))
    study.trials_dataframe().to_csv(tmp_path / "study.csv")
    (trial,) = read_trials(tmp_path / "study.csv", "val_loss", "min")
    assert (trial.params["lr"], trial.value, trial.status) == (0.5, 0.25, "finished")


def test_a_table_without_the_metric_is_refused_with_its_columns(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("lr,val_acc,value\n0.1,0.5,3\n")
    with pytest.raises(UsageError, match="no trial with a value of val_loss") as raised:
        read_trials(tmp_path / "table.csv", "val_loss", "min")
    assert "it has lr, val_acc, value" in str(raised.value.hint)


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("lr,lr,val_loss\n0.1,0.5,3\n")
    with pytest.raises(UsageError, match="two columns named lr"):
        read_trials(tmp_path / "table.csv", "val_loss", "min")
