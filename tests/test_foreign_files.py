"""Each value of a foreign file is in the sweep file or named in a note; their finished trials start a sweep."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sized
from pathlib import Path
from typing import Any

import optuna
import pytest
from ruamel.yaml import YAML

from orchestrator.errors import SpecError, UsageError
from orchestrator.policies.warm_start import foreign_warmth
from orchestrator.spec import import_file, load
from orchestrator.spec.foreign_trials import is_foreign, read_trials
from orchestrator.spec.importers.foreign_yaml import leaves, read_yaml_1_1
from tests.support.budget_specs import described
from tests.support.foreign_files import FILES, HYDRA, KATIB, LIGHTNING_CLI, PYTHON, STUDIES, WANDB, study_at
from tests.support.stand_ins import run_python

DOORS: tuple[dict[str, Any], ...] = ({"model": "my.Model"}, {}, {"train": "my_train.py"})


def test_there_are_at_least_ten_files_an_importer() -> None:
    counts: dict[str, Sized] = {
        "W&B": WANDB,
        "LightningCLI": LIGHTNING_CLI,
        "Hydra": HYDRA,
        "Katib": KATIB,
        "Optuna": STUDIES,
    }
    counts |= {
        "Ray Tune": {shape: text for shape, text in PYTHON.items() if "param_space" in text or "tune.run" in text}
    }
    assert {name: len(files) for name, files in counts.items() if len(files) < 10} == {}
    assert sum(len(files) for files in (WANDB, LIGHTNING_CLI, HYDRA, KATIB, STUDIES, PYTHON)) >= 60


@pytest.mark.parametrize("door", DOORS, ids=["a model", "as it is", "a script"])
@pytest.mark.parametrize("shape", FILES)
def test_every_value_is_translated_or_named(shape: str, door: dict[str, Any], tmp_path: Path) -> None:
    """Independent of the importers' own count: by the text of the result alone."""
    text, suffix = FILES[shape]
    (tmp_path / f"their.{suffix}").write_text(text)
    made = import_file(tmp_path / f"their.{suffix}", **door)
    head, _, body = made.partition("\nname:")
    sections = YAML(typ="safe").load(f"name:{body}")
    held = {repr(value) for _, value in leaves(sections)} | {
        repr(part) for path, _ in leaves(sections) for part in path
    }
    numbers = {str(value) for _, value in leaves(sections)}  # Katib writes numbers as text
    if "to correct before it can be launched" not in head:
        (tmp_path / "made.yaml").write_text(made)
        load(tmp_path / "made.yaml")  # it can be launched, but for classes that are not here
    source = run_python(text) if suffix == "py" else read_yaml_1_1(text.encode(), "").data
    for path, value in leaves(source):
        names = [str(part) for part in path if isinstance(part, str)]
        is_named = any(name in head for name in (".".join(map(str, path)), *names[-2:], str(value)))
        assert repr(value) in held or str(value) in numbers or is_named or any(name in body for name in names[-2:-1]), (
            path,
            value,
        )
        if isinstance(value, tuple) and value[0] != "sample_from":
            assert all(str(part) in made or str(float(part)) in made for part in flat(value[1:])), (path, value)


def flat(value: Any) -> list[Any]:
    return [part for each in value for part in (flat(each) if isinstance(each, list | tuple) else [each])]


@pytest.mark.parametrize("train", [None, "objective:main"])
@pytest.mark.parametrize("shape", STUDIES)
def test_every_distribution_of_a_study_is_translated_or_named(shape: str, train: str | None, tmp_path: Path) -> None:
    study = study_at(tmp_path / "study.log", shape)
    made = import_file(tmp_path / "study.log", train=train)
    (tmp_path / "made.yaml").write_text(made)
    space = load(tmp_path / "made.yaml").model_dump(mode="json")["space"]
    for trial in study.trials:
        for name, distribution in trial.distributions.items():
            assert [target for target in space if target == name or target.endswith(f".{name}")]
            assert repr(distribution) in made.replace("\n", " ") or "it differs among trials" in made
    assert all(space[name]["when"] for name in space if name.endswith(("max_depth", ".c")))


