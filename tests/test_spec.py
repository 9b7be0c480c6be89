"""The sweep file: read, overridden, written back, described by its schema; and other tools' files made into one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.policies.schedulers.asha import ASHA
from orchestrator.policies.schedulers.fifo import FIFO
from orchestrator.policies.searchers.density_ratio import DensityRatio
from orchestrator.policies.searchers.grid import Grid
from orchestrator.policies.searchers.random import Random
from orchestrator.policies.searchers.tpe import TPE
from orchestrator.space import Space
from orchestrator.spec import (
    SweepSpec,
    apply,
    dump,
    from_mapping,
    import_file,
    json_schema,
    load,
    shipped,
    to_yaml,
)
from orchestrator.spec.yaml_document import NODE_LIMIT, SIZE_LIMIT, read
from tests.support.markers import examples

FULL = """\
# search_spaces/cifar10.yaml
name: cifar10-litmodel
seed: 7
objective: {metric: val_acc, mode: max}

model:
  class_path: orchestrator.models.LitModel
  init_args: {num_classes: 10}
data:
  class_path: orchestrator.data.CIFAR10DataModule
  init_args: {data_dir: ./data}
trainer: {max_epochs: 30, precision: auto}

space:
  model.learning_rate: {log_uniform: [1e-4, 1e-2]}
  model.dropout:       {uniform: [0.0, 0.5], step: 0.05}
  data.batch_size:     {choice: [64, 128, 256]}

