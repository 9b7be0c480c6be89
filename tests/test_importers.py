"""Other tools' files: each leaf is translated or named, each in its own YAML, unknown words refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orchestrator.errors import SpecError
from orchestrator.spec import SweepSpec, import_file, load

HEAD = "method: random\nmetric: {name: val_loss, goal: minimize}\n"


@pytest.fixture
def translated(tmp_path: Path) -> Any:
    """Return the text, the sections and the spec of a foreign file."""

    def translate(text: str, *, model: str | None = "my.Model", name: str = "their.yaml") -> tuple[str, Any]:
        (tmp_path / name).write_text(text)
        made = import_file(tmp_path / name, model=model)
        return made, YAML(typ="safe").load(made)

    return translate


def loaded(text: str, tmp_path: Path) -> SweepSpec:
    (tmp_path / "made.yaml").write_text(text)
    return load(tmp_path / "made.yaml")


def refusal(translated: Any, text: str) -> str:
    with pytest.raises(SpecError) as raised:
        translated(text)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "word", "hint"),
    [
        ("method: random\nmetric: {name: a, goal: max}\nparameters: {lr: {min: 0.1, max: 0.2}}", "'max'", "maximize"),
        ("method: random\nmetric: {name: a, goal: Maximize}\nparameters: {lr: 1}", "'Maximize'", "maximize"),
        ("method: random\nmetric: {name: a, goal: lower}\nparameters: {lr: 1}", "'lower'", "minimize, maximize"),
        ("method: bayesian\nparameters: {lr: 1}", "'bayesian'", "bayes"),
        ("method: random\nparameters: {lr: {distribution: loguniform, min: 1, max: 2}}", "loguniform", "log_uniform"),
        ("method: random\nparameters: {lr: {minimum: 1, max: 2}}", "'minimum'", "min"),
        ("method: random\nparameters: {lr: [1, 2]}", "is a list", "values: [1, 2]"),
        ("method: random\nmetric: {name: a, gaol: minimize}\nparameters: {lr: 1}", "'gaol'", "goal"),
        ("method: random\nearly_terminate: {type: asha}\nparameters: {lr: 1}", "'asha'", "hyperband"),
        ("method: random\nearly_terminate: {min_itr: 3}\nparameters: {lr: 1}", "'min_itr'", "min_iter"),
        ("methd: random\nparameters: {lr: 1}", "'methd'", "method"),
        ("method: random\nrun_cap: many\nparameters: {lr: 1}", "run_cap", "run_cap: 20"),
        ("method: random\nmethod: grid\nparameters: {lr: 1}", "duplicate key 'method'", "keep one"),
        ("method: random\nparameters: {lr: !!python/object:os.system {}}", "python/object", "write the value out"),
        ("method: random\nparameters: {lr: {value: 0x1" + "0" * 4000 + "}}", "beyond the range of floats", "in quotes"),
        ('method: random\nparameters: {lr: {value: "\\ud83d!"}}', "half a surrogate pair", "the character itself"),
        ('method: random\nparameters: {"\\udc00": {value: 1}}', "half a surrogate pair", "the character itself"),
    ],
)
def test_a_word_that_wandb_does_not_know_is_refused_at_its_place(
    translated: Any, text: str, word: str, hint: str
) -> None:
    message = refusal(translated, text)
    assert word in message
    assert hint in message
    assert "their.yaml:" in message


def test_what_json_writes_as_two_halves_is_one_character(translated: Any) -> None:
    text, _ = translated(r'{"method": "random", "parameters": {"\ud83d\ude00": {"values": ["\ud83d\ude00", 1]}}}')
    assert text.count("\N{GRINNING FACE}") >= 2


def test_yaml_is_read_as_their_tool_reads_it(translated: Any) -> None:
    text, made = translated(
        HEAD + "base: &base {min: 1, max: 5}\n"
        "parameters:\n"
        "  bn: {values: [yes, no]}\n  word: {values: ['yes', \"off\"]}\n  octal: {values: [010, 0x10, 1_000]}\n"
        "  lr: {distribution: uniform, min: !!float 1e-5, max: !!float 1e-3}\n"
        "  depth: {<<: *base}\n  day: {value: 2020-01-02}\n  none: {value: ~}\n"
        "  rate: {values: [1e-3, 1.0e2]}\n"
    )
    assert made["space"] == {
        "model.bn": {"choice": [True, False]},
        "model.word": {"choice": ["yes", "off"]},
        "model.octal": {"choice": [8, 16, 1000]},
        "model.lr": {"uniform": [1e-5, 1e-3]},
        "model.depth": {"int": [1, 5]},
        "model.day": {"const": "2020-01-02"},
        "model.none": {"const": None},
        "model.rate": {"choice": [1e-3, 100.0]},
    }
    assert "parameters.rate.values.0: 1e-3" in text


@pytest.mark.parametrize(
    ("parameter", "domain"),
    [
        ("{distribution: q_uniform, min: 10, max: 100, q: 8}", {"int": [8, 96], "step": 8}),
        ("{distribution: q_uniform, min: 10, max: 108, q: 8}", {"int": [8, 104], "step": 8}),
        ("{distribution: q_uniform, min: 20, max: 99, q: 8}", {"int": [24, 96], "step": 8}),
        ("{distribution: q_uniform, min: 0.05, max: 0.95, q: 0.1}", {"uniform": [0.1, 0.9], "step": 0.1}),
        ("{distribution: q_uniform, min: 0, max: 1, q: 0.25}", {"uniform": [0.0, 1.0], "step": 0.25}),
        ("{distribution: q_log_uniform_values, min: 10, max: 100, q: 8}", {"log_int": [8, 96], "step": 8}),
        ("{distribution: q_normal, mu: 64, sigma: 10, q: 8}", {"normal": [64, 10], "step": 8}),
    ],
)
def test_steps_stay_within_what_wandb_draws(translated: Any, parameter: str, domain: dict[str, Any]) -> None:
    _, made = translated(f"{HEAD}parameters: {{x: {parameter}}}\n")
    assert made["space"]["model.x"] == domain


def test_a_whole_step_of_a_normal_domain_gives_whole_numbers() -> None:
    import random

    from orchestrator.space import from_yaml

    for kind in ("normal", "log_normal"):
        draws = [from_yaml({kind: [3, 1], "step": 2}).sample(random.Random(seed)) for seed in range(20)]
        assert all(type(draw) is int for draw in draws)
        assert all(draw % 2 == 0 for draw in draws)
    assert type(from_yaml({"normal": [3, 1], "step": 2.0}).sample(random.Random(0))) is float


def test_defaults_that_step_in_are_said_with_their_numbers(translated: Any, tmp_path: Path) -> None:
    text, made = translated(
        "method: bayes\nmetric: {name: val_loss}\nearly_terminate: {type: hyperband, min_iter: 20}\n"
        "parameters: {lr: {min: 0.001, max: 0.1}, noise: {distribution: normal}}\n"
    )
    for said in (
        "trainer.max_epochs is 60",
        "budget.trials is 20",
        "metric has no goal: it is minimize, W&B's default",
        "mu 0, sigma 1",
    ):
        assert said in text
    assert made["trainer"]["max_epochs"] == 60
    spec = loaded(text, tmp_path)
    assert spec.horizon is not None
    assert spec.scheduler.model_dump()["grace"] < spec.horizon


def test_a_first_rung_beyond_the_training_is_brought_within_it(translated: Any, tmp_path: Path) -> None:
    text, made = translated(
        HEAD + "early_terminate: {type: hyperband, min_iter: 20}\nparameters: {epochs: {value: 9}}\n"
    )
    assert made["scheduler"]["grace_epochs"] == 3
    assert "grace_epochs is 3" in text
    loaded(text, tmp_path)
    _, made = translated(HEAD + "early_terminate: {type: hyperband, max_iter: 27, s: 2}\nparameters: {lr: 1}\n")
    assert (made["scheduler"]["grace_epochs"], made["trainer"]["max_epochs"]) == (3, 27)


def test_bounds_that_look_like_values_and_weights_are_said(translated: Any) -> None:
    text, _ = translated(HEAD + "parameters: {lr: {distribution: log_uniform, min: 0.0001, max: 0.1}}\n")
    assert "look like values, not exponents" in text
    text, _ = translated(HEAD + "parameters: {lr: {distribution: log_uniform, min: -9.2, max: -2.3}}\n")
    assert "look like values" not in text
    assert "0.000101" in text
    text, made = translated(HEAD + "parameters: {opt: {values: [adam, adam, sgd]}}\n")
    assert made["space"]["model.opt"] == {"choice": ["adam", "sgd"]}
    assert "'adam' is listed 2 of 3 times" in text


def test_a_target_ends_the_sweep_and_a_program_is_kept(translated: Any) -> None:
    source = (
        "program: train.py\ncommand: ['${env}', python3, '${program}', '${args}']\nmethod: grid\nproject: mine\n"
        "metric: {name: acc, goal: maximize, target: 0.9}\n"
        "parameters: {lr: {values: [1, 2]}, net: {parameters: {w: {value: 3}}}}\n"
    )
    text, made = translated(source, model=None)
    assert made["program"] == "train.py"
    assert made["command"] == ["${env}", "python3", "${program}", "${args}"]
    assert made["space"] == {"lr": {"choice": [1, 2]}, "net.w": {"const": 3}}
    assert made["budget"] == {"target": 0.9}
    assert "project: mine is left out" in text
    assert "model" not in made
    text, made = translated(source)
    assert "program: train.py is left out" in text
    assert made["model"] == "my.Model"


def test_a_lightning_cli_config_keeps_every_section(translated: Any, tmp_path: Path) -> None:
    text, made = translated(
        "seed_everything: 1\n"
        "trainer: {max_epochs: 3, gpus: 2,"
        " callbacks: [{class_path: EarlyStopping, init_args: {monitor: a, mode: max}}],"
        " logger: {class_path: CSVLogger, init_args: {save_dir: logs}}, enable_progress_bar: off}\n"
        "model: {class_path: m.Net, init_args: {table: {8: 128}, hidden: '${data.init_args.batch_size}'}}\n"
        "data: {class_path: m.Data, init_args: {batch_size: 16}, dict_kwargs: {root: data/mine}}\n"
        "optimizer: {class_path: Adam, init_args: {lr: 1e-2}}\n"
        "lr_scheduler: {class_path: ReduceLROnPlateau, init_args: {monitor: val/loss}}\n"
        "my_section: {a: 7}\nckpt_path: null\n",
        model=None,
    )
    spec = loaded(text, tmp_path)
    assert spec.data is not None
    assert spec.data.dict_kwargs == {"root": "data/mine"}
    assert made["model"]["init_args"]["table"] == {8: 128}
    assert made["optimizer"]["init_args"] == {"lr": 0.01}
    assert made["lr_scheduler"]["class_path"] == "ReduceLROnPlateau"
    assert made["trainer"]["accelerator"] == "gpu"
    assert made["trainer"]["devices"] == 2
    assert made["trainer"]["logger"]["class_path"] == "CSVLogger"
    assert spec.objective.mode == "max"
    for said in ("my_section.a: 7 is left out", "ckpt_path", "trainer.gpus: 2", "trainer.enable_progress_bar: False"):
        assert said in text


def test_a_file_that_starts_its_own_agent_is_the_program_of_its_sweep(translated: Any) -> None:
    search = "{'method': 'random', 'parameters': {'lr': {'min': 0.1, 'max': 0.2}}}"
    text = f"search = {search}\nwandb.agent(wandb.sweep(search), train, count=7)"
    _, sections = translated(text, model=None, name="their.py")
    assert sections["program"].endswith("their.py")
    assert sections["budget"] == {"trials": 7}
    assert list(sections["space"]) == ["lr"]
    _, sections = translated(text, name="their.py")
    assert (sections["model"], "program" in sections) == ("my.Model", False)


def test_the_note_on_strict_brackets_says_the_share_of_their_eta(translated: Any) -> None:
    made, _ = translated(f"{HEAD}parameters: {{lr: 1}}\nearly_terminate: {{type: hyperband, eta: 2, strict: true}}")
    assert "all but the best 1/2 at each rung" in made