def test_a_python_file_is_read_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text(
        "open('ran', 'w')\n" + PYTHON["ray docs: search space reference"].replace("3.2, 5.4", "3.0, 5.4")
    )
    made = import_file(tmp_path / "search.py", model="my.Model")
    assert not (tmp_path / "ran").exists()
    space = YAML(typ="safe").load(made)["space"]
    assert space["model.i"] == {"int": [-9, 14]}
    assert space["model.k"] == {"int": [-21, 12], "step": 3}
    assert space["model.nested.x"] == {"uniform": [0.0, 1.0]}
    assert space["model.fixed"] == {"const": 3}
    assert "tune.sample_from(lambda s: s) is left out" in made


def test_hydras_ranges_end_as_each_sweeper_ends_them(tmp_path: Path) -> None:
    for shape, name, domain in (
        ("hydra docs: tags and casts", "model.d", {"int": [1, 10]}),
        ("hydra docs: tags and casts", "model.a", {"log_uniform": [1e-4, 1e-1]}),
        ("hydra docs: basic sweeper", "model.n", {"choice": [1, 2, 3]}),
    ):
        (tmp_path / "h.yaml").write_text(HYDRA[shape])
        assert YAML(typ="safe").load(import_file(tmp_path / "h.yaml"))["space"][name] == domain


@pytest.mark.parametrize(
    "text", [WANDB["wandb docs: command macros"], HYDRA["hydra docs: ax"], KATIB["katib examples: random"]]
)
def test_a_launch_of_a_foreign_file_names_the_import(text: str, tmp_path: Path) -> None:
    (tmp_path / "their.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"not a sweep file") as raised:
        load(tmp_path / "their.yaml")
    assert f"sweep import {tmp_path / 'their.yaml'}" in str(raised.value)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [("wandb docs: sweep in Python", "sweep of W&B"), ("ray docs: grid", "param_space of Ray Tune")],
)
def test_a_launch_of_a_python_file_with_a_search_names_the_import(shape: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "search.py").write_text(PYTHON[shape])
    with pytest.raises(SpecError, match=f"this is a Python file with a {kind}, not a sweep file") as raised:
        load(tmp_path / "search.py")
    assert f"sweep import {tmp_path / 'search.py'}" in str(raised.value)