searcher:  {name: tpe}
scheduler: {name: asha, grace_epochs: 3, reduction_factor: 3}
budget:    {trials: 64, wall_clock: 4h}
resources: {cpus: 4, gpus: 1}
tracking:  {wandb: {project: cifar10, mode: auto}}
"""
SHORT = "objective: {metric: val_acc, mode: max}\nmodel: a.B\n"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str, name: str = "my.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_full_file_means_what_it_says(write: Any) -> None:
    spec = load(write(FULL))
    assert (spec.name, spec.seed, spec.objective.mode) == ("cifar10-litmodel", 7, "max")
    assert spec.model.init_args == {"num_classes": 10}
    assert spec.space["model.learning_rate"].to_yaml() == {"log_uniform": [0.0001, 0.01]}
    assert isinstance(spec.searcher, TPE)
    assert spec.scheduler == ASHA(grace=3, reduction_factor=3)
    assert (spec.budget.trials, spec.budget.wall_clock) == (64, 4 * 3600)
    assert spec.tracking.enabled["wandb"]["project"]
    assert spec.locate(("space", "model.dropout"))["line"] == 16


def test_a_short_file_gets_the_defaults(write: Any) -> None:
    spec = load(write(SHORT, "my own sweep.yaml"))
    assert spec.name == "my-own-sweep"
    assert spec.trainer == {"max_epochs": 10}
    assert spec.budget.trials == 20
    assert spec.space == Space()
    assert (spec.resources.cpus, spec.resources.gpus, spec.resources.concurrent) == ("auto", "auto", None)


@pytest.mark.parametrize(
    ("text", "trials"),
    [("searcher: grid", None), ("budget: {wall_clock: 1h}", None), ("budget: {trials: 3}", 3), ("budget:", 20)],
)
def test_twenty_trials_unless_something_else_bounds_the_sweep(write: Any, text: str, trials: int | None) -> None:
    assert load(write(f"{SHORT}{text}\n")).budget.trials == trials


def test_numbers_are_those_of_yaml_1_2() -> None:
    text = b"[1e-4, 1E5, -.5, 0x1f, 0o17, 010, no, on, 1_000, 12:30, .inf, ~, 'y', 2020-01-01, +3, 1.]"
    data = read(text, "")[0].data
    assert data == [1e-4, 1e5, -0.5, 31, 15, 10, "no", "on", "1_000", "12:30", float("inf"), None, "y", "2020-01-01",
                    3, 1.0]  # fmt: skip


def test_wall_clock_reads_like_a_clock(write: Any) -> None:
    for text, seconds in [("90s", 90), ("1h30m", 5400), ("2d", 172800), ("1.5h", 5400), ("45", 45), ("10m 5s", 605)]:
        assert load(write(SHORT), [f"budget.wall_clock={text}"]).budget.wall_clock == seconds


def test_a_spec_written_back_is_the_same_sweep(write: Any) -> None:
    spec = load(write(FULL))
    again = load(write(to_yaml(spec), "again.yaml"))
    assert again == spec
    assert to_yaml(again) == to_yaml(spec)
    assert from_mapping(spec.model_dump(mode="json")) == spec


words = st.text(max_size=10) | st.sampled_from(["1e-4", "no", "~", "0x1", "1_000", "<<", "=", "- a", "a: b", "#", ".5"])
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=examples(150))
@given(st.dictionaries(words, plain, max_size=4))
def test_whatever_is_dumped_reads_back(data: dict[str, Any]) -> None:
    document, problems = read(dump({"init_args": data}).encode(), "")
    assert not problems
    assert document.data == {"init_args": data}


def test_overrides_reach_every_field(write: Any) -> None:
    overrides = [
        "space.model.learning_rate={uniform: [0, 1]}",
        "space.model.width={choice: [1, 2]}",
        "budget.trials=4",
        "trainer.max_epochs=2",
        "trainer.max_epochs=3",
        "data.init_args.data_dir=/data",
        "model.init_args.encoder.init_args.hidden=8",
        "searcher=random",
        "scheduler={name: fifo}",
        "tracking.wandb.entity=a",
    ]
    spec = load(write(FULL), overrides, name="other")
    assert spec.name == "other"
    assert list(spec.space) == ["model.learning_rate", "model.dropout", "data.batch_size", "model.width"]
    assert (spec.budget.trials, spec.trainer["max_epochs"]) == (4, 3)
    assert spec.data is not None
    assert spec.data.init_args == {"data_dir": "/data"}
    assert spec.model.init_args["encoder"] == {"init_args": {"hidden": 8}}
    assert (spec.searcher, spec.scheduler) == (Random(), FIFO())
    assert load(write(SHORT), ["model.init_args.x=1"]).model.init_args == {"x": 1}
    assert load(write(f"{SHORT}searcher: tpe"), ["searcher.startup_trials=3"]).searcher == TPE(startup_trials=3)


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("budget.trails=4", "unknown key 'trails'", "did you mean trials?"),
        ("budget.trials=0", "`trials >= 1` must hold", "trials: 64"),
        ("budget.trials=many", "must be an integer", ""),
        ("space.model.learning_rate={uniform: [3, 1]}", "`low <= high` must hold", "swap"),
        ("space.learning_rate={uniform: [0, 1]}", "starts with model.", "model.learning_rate"),
        ("model.learning_rate=3", "unknown key 'learning_rate'", "model.init_args.learning_rate"),
        ("budget.trials.x=4", "budget.trials is 64 and holds no fields", ""),
        ("budget.trials", "key=value", "e.g."),
        ("=4", "names no field", ""),
        ("budget={trials: [", "not YAML", ""),
    ],
)
def test_an_override_that_is_wrong_is_named_in_place_of_the_file(
    write: Any, override: str, message: str, hint: str
) -> None:
    with pytest.raises(SpecError) as caught:
        load(write(FULL), [override])
    (problem,) = caught.value.problems
    assert (problem.file, problem.line) == (f"--set {override}", 0)
    assert message in problem.message
    assert hint in problem.hint
    assert str(problem).startswith(f"--set {override}: ")


def test_a_name_cannot_leave_the_run_directory(write: Any) -> None:
    for name in ["../x", ".hidden", "-x", "a/b", "", "x" * 101, "a b", "ü"]:
        with pytest.raises(SpecError, match="a name is 1 to 100") as caught:
            load(write(SHORT), name=name)
        assert caught.value.problems[0].file == f"--name {name}"


def test_lightning_cli_configs_are_sweeps_as_they_stand(write: Any) -> None:
    text = f"seed_everything: 5\nckpt_path: null\n{SHORT}trainer: {{logger: null, max_epochs: null, callbacks: a.C}}\n"
    spec = load(write(text))
    assert spec.seed == 5
    assert spec.trainer == {"max_epochs": 10, "callbacks": [{"class_path": "a.C", "init_args": {}}]}
    assert load(write(f"seed_everything: true\n{SHORT}")).seed == 0
    with pytest.raises(SpecError, match=r"my.yaml:1:1: `seed_everything` and `seed` are the same"):
        load(write(f"seed_everything: 5\nseed: 3\n{SHORT}"))


def test_parameters_are_put_where_their_names_point() -> None:
    spec = from_mapping(
        {
            "name": "a",
            "objective": {"metric": "v", "mode": "max"},
            "model": {"class_path": "a.B", "init_args": {"encoder": {"class_path": "a.E"}, "decoder": "a.D"}},
            "data": "a.Data",
            "trainer": {"callbacks": [{"class_path": "a.C"}]},
            "space": {
                "model.lr": {"const": 1},
                "model.encoder.hidden": {"const": 1},
                "model.decoder.init_args.hidden": {"const": 1},
                "model.options.deep.er": {"const": 1},
                "data.batch_size": {"const": 1},
                "trainer.max_epochs": {"const": 1},
                "trainer.callbacks.0.patience": {"const": 1},
            },
        }
    )
    before = to_yaml(spec)
    model, data, trainer = apply(spec, {name: index for index, name in enumerate(spec.space)})
    assert model.init_args == {
        "lr": 0,
        "encoder": {"class_path": "a.E", "init_args": {"hidden": 1}},
        "decoder": {"class_path": "a.D", "init_args": {"hidden": 2}},
        "options": {"deep": {"er": 3}},
    }
    assert data is not None
    assert data.init_args == {"batch_size": 4}
    assert trainer["max_epochs"] == 5
    assert trainer["callbacks"] == [{"class_path": "a.C", "init_args": {"patience": 6}}]
    assert to_yaml(spec) == before


def test_a_whole_class_is_set_before_what_is_inside_it() -> None:
    spec = from_mapping(
        {
            "name": "a",
            "objective": {"metric": "v", "mode": "max"},
            "model": "a.B",
            "space": {"model.encoder.hidden": {"int": [1, 4]}, "model.encoder": {"choice": ["a.E", "a.F"]}},
        }
    )
    model, _, _ = apply(spec, {"model.encoder.hidden": 3, "model.encoder": "a.F"})
    assert model.init_args == {"encoder": {"class_path": "a.F", "init_args": {"hidden": 3}}}


class Outside:
    """Stands for a user's class."""


