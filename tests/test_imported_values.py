"""Values of foreign files in forms that are read differently by each tool: the domain is the tool's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from ruamel.yaml import YAML

from orchestrator.spec import import_file
from orchestrator.spec.command_line import invocation

WANDB = "program: train.py\nmethod: random\nmetric: {name: val_loss, goal: minimize}\n"
KATIB = """\
apiVersion: kubeflow.org/v1beta1
kind: Experiment
metadata: {name: exp}
spec:
  objective: {type: minimize, objectiveMetricName: loss}
  maxTrialCount: 3
  parameters:
    - {name: lr, parameterType: double, feasibleSpace: {min: "0.1", max: "0.2"}}
    - {name: mom-entum, parameterType: double, feasibleSpace: {min: "0.5", max: "0.9"}}
    - {name: depth, parameterType: int, feasibleSpace: {list: ["1", "2"]}}
  trialTemplate:
    trialParameters: [{name: learningRate, reference: lr}]
    trialSpec: {spec: {containers: [{command: [python, train.py, "--lr=${trialParameters.learningRate}"]}]}}
"""


@pytest.fixture
def imported(tmp_path: Path) -> Any:
    """Return the text and the sections that a foreign file becomes."""

    def translate(text: str, name: str = "their.yaml", **door: Any) -> tuple[str, Any]:
        (tmp_path / name).write_text(text)
        made = import_file(tmp_path / name, **door)
        return made, YAML(typ="safe").load(made)

    return translate


def hydra(imported: Any, sweeper: str, defaults: str = "", **door: Any) -> tuple[str, Any]:
    return imported(f"defaults: [{defaults}]\nhydra:\n  sweeper:\n{sweeper}", **({"train": "train.py"} | door))  # type: ignore[no-any-return]


def test_an_inverse_distribution_is_said_with_the_numbers_of_its_domain(imported: Any) -> None:
    text, made = imported(f"{WANDB}parameters: {{x: {{distribution: inv_log_uniform, min: 0, max: 5}}}}\n")
    assert made["space"]["x"]["log_uniform"] == pytest.approx([0.006738, 1.0], rel=1e-3)
    assert "e^-5 to e^0, 0.006738 to 1" in text
    assert "148.4" not in text


def test_a_share_of_a_half_is_not_cut_in_silence(imported: Any) -> None:
    text, made = imported(f"{WANDB}early_terminate: {{type: hyperband, min_iter: 3, eta: 2.5}}\nparameters: {{x: 1}}\n")
    assert made["scheduler"]["reduction_factor"] == 2
    assert "eta 2.5 became reduction_factor 2" in text


def test_nested_parameters_are_nested_in_the_json_of_a_command() -> None:
    args = {"optimizer.name": "adam", "optimizer.lr": 0.1, "epochs": 2}
    code = {"program": "train.py", "command": ["python", "${program}", "${args_json}"], "args": args}
    assert json.loads(invocation(code, {}).words[0]) == {"epochs": 2, "optimizer": {"name": "adam", "lr": 0.1}}


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("'{a:1,b:x},{a:2,b:y}'", {"choice": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]}),
        ("'choice({n: [1,2], f: 1e-3}, {n: [3], f: null})'", {"choice": [{"n": [1, 2], "f": 0.001},
                                                                      {"n": [3], "f": None}]}),
        ("'[a,b],[c]'", {"choice": [["a", "b"], ["c"]]}),
        ("'[yes,1:2],[on]'", {"choice": [["yes", "1:2"], ["on"]]}),
        ("'float(range(1,4))'", {"choice": [1.0, 2.0, 3.0]}),
    ],
)  # fmt: skip
def test_values_of_hydra_are_read_by_its_own_grammar(imported: Any, value: str, domain: dict[str, Any]) -> None:
    _, made = hydra(imported, f"    params: {{x: {value}}}\n")
    assert made["space"]["x"] == domain
    assert [type(each) for each in made["space"]["x"]["choice"]] == [type(each) for each in domain["choice"]]


def test_a_range_of_floats_is_one_for_each_sweeper(imported: Any) -> None:
    _, made = hydra(imported, "    ax_config:\n      params: {f: {type: range, bounds: [1, 10], value_type: float}}\n")
    assert made["space"]["f"] == {"uniform": [1.0, 10.0]}
    _, made = hydra(imported, "    n_trials: 3\n    params: {f: 'float(range(1, 4))'}\n")
    assert made["space"]["f"] == {"uniform": [1.0, 4.0], "step": 1.0}


@pytest.mark.parametrize(
    ("sampler", "searcher"), [("random", "random"), ("cmaes", "cmaes"), ("nsgaii", "nsga2"), ("tpe", "tpe")]
)
def test_a_sampler_of_the_defaults_is_the_searcher(imported: Any, sampler: str, searcher: str) -> None:
    chosen = f"override hydra/sweeper: optuna, override hydra/sweeper/sampler: {sampler}"
    text, made = hydra(
        imported, "    sampler: {seed: 123}\n    n_trials: 4\n    params: {x: 'interval(0, 1)'}\n", chosen
    )
    assert made["searcher"]["name"] == searcher
    assert made["seed"] == 123
    assert "chosen elsewhere" not in text


def test_an_interpolated_number_of_trials_is_said_to_be_one(imported: Any) -> None:
    text, made = hydra(imported, "    n_trials: ${trials}\n    params: {x: 'interval(0, 1)'}\n")
    assert made["budget"]["trials"] == 20
    assert "n_trials is '${trials}', which is no number" in text


def test_python_values_that_only_a_run_tells_are_named(imported: Any) -> None:
    text, made = imported(
        "from ray import tune\nspace = {\n"
        "  'act': tune.choice([nn.ReLU, nn.GELU]),\n  'mixed': tune.choice([1, make()]),\n"
        "  'wrong': tune.uniform(low=0.1, high=0.2),\n  'grid': {'grid_search': VALUES},\n"
        "  'nested': tune.choice([{'cls': nn.ReLU}]),\n  'theirs': hp.uniform('theirs', 0, 1),\n"
        "  'lr': tune.uniform(0, 1),\n}\n",
        "their.py",
    )
    assert made["space"] == {"model.lr": {"uniform": [0.0, 1.0]}}
    for name in ("act", "mixed", "nested"):
        assert f"{name}: tune.choice(" in text
    assert text.count("only running the file would tell") >= 3
    assert "theirs: hp.uniform('theirs', 0, 1) is left out: it is a distribution of hyperopt" in text
    assert "wrong: tune.uniform(low=0.1, high=0.2) is left out: `lower` is missing" in text


def test_a_space_that_is_built_in_steps_is_read_as_python_builds_it(imported: Any) -> None:
    text, made = imported(
        "from ray import tune\nspace = {'a': tune.uniform(0, 1), 'old': 3, 'x': 4}\n"
        "space |= {'b': tune.randint(0, 10)}\nspace = space | {'c': 1}\nspace = dict(space, d=tune.uniform(0, 2))\n"
        "for name, high in [('e', 1), ('f', 2)]:\n    space[name] = tune.uniform(0, high)\n"
        "del space['old']\nspace.pop('x')\nspace.setdefault('a', 7)\nspace.setdefault('g', 7)\n"
        "space[given()] = tune.uniform(0, 3)\nother[given()] = 4\ntune.Tuner(train, param_space=space)\n",
        "their.py",
    )
    assert made["space"] == {
        "model.a": {"uniform": [0.0, 1.0]},
        "model.c": {"const": 1},
        "model.b": {"int": [0, 9]},
        "model.d": {"uniform": [0.0, 2.0]},
        "model.e": {"uniform": [0.0, 1.0]},
        "model.f": {"uniform": [0.0, 2.0]},
        "model.g": {"const": 7},
    }
    assert "space[given()] is left out: only running the file would tell its name" in text
    assert "other[" not in text


def test_parameters_that_a_loop_sets_are_there(imported: Any) -> None:
    _, made = imported(
        "import wandb\nparams = {}\nconfig = {'method': 'random', 'parameters': params}\n"
        "for key in ['a', 'b']:\n    params[key] = {'values': [1, 2]}\n"
        "for turn in range(10 ** 9):\n    params['c'] = {'value': 3}\nwandb.sweep(config)\n",
        "their.py",
    )
    assert made["space"] == {"model.a": {"choice": [1, 2]}, "model.b": {"choice": [1, 2]}, "model.c": {"const": 3}}


def test_a_parameter_that_no_container_gets_has_no_prefix(imported: Any) -> None:
    text, made = imported(KATIB)
    assert list(made["space"]) == ["lr", "mom-entum"]
    assert "no trialParameters refers to mom-entum" in text
    assert "is left out: an int needs `min` and `max`" in text


def test_a_study_without_trials_says_so(tmp_path: Path) -> None:
    optuna.create_study(study_name="new", storage=f"sqlite:///{tmp_path}/new.db")
    text = import_file(tmp_path / "new.db", train="objective:main")
    assert "the study new has no trial yet, so that no parameter is known" in text
    assert "--warm-start" not in text