@pytest.mark.parametrize("text", ["print('no search')\n", "def broken(:\n", "lr = {'min': 1}\n"])
def test_a_launch_of_other_python_names_the_door_for_scripts(text: str, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(text)
    with pytest.raises(SpecError, match="this is Python, not a sweep file") as raised:
        load(tmp_path / "train.py")
    assert f"sweep launch --script {tmp_path / 'train.py'}" in str(raised.value)
    assert "sweep import" not in str(raised.value)


def test_a_launch_of_an_optuna_storage_names_the_import(tmp_path: Path) -> None:
    made = storages(tmp_path)
    for name in ("study.db", "study.log"):
        with pytest.raises(SpecError, match="this is a storage of Optuna, not a sweep file") as raised:
            load(made[name])
        assert f"sweep import {made[name]}" in str(raised.value)


def test_of_several_studies_one_is_named(tmp_path: Path) -> None:
    for suffix in ("db", "log"):
        storage = tmp_path / f"study.{suffix}"
        study_at(storage, "optuna docs: first example, floats", "first")
        study_at(storage, "optuna docs: suggest_int with log and step", "second")
        with pytest.raises(UsageError, match="holds 2 studies: first, second") as raised:
            import_file(storage)
        assert f"{storage}:first" in raised.value.hint
        assert YAML(typ="safe").load(import_file(f"{storage}:second"))["objective"]["mode"] == "max"
        assert is_foreign(Path(f"{storage}:first"))
        assert len(read_trials(Path(f"{storage}:first"), "loss", "min")) == 8
        with pytest.raises(UsageError, match="holds 2 studies"):
            import_file(f"{storage}:third")


def study(storage: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(storage=storage, study_name="theirs", direction="maximize")
    for width, accuracy in ((64, 0.5), (128, 0.75), (96, float("inf"))):
        trial = made.ask({"width": optuna.distributions.IntDistribution(width, width)})
        made.tell(trial, accuracy)


def storages(folder: Path) -> dict[str, Path]:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    study(f"sqlite:///{folder / 'study.db'}")
    study(JournalStorage(JournalFileBackend(str(folder / "study.log"))))
    table = io.StringIO()
    rows = csv.writer(table)
    rows.writerows([["Name", "State", "width", "val_acc"], ["a", "finished", 64, 0.5], ["b", "finished", 128, 0.75],
                    ["c", "crashed", 32, 0.9], ["d", "finished", 99, ""]])  # fmt: skip
    (folder / "export.csv").write_text(table.getvalue())
    for number, (width, values) in enumerate({64: [0.4, 0.5], 128: [0.75, 0.7]}.items()):
        trial = folder / "ray" / f"t{number}"
        trial.mkdir(parents=True)
        lines = [json.dumps({"val_acc": value, "config": {"width": width}}) for value in values]
        (trial / "result.json").write_text("\n".join(lines))
        run = folder / "wandb" / f"offline-run-{number}" / "files"
        run.mkdir(parents=True)
        (run / "config.yaml").write_text(f"_wandb: {{value: {{}}}}\nwidth: {{value: {width}}}\n")
        (run / "wandb-summary.json").write_text(json.dumps({"val_acc": max(values)}))
    return {name: folder / name for name in ("study.db", "study.log", "export.csv", "ray", "wandb")}


def test_trials_of_other_tools_start_a_sweep(tmp_path: Path) -> None:
    spec = described({"trials": 3}, searcher="tpe", space={"model.width": {"int": [32, 256]}})
    for name, path in storages(tmp_path).items():
        before = path.read_bytes() if path.is_file() else b""
        assert is_foreign(path)
        warm = foreign_warmth(spec, [(name, read_trials(path, "val_acc", "max"))])
        assert [(trial["params"]["model.width"], trial["value"]) for trial in warm["trials"]] == [
            (64, 0.5),
            (128, 0.75),
        ]
        assert not any(trial["drawn"] for trial in warm["trials"])
        assert not path.is_file() or path.read_bytes() == before
    with pytest.raises(UsageError, match="no trial with a value of val_loss"):
        read_trials(tmp_path / "export.csv", "val_loss", "min")
    with pytest.raises(UsageError, match="judged by max, not by min"):
        read_trials(tmp_path / "study.db", "val_acc", "min")


def test_an_optuna_study_becomes_a_sweep(tmp_path: Path) -> None:
    study(f"sqlite:///{tmp_path / 'study.db'}")
    made = import_file(tmp_path / "study.db", model="my.Model")
    sections = YAML(typ="safe").load(made)
    assert sections["name"] == "theirs"
    assert sections["objective"]["mode"] == "max"
    assert sections["space"] == {"model.width": {"const": 96}}
    assert "it differs among trials" in made
    assert f"--warm-start {tmp_path / 'study.db'}" in made


def test_of_several_lightning_cli_configs_later_ones_override(tmp_path: Path) -> None:
    files = {
        "base.yaml": "seed_everything: 1\ntrainer: {max_epochs: 9, callbacks: [{class_path: LearningRateMonitor}]}\n"
        "model: {class_path: m.Net, init_args: {width: 8, rate: 0.1, table: {a: 1}}}\ndata: m.Data\n",
        "mine.yaml": "trainer: {max_epochs: 2, callbacks+: [{class_path: ModelSummary}]}\nckpt_path: last.ckpt\n"
        "model: {init_args: {width: 16, table: {b: 2}}}\n",
        "data.yaml": "data: {init_args: {size: 3}}\nmodel: m.Net\n",
    }
    paths = [tmp_path / name for name in files]
    for path in paths:
        path.write_text(files[path.name])
    made = import_file(paths[0], overriding=paths[1:])
    sections = YAML(typ="safe").load(made)
    assert (sections["name"], sections["seed"]) == ("data", 1)
    assert sections["model"] == {"class_path": "m.Net", "init_args": {"width": 16, "rate": 0.1, "table": {"b": 2}}}
    assert sections["data"] == {"class_path": "m.Data", "init_args": {"size": 3}}
    assert sections["trainer"]["max_epochs"] == 2
    named = [callback["class_path"] for callback in sections["trainer"]["callbacks"]]
    assert named == ["LearningRateMonitor", "ModelSummary"]
    for note in (
        "Made from base.yaml, mine.yaml, data.yaml",
        "trainer.max_epochs: 9 of base.yaml is overridden by mine.yaml",
        "model.init_args.width: 8 of base.yaml",
        "model.init_args.table.a: 1 of base.yaml",
        "ckpt_path: last.ckpt is left out",
    ):
        assert note in made
    assert made.count("is overridden") == 3


def test_configs_with_and_without_a_section_of_fit_are_merged(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("fit: {model: m.Net, trainer: {max_epochs: 1, precision: 16-mixed}}\n")
    (tmp_path / "b.yaml").write_text("trainer: {max_epochs: 2}\nckpt_path: null\n")
    sections = YAML(typ="safe").load(import_file(tmp_path / "a.yaml", overriding=[tmp_path / "b.yaml"]))
    assert sections["trainer"] == {"max_epochs": 2, "precision": "16-mixed"}


def test_another_class_keeps_the_arguments_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("trainer: {max_epochs: 1}\nmodel: {class_path: m.Net, init_args: {x: 9}}\n")
    (tmp_path / "b.yaml").write_text("model: {class_path: m.Other, init_args: {y: 1}}\n")
    made = import_file(tmp_path / "a.yaml", overriding=[tmp_path / "b.yaml"])
    assert YAML(typ="safe").load(made)["model"] == {"class_path": "m.Other", "init_args": {"x": 9, "y": 1}}
    assert "remove the arguments that it does not take: model.init_args.x" in made


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (WANDB["wandb docs: command macros"], "it is a W&B sweep, and only LightningCLI configs are merged"),
        ("- 1\n", "one of several configs must be a mapping"),
        ("trainer: [1]\n", "`trainer` must be a mapping"),
    ],
    ids=["a W&B sweep", "a list", "a list of arguments"],
)
def test_other_files_are_not_merged_and_the_one_at_fault_is_named(second: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("trainer: {max_epochs: 1}\n")
    (tmp_path / "b.yaml").write_text(second)
    with pytest.raises(SpecError, match=words) as raised:
        import_file(tmp_path / "a.yaml", overriding=[tmp_path / "b.yaml"])
    assert "b.yaml:" in str(raised.value)


CLI_CONFIGS = [
    ["model: {class_path: HOME.Net, init_args: {width: 9, table: {a: 1}}}", "model: {init_args: {table: {b: 2}}}"],
    ["model: {class_path: HOME.Net, init_args: {width: 9}}", "model: HOME.Net", "model: {class_path: HOME.Other}"],
    ["model: HOME.Net", "model: {init_args: {width: 3}}"],
    ["model: {class_path: HOME.Net, init_args: {sizes: [1]}}", "model: {init_args: {sizes+: [2]}}"],
    ["model: {class_path: HOME.Net, init_args: {sizes: [1]}}", "model: {init_args: {sizes: [2]}}"],
    ["model: {class_path: HOME.Free, dict_kwargs: {s: 1}}", "model: {dict_kwargs: {t: 2}}"],
]


@pytest.mark.parametrize("texts", CLI_CONFIGS)
def test_configs_are_merged_as_jsonargparse_merges_them(texts: list[str], tmp_path: Path) -> None:
    import jsonargparse

    paths = [tmp_path / f"{index}.yaml" for index in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text.replace("HOME", __name__))
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(Base, "model")
    read = parser.parse_args([word for path in paths for word in ("--config", str(path))], defaults=False)
    sections = YAML(typ="safe").load(import_file(paths[0], overriding=paths[1:]))
    assert sections["model"] == {"init_args": {}, **read.model.as_dict()}


class Base:
    """A module to jsonargparse, which needs no LightningModule."""


class Net(Base):
    def __init__(self, width: int = 1, sizes: list[int] | None = None, table: dict[str, int] | None = None) -> None:
        pass


class Other(Base):
    def __init__(self, width: int = 2) -> None:
        pass


class Free(Base):
    def __init__(self, **more: int) -> None:
        pass
