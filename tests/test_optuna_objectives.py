"""An Optuna objective as it stands: its trial suggests what the sweep has drawn, and its file tells the space."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from ruamel.yaml import YAML

from orchestrator.errors import SpecError
from orchestrator.journal import read
from orchestrator.rundir import RunDirectory
from orchestrator.space import Space
from orchestrator.spec import SweepSpec, from_mapping, import_file
from orchestrator.spec.importers import python_search
from orchestrator.sweep import launch
from orchestrator.training import Job
from orchestrator.training.code_check import one_batch
from orchestrator.training.doors import optuna_trial
from tests.support import optuna_branches, optuna_objectives
from tests.support.paths import ROOT

HOME = "tests.support.optuna_objectives"
FILE = ROOT / "tests/support/optuna_objectives.py"
X = {"x": {"uniform": [-5, 5]}}


def imported(tmp_path: Path, text: str | None = None) -> tuple[str, Any]:
    """Return the text and the sections of the sweep file that Optuna's file becomes."""
    file = tmp_path / "study.py"
    file.write_text(FILE.read_text() if text is None else text)
    made = import_file(file)
    return made, YAML(typ="safe").load(made)


def spec(function: str, space: dict[str, Any], **fields: Any) -> SweepSpec:
    base = {"name": "optuna", "seed": 3, "train": f"{HOME}:{function}", "objective": {"metric": "value", "mode": "min"}}
    return from_mapping({**base, "space": space, "scheduler": "fifo", "budget": {"trials": 4}, **fields})


def events_of(run: RunDirectory, kind: str) -> list[Any]:
    return [event for event in read(run.journal) if event.type == kind]


def test_a_trial_has_the_value_that_optuna_computes_for_its_parameters(tmp_path: Path) -> None:
    text = FILE.read_text().replace('trial.suggest_float("x"', 'trial.other("x"')
    space = imported(tmp_path, text)[1]["space"]
    trials = launch(spec("objective", space), tmp_path, local=True).state.trials.values()
    assert len(trials) == 4
    for trial in trials:
        (report,) = trial.reports.values()
        fixed = optuna.trial.FixedTrial(dict(trial.params))
        assert report.metrics["value"] == pytest.approx(optuna_objectives.objective(fixed))  # type: ignore[arg-type]


def test_intermediate_reports_are_reports_and_a_pruned_trial_ends(tmp_path: Path) -> None:
    run = launch(spec("pruning", X), tmp_path, local=True).run
    ends = {event["trial"]: event.progress for event in events_of(run, "trial.finished")}
    assert ends == {0: 4, 1: 6, 2: 6, 3: 6}
    failed = launch(spec("pruned_at_once", X, name="at-once"), tmp_path, local=True).state
    assert "TrialPruned" in next(iter(failed.trials.values())).failures[0].message


def test_the_callback_for_lightning_reports_what_the_trainer_reports(tmp_path: Path) -> None:
    space = {"rate": {"log_uniform": [1e-3, 1e-1]}}
    described = spec("with_trainer", space, objective={"metric": "val_loss", "mode": "min"}, budget={"trials": 2})
    run = launch(described, tmp_path, local=True).run
    assert [event.progress for event in events_of(run, "segment.reported")] == [1, 2, 1, 2]
    assert len(events_of(run, "trial.finished")) == 2


@pytest.mark.parametrize(
    ("args", "words", "hint"),
    [
        ({"y": 1.0}, "the objective asks for 'x', which is not in `space`", "add x: {uniform: [-5, 5]}"),
        ({"x": 9.0}, "x is 9.0, and the objective asks for -5 to 5", "write x: {uniform: [-5, 5]}"),
    ],
)
def test_what_the_space_lacks_is_refused_before_the_start(
    args: dict[str, Any], words: str, hint: str, tmp_path: Path
) -> None:
    model = {"train": f"{HOME}:pruning", "program": "", "command": [], "args": args}
    job = Job(
        trial=0, segment=0, seed=1, metric="value", model=model, data=None, trainer={}, folder=str(tmp_path / "0")
    )
    finding = one_batch(job)
    assert (finding.outcome, finding.rule, finding.message, finding.hint) == ("refused", "suggestion", words, hint)