def test_python_says_the_same_as_a_file() -> None:
    spec = from_mapping({"name": "a", "objective": {"metric": "v", "mode": "max"}, "model": Outside})
    assert spec.model.class_path == f"{__name__}.Outside"
    with pytest.raises(SpecError, match="unknown key 'modle'") as caught:
        from_mapping({"name": "a", "objective": {"metric": "v", "mode": "max"}, "modle": Outside})
    assert caught.value.problems[0].hint == "did you mean model?"
    with pytest.raises(SpecError, match=r"model\.init_args\.x: an object of object has no plain form"):
        from_mapping(
            {
                "name": "a",
                "objective": {"metric": "v", "mode": "max"},
                "model": {"class_path": "a.B", "init_args": {"x": object()}},
            }
        )


def test_a_grid_needs_separate_values(write: Any) -> None:
    with pytest.raises(SpecError, match=r"model\.learning_rate: a grid needs separate values") as caught:
        load(write(FULL), ["searcher=grid"])
    assert caught.value.problems[0].line == 15
    spec = load(write(FULL), ["searcher=grid", "space.model.learning_rate={choice: [1, 2]}"])
    assert isinstance(spec.searcher, Grid)
    assert spec.space.grid_size == 2 * 11 * 3


def test_large_and_many_times_larger_files_are_refused_quickly() -> None:
    with pytest.raises(SpecError, match="the limit is"):
        read(b"a" * (SIZE_LIMIT + 1), "f")
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(SpecError, match=f"more than {NODE_LIMIT:,}"):
        read(bomb.encode(), "f")
    with pytest.raises(SpecError, match="nested deeper"):
        read(b"[" * 5000, "f")


def test_shipped_files_load_by_name_and_pass_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="the schema's files need the jsonschema package")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name, path in shipped().items():
        assert load(name) == load(path)
        validator.validate(read(path.read_bytes(), "")[0].data)
        validator.validate(load(name).model_dump(mode="json", exclude_none=True))
    wrong = read(FULL.replace("uniform:", "unifrom:").encode(), "")[0].data
    assert not validator.is_valid(wrong)
    assert validator.is_valid(read(FULL.encode(), "")[0].data)
    assert not validator.is_valid(read(FULL.replace("trials", "trails").encode(), "")[0].data)


def test_an_unknown_name_says_the_nearest() -> None:
    with pytest.raises(SpecError, match="did you mean quickstart"):
        load("quikstart")
    with pytest.raises(SpecError, match="a folder, not a sweep file"):
        load(Path(__file__).parent)


def test_every_field_describes_itself() -> None:
    schema = json_schema()
    for part in [schema, *schema["$defs"].values()]:
        for name, field in part.get("properties", {}).items():
            described = schema["$defs"].get(field.get("$ref", "").rpartition("/")[2], field)
            assert field.get("description") or described.get("description") or name == "name", name


def test_reading_a_spec_loads_nothing_heavy() -> None:
    code = "import sys, orchestrator.spec as s; s.load('quickstart'); s.json_schema(); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not set(answer.stdout.split()) & {"torch", "lightning", "ray", "optuna", "jsonargparse", "pandas"}


