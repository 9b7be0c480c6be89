"""A class that a run directory or a bundle names is of the right kind before anything is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
from torch import nn

from orchestrator.errors import UsageError
from orchestrator.training import Job, class_loading, fit
from tests.support.paths import ROOT
from tests.support.small_sweeps import spec
from tests.support.tiny import Tiny

TINY = "tests.support.tiny.Tiny"
MODEL, DATA = (L.LightningModule,), (L.LightningDataModule,)


class Holder(nn.Module):
    """A module whose arguments are of every kind of annotation."""

    def __init__(
        self, plain: Any = None, typed: nn.Module | None = None, listed: list[nn.Module] | None = None, bare: object = 0
    ) -> None:
        super().__init__()
        self.values = (plain, typed, listed, bare)


class Opened(nn.Module):
    """A module that accepts anything."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options


class Untyped(Tiny):
    """A LightningModule with an argument without an annotation."""

    def __init__(self, value=None) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.value = value


def touching(path: Path) -> list[dict[str, Any]]:
    """Classes and functions of the standard library whose call leaves a file behind."""
    return [
        {"class_path": "subprocess.Popen", "init_args": {"args": ["touch", str(path)]}},
        {"class_path": "os.system", "init_args": {"command": f"touch {path}"}},
        {"class_path": "io.FileIO", "init_args": {"file": str(path), "mode": "w"}},
        {"class_path": "builtins.open", "init_args": {"file": str(path), "mode": "w"}},
        {"class_path": "sqlite3.Connection", "init_args": {"database": str(path)}},
        {"class_path": "logging.FileHandler", "init_args": {"filename": str(path)}},
        {"class_path": "zipfile.ZipFile", "init_args": {"file": str(path), "mode": "w"}},
    ]


PLACES: list[Any] = [
    pytest.param(lambda foreign: (foreign, MODEL), id="model"),
    pytest.param(lambda foreign: (foreign, DATA), id="data"),
    pytest.param(lambda foreign: (foreign, ()), id="untyped"),
    *(
        pytest.param(lambda foreign, name=name: (holding(name, foreign), ()), id=name)
        for name in ("plain", "typed", "bare")
    ),
    pytest.param(lambda foreign: (holding("listed", [foreign]), ()), id="listed"),
    pytest.param(lambda foreign: (holding("plain", {"deep": [foreign]}), ()), id="deep"),
    pytest.param(lambda foreign: (holding("unknown", foreign), ()), id="unknown argument"),
    pytest.param(
        lambda foreign: ({"class_path": f"{__name__}.Opened", "init_args": {"any": foreign}}, ()), id="keywords"
    ),
    pytest.param(lambda foreign: ({"class_path": TINY, "init_args": {"unknown": foreign}}, MODEL), id="model's"),
]


def holding(name: str, value: Any) -> dict[str, Any]:
    return {"class_path": f"{__name__}.Holder", "init_args": {name: value}}


@pytest.mark.parametrize("index", range(7))
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_called_that_is_of_another_kind(place: Any, index: int, tmp_path: Path) -> None:
    pwned = tmp_path / "PWNED"
    described, bases = place(touching(pwned)[index])
    with pytest.raises(UsageError):
        class_loading.build(described, bases)
    assert not pwned.exists()


@pytest.mark.parametrize("argument", ["callbacks", "logger", "plugins", "profiler", "strategy"])
def test_the_trainer_gets_objects_of_its_own_kinds(argument: str, tmp_path: Path) -> None:
    for foreign in touching(tmp_path / "PWNED"):
        value = [foreign] if argument == "callbacks" else foreign
        job = Job(
            trial=0,
            segment=0,
            seed=0,
            metric="val_loss",
            model={"class_path": TINY, "init_args": {}},
            data={"class_path": "tests.support.tiny.TinyData", "init_args": {}},
            trainer={"max_epochs": 1, argument: value},
            folder=str(tmp_path / "trials/0000"),
        )
        with pytest.raises(UsageError):
            fit(job, lambda report: True)
    assert not (tmp_path / "PWNED").exists()


def test_the_check_before_the_start_refuses_what_building_refuses(tmp_path: Path) -> None:
    for foreign in touching(tmp_path / "PWNED"):
        model = {"class_path": f"{__name__}.Untyped", "init_args": {"value": foreign}}
        problems = class_loading.check(spec(model=model, space={}))
        assert [problem.path[:4] for problem in problems] == [("model", "init_args", "value", "class_path")]
    assert not (tmp_path / "PWNED").exists()


def test_what_is_of_the_right_kind_is_built() -> None:
    relu = {"class_path": "torch.nn.ReLU"}
    delta = {"class_path": "datetime.timedelta", "init_args": {"minutes": 1}}
    plain, typed, listed, bare = class_loading.build(
        {
            "class_path": f"{__name__}.Holder",
            "init_args": {"plain": delta, "typed": relu, "listed": [relu], "bare": relu},
        },
        (nn.Module,),
    ).values
    assert plain.total_seconds() == 60
    assert all(isinstance(value, nn.ReLU) for value in (typed, *listed, bare))


def test_every_place_that_builds_a_model_or_data_names_the_kind() -> None:
    """``class_loading.build`` without kinds is for untyped arguments, inside of it alone."""
    calls = [
        line.strip()
        for file in (ROOT / "orchestrator").rglob("*.py")
        for line in file.read_text().splitlines()
        if "class_loading.build(" in line
    ]
    assert calls
    assert [
        call for call in calls if not any(kind in call for kind in ("Module,)", "(base,)", "component_kinds"))
    ] == []