def test_the_space_of_a_file_is_what_optuna_draws_from(tmp_path: Path) -> None:
    """By the distributions of a study that runs the same function."""
    text, sections = imported(tmp_path)
    study = optuna.create_study()
    study.optimize(optuna_objectives.objective, n_trials=20)
    drawn = {name: distribution for trial in study.trials for name, distribution in trial.distributions.items()}
    space = Space(sections["space"])
    assert set(space) == {*drawn, "x"}
    assert sections["train"] == "study:objective"
    assert sections["objective"] == {"metric": "value", "mode": "max"}
    assert sections["budget"] == {"trials": 100, "wall_clock": "600s"}
    assert sections["searcher"] == {"name": "random"}
    assert "rate" in text.partition("\nname:")[0]
    for trial in study.trials:
        for name, value in trial.params.items():
            assert space[name].contains(value), (name, value)
    assert space["rate"].to_yaml() == {"log_uniform": [1e-5, 1e-1]}
    assert space["drop_1"].to_yaml() == {"uniform": [0.0, 0.5], "step": 0.1}


def test_a_name_is_in_the_parameters_where_the_objective_asks_for_it(tmp_path: Path) -> None:
    """By what Optuna's own trials ask for, in branches and loops that depend on what was drawn."""
    text = inspect.getsource(optuna_branches.branching)
    text += "optuna.create_study().optimize(branching, n_trials=5)\n"
    space = Space(imported(tmp_path, text)[1]["space"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(1))
    study.optimize(optuna_branches.branching, n_trials=300)
    asked = [trial.params for trial in study.trials]
    assert set(space) == {name for params in asked for name in params}
    for params in asked:
        active = {name for name in space if space.active(params, name)}
        assert set(params) == active, params
    assert space["n_units_l2"].when == {"n_layers": (3,)}
    assert not space["n_units_l0"].when
    train = "tests.support.optuna_branches:branching"
    launch(spec("", space.to_yaml(), train=train, budget={"trials": 20}), tmp_path, local=True)


def test_a_variable_of_another_function_decides_nothing(tmp_path: Path) -> None:
    text = (
        "def objective(trial):\n    kind = trial.suggest_categorical('kind', ['a', 'b'])\n    return other(trial, 1)\n"
        "def other(trial, kind):\n    if kind == 'a':\n        return trial.suggest_int('x', 1, 3)\n    return 0\n"
    )
    assert imported(tmp_path, text)[1]["space"]["x"] == {"int": [1, 3]}


@pytest.mark.parametrize(
    "arguments", ["trial, 'val_acc'", "trial, monitor='val_acc'", "monitor='val_acc', trial=trial"]
)
def test_the_metric_of_a_pruned_trainer_is_what_its_callback_monitors(arguments: str, tmp_path: Path) -> None:
    text = f"{FILE.read_text()}\ncallbacks = [PyTorchLightningPruningCallback({arguments})]\n"
    text, sections = imported(tmp_path, text)
    assert sections["objective"] == {"metric": "val_acc", "mode": "max"}
    assert "PyTorchLightningPruningCallback monitors val_acc" in text


def test_what_only_a_run_would_tell_is_said(tmp_path: Path) -> None:
    text = (
        "def objective(trial):\n    n = trial.suggest_int('n', 1, 3)\n"
        "    return sum(trial.suggest_float(f'x{i}', 0, 1) for i in range(n)) + trial.suggest_float('y', 0, TOP)\n"
        "    trial.suggest_int('{:>999999999999}'.format(1), 1, 2)\n"
        "    for _ in range(other(trial)):\n        trial.suggest_int('in_a_loop', 1, 2)\n"
        "    if n > 3:\n        trial.suggest_int('never', 1, 2)\n"
        "    if n > other(trial):\n        trial.suggest_int('sometimes', 1, 2)\n"
    )
    made, sections = imported(tmp_path, text)
    assert {name: domain.get("when") for name, domain in sections["space"].items()} == {
        "n": None, "in_a_loop": None, "sometimes": None, "never": None,
        "x0": None, "x1": {"n": [2, 3]}, "x2": {"n": [3]},
    }  # fmt: skip
    assert made.count("is left out: only running the file would tell its") == 2
    assert sections["scheduler"] == {"name": "fifo"}
    assert "the file has no n_trials" in made
    assert python_search.kind_of(text) == "Python file with an objective of Optuna"


@pytest.mark.parametrize(
    ("sampler", "searcher"),
    [
        ("", {"searcher": {"name": "nsga2"}}),
        (", sampler=optuna.samplers.RandomSampler()", {"searcher": {"name": "random"}}),
        (", sampler=optuna.samplers.TPESampler()", {}),
    ],
)
def test_several_objectives_have_the_front_of_optunas_study(
    sampler: str, searcher: dict[str, Any], tmp_path: Path
) -> None:
    """Of the same parameters."""
    study = f"create_study(directions=['minimize', 'maximize']{sampler})"
    text = f"{inspect.getsource(optuna_branches.two)}\nstudy = optuna.{study}\nstudy.optimize(two, n_trials=12)\n"
    sections = imported(tmp_path, text)[1]
    also = [{"metric": "values_1", "mode": "max"}]
    assert sections["objective"] == {"metric": "values_0", "mode": "min", "also": also}
    assert {key: value for key, value in sections.items() if key == "searcher"} == searcher
    assert sections["scheduler"] == {"name": "fifo"}
    described = from_mapping({**sections, "train": "tests.support.optuna_branches:two"})
    state = launch(described, tmp_path, local=True).state
    reference = optuna.create_study(directions=["minimize", "maximize"])
    for trial in state.trials.values():
        reference.enqueue_trial(dict(trial.params))
    reference.optimize(optuna_branches.two, n_trials=len(state.trials))
    assert sorted(state.front()) == sorted(trial.number for trial in reference.best_trials)


@pytest.mark.parametrize(
    "run",
    [
        "study.optimize(objective, n_trials=3)",
        "main()",
        "try:\n    main()\nfinally:\n    say(study.best_value)",
    ],
)
def test_a_study_that_its_file_runs_when_it_is_imported_is_left_out(
    run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many files have no `if __name__ == "__main__"`."""
    file, calls = tmp_path / "unguarded_study.py", tmp_path / "calls"
    log = str(tmp_path / "study.log")
    before = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(log))
    optuna.create_study(storage=before, study_name="s")  # it was run before
    storage = f"optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend({log!r}))"
    file.write_text(
        "import optuna\n\ndef say(what):\n"
        f"    with open({str(calls)!r}, 'a') as file:\n        print(what, file=file)\n\n"
        "def objective(trial):\n    say(trial.number)\n"
        "    return trial.suggest_float('x', 0, 1)\n\n"
        f"study = optuna.create_study(storage={storage}, study_name='s')\n"
        f"def main():\n    study.optimize(objective, n_trials=3)\n{run}\n"
        "say(study.best_value)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "unguarded_study", raising=False)
    described = from_mapping({**YAML(typ="safe").load(import_file(file)), "budget": {"trials": 2}})
    state = launch(described, tmp_path, local=True, preflight=False).state
    assert [trial.status for trial in state.trials.values()] == ["finished", "finished"]
    assert calls.read_text() == "0\n1\n"
    study = optuna.create_study()
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    assert len(study.trials) == 2, "Optuna is itself afterwards"


READ = {
    "elements of a comprehension": (
        "n = trial.suggest_int('n', 1, 3)\n"
        "layers = f(*[Linear(trial.suggest_int(f'u{i}', 4, 8), 3) for i in range(n)])\n"
        "penalty = sum(trial.suggest_float(f'x{i}', 0, 1) ** 2 for i in range(2))",
        {"n": None, "u0": None, "u1": {"n": [2, 3]}, "u2": {"n": [3]}, "x0": None, "x1": None},
    ),
    "a range around a suggestion": (
        "n = trial.suggest_int('n', 1, 3)\nfor i in range(1, n + 1):\n    trial.suggest_int(f'u{i}', 4, 8)",
        {"n": None, "u1": None, "u2": {"n": [2, 3]}, "u3": {"n": [3]}},
    ),
    "a variable that both branches set": (
        "kind = trial.suggest_categorical('kind', ['svm', 'lr'])\n"
        "if kind == 'svm':\n    penalty = trial.suggest_categorical('svm_penalty', ['l2', 'none'])\n"
        "else:\n    penalty = trial.suggest_categorical('lr_penalty', ['l1', 'elasticnet'])\n"
        "if penalty == 'l2':\n    trial.suggest_float('C', 0.1, 10)",
        {"kind": None, "svm_penalty": {"kind": ["svm"]}, "lr_penalty": {"kind": ["lr"]}, "C": None},
    ),
    "one name of two domains": (
        "penalty = trial.suggest_categorical('penalty', ['l1', 'l2'])\n"
        "if penalty == 'l1':\n    solver = trial.suggest_categorical('solver', ['saga', 'liblinear'])\n"
        "else:\n    solver = trial.suggest_categorical('solver', ['lbfgs', 'sag'])\n"
        "    if solver == 'sag':\n        trial.suggest_float('tol', 0, 1)",
        {"penalty": None, "solver": None, "tol": {"penalty": ["l2"]}},
    ),
    "a branch that is never taken": (
        "model = trial.suggest_categorical('model', ['a', 'b'])\nif model == 'a':\n    trial.suggest_int('pa', 1, 2)\n"
        "elif model == 'b':\n    trial.suggest_int('pb', 1, 2)\nelse:\n    trial.suggest_int('pc', 1, 2)",
        {"model": None, "pa": {"model": ["a"]}, "pb": {"model": ["b"]}, "pc": None},
    ),
    "a loop whose turns are unknown": (
        "for i in range(3):\n    pass\nfor i in range(other()):\n    trial.suggest_int(f'u{i}', 1, 2)\n"
        "k = trial.suggest_int('k', 1, X.shape[1])\ntrial.suggest_int('known', 1, 2)",
        {"known": None},
    ),
}


@pytest.mark.parametrize("case", READ)
def test_what_is_read_is_what_may_be_asked_for(case: str, tmp_path: Path) -> None:
    body, expected = READ[case]
    text = "def objective(trial):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    made, sections = imported(tmp_path, text)
    assert {name: domain.get("when") for name, domain in sections["space"].items()} == expected
    assert made.count("is left out") == (2 if case == "a loop whose turns are unknown" else 0)


@pytest.mark.parametrize(
    ("study", "modes"),
    [
        ("directions=['minimize'] * 2", ["min", "min"]),
        ("direction=optuna.study.StudyDirection.MAXIMIZE", ["max"]),
        ("directions=[StudyDirection.MAXIMIZE, 'minimize']", ["max", "min"]),
    ],
)
def test_a_direction_is_read_however_it_is_written(study: str, modes: list[str], tmp_path: Path) -> None:
    text = f"{inspect.getsource(optuna_branches.two)}\nstudy = optuna.create_study({study})\n"
    objective = imported(tmp_path, text)[1]["objective"]
    assert [objective["mode"], *(each["mode"] for each in objective.get("also", []))] == modes


def test_directions_that_only_a_run_tells_are_refused(tmp_path: Path) -> None:
    text = f"{inspect.getsource(optuna_branches.two)}\nstudy = optuna.create_study(directions=args.directions)\n"
    with pytest.raises(SpecError, match="only running the file would tell how many objectives"):
        imported(tmp_path, text)


def test_a_tuple_among_the_choices_is_the_objectives_own() -> None:
    trial = optuna_trial.OptunaTrial({"sizes": [64, [8]]})
    assert trial.suggest_categorical("sizes", [(32,), (64, (8,))]) == (64, (8,))