WANDB = """\
program: train.py
name: my sweep
method: bayes
metric: {name: val_loss, goal: minimize}
early_terminate: {type: hyperband, max_iter: 27, s: 2}
run_cap: 12
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-4, max: 0.1}
  logs: {distribution: log_uniform, min: -2.302585092994046, max: 0}
  batch_size: {values: [32, 64]}
  epochs: {value: 5}
  dropout: {min: 0.1, max: 0.5}
  layers: {min: 1, max: 5}
  width: {distribution: q_log_uniform_values, q: 8, min: 32, max: 256}
  ratio: {distribution: q_uniform, q: 0.1, min: 0, max: 1}
  noise: {distribution: normal, mu: 0, sigma: 1}
  beta: {distribution: beta, a: 1}
  zero: {distribution: log_uniform_values, min: 0, max: 1}
  optimizer:
    parameters:
      name: {values: [adam, sgd], probabilities: [0.5, 0.5]}
      momentum: {value: 0.9}
"""


def test_a_wandb_sweep_becomes_a_sweep(write: Any) -> None:
    text = import_file(write(WANDB), model="my.Model", data="my.Data")
    spec = load(write(text, "out.yaml"))
    assert (spec.name, spec.objective.metric, spec.objective.mode) == ("my-sweep", "val_loss", "min")
    assert (spec.model.class_path, spec.budget.trials) == ("my.Model", 12)
    assert spec.scheduler == ASHA(grace=3, reduction_factor=3)
    assert isinstance(spec.searcher, DensityRatio)
    written = spec.space.to_yaml()
    assert written.pop("model.logs")["log_uniform"] == pytest.approx([0.1, 1.0])
    assert written == {
        "model.learning_rate": {"log_uniform": [0.0001, 0.1]},
        "data.batch_size": {"choice": [32, 64]},
        "trainer.max_epochs": {"const": 5},
        "model.dropout": {"uniform": [0.1, 0.5]},
        "model.layers": {"int": [1, 5]},
        "model.width": {"log_int": [32, 256], "step": 8},
        "model.ratio": {"uniform": [0.0, 1.0], "step": 0.1},
        "model.noise": {"normal": [0.0, 1.0]},
        "model.optimizer.name": {"choice": ["adam", "sgd"]},
        "model.optimizer.momentum": {"const": 0.9},
    }
    head = text.split("\nname:")[0]
    for said in ["program", "distribution beta", "low > 0", "probabilities", "bayes", "early_terminate"]:
        assert said in head
    assert all(line.startswith("#") for line in head.splitlines())


def test_a_wandb_sweep_without_classes_loads_and_says_what_is_missing(write: Any) -> None:
    text = import_file(write("method: grid\nparameters: {lr: {min: 0.1, max: 1.0}, epochs: 3, max_epochs: 4}\n"))
    spec = load(write(text, "out.yaml"))
    assert "my_package.MyModel, or pass --model" in text
    assert isinstance(spec.searcher, Random)
    assert spec.space["trainer.max_epochs"].to_yaml() == {"const": 3}
    assert "parameters.max_epochs: {'value': 4} is left out" in text


LIGHTNING_CLI = """\
# lightning.pytorch==2.6.6
seed_everything: 3
fit:
  trainer:
    accelerator: auto
    logger: null
    enable_checkpointing: true
    callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: val_acc, mode: max}
    max_epochs: 3
    fast_dev_run: false
  model:
    class_path: orchestrator.models.LitModel
    init_args: {learning_rate: 1e-3, lr_schedule: null}
  data: orchestrator.data.DigitsDataModule
  ckpt_path: x.ckpt
  optimizer: {class_path: torch.optim.Adam}
"""


def test_a_lightning_cli_config_becomes_a_sweep(write: Any) -> None:
    text = import_file(write(LIGHTNING_CLI))
    spec = load(write(text, "out.yaml"))
    assert (spec.seed, spec.objective.metric, spec.objective.mode) == (3, "val_acc", "max")
    assert spec.model.init_args == {"learning_rate": 1e-3, "lr_schedule": None}
    assert spec.data is not None
    assert set(spec.trainer) == {"accelerator", "callbacks", "max_epochs"}
    assert "# model.learning_rate: {log_uniform: [1e-4, 1e-2]}" in text
    assert spec.optimizer is not None
    assert spec.optimizer.class_path == "torch.optim.Adam"
    for said in ["enable_checkpointing", "ckpt_path", "monitors"]:
        assert said in text.split("\nname:")[0]
    arguments = import_file(write("model: {learning_rate: 0.1}\ntrainer: {max_epochs: 2}\n"), model="my.Model")
    assert load(write(arguments, "out.yaml")).model.init_args == {"learning_rate": 0.1}


def test_what_is_neither_is_refused(write: Any) -> None:
    with pytest.raises(SpecError, match="of no kind that can be imported"):
        import_file(write("a: 1\n"))
    with pytest.raises(SpecError, match="cannot be read"):
        import_file("no/such/file.yaml")


def test_specs_are_frozen(write: Any) -> None:
    spec = load(write(FULL))
    assert isinstance(spec, SweepSpec)
    with pytest.raises(ValueError, match="frozen"):
        spec.seed = 3
