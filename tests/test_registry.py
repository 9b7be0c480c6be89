"""The registry of plug-ins: what it lists, imports and refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import registry
from orchestrator.errors import SpecError, UsageError
from orchestrator.spec import from_mapping
from orchestrator.spec.json_schema import json_schema
from tests.support.plugins import write_package

FORMATS = "sweep_orchestrator.export_formats"


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> str:
    """Plug-ins of a kind whose base class is ``dict``, with no built-in one."""
    row = registry.Kind("export format", "orchestrator.nowhere", "builtins:dict", ("suffix",))
    monkeypatch.setitem(registry.KINDS, "export_formats", row)
    return "export_formats"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def plugin(name: str = "tiny", base: str = "dict", suffix: str = "'.tiny'") -> str:
    return f"class Tiny({base}):\n    name = {name!r}\n    suffix = {suffix}\n"


def test_listing_imports_no_plugin() -> None:
    code = (
        "import sys; from orchestrator import registry; listed = [registry.names(kind) for kind in registry.KINDS]; "
        "print('asha' in listed[1], any(name.startswith('orchestrator.policies') for name in sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["True", "False"]


def test_a_plugin_of_an_installed_package_is_listed_and_loaded(kind: str, site: Path) -> None:
    write_package(
        site, "sweep-tiny", modules={"sweep_tiny": plugin()}, entry_points={FORMATS: {"tiny": "sweep_tiny:Tiny"}}
    )
    assert registry.names(kind) == ["tiny"]
    assert "sweep_tiny" not in sys.modules
    assert registry.load(kind, "tiny").suffix == ".tiny"
    assert registry.names(kind, installed=False) == []


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("Tiny = 7", "it must be a subclass of builtins.dict"),
        (plugin(base="list"), "it must be a subclass of builtins.dict"),
        (plugin(name="huge"), "the class's name is 'huge', the entry point's is 'bad'"),
        (plugin(name="bad", suffix="None"), "the class has no attribute 'suffix'"),
        ("", "AttributeError: module 'sweep_bad' has no attribute 'Tiny'"),
    ],
)
def test_a_broken_plugin_is_refused_only_if_it_is_named(kind: str, site: Path, source: str, cause: str) -> None:
    write_package(
        site,
        "sweep-mixed",
        modules={"sweep_bad": source, "sweep_good": plugin("good")},
        entry_points={FORMATS: {"bad": "sweep_bad:Tiny", "good": "sweep_good:Tiny"}},
    )
    sys.modules.pop("sweep_bad", None)
    assert registry.names(kind) == ["bad", "good"]
    assert registry.load(kind, "good").name == "good"
    with pytest.raises(UsageError) as error:
        registry.load(kind, "bad")
    where = f"package sweep-mixed 1.0 (entry point {FORMATS}: bad = sweep_bad:Tiny)"
    assert error.value.message == f"export format 'bad' of {where} cannot be used: {cause}"
    warnings: list[str] = []
    assert list(registry.load_all(kind, warnings.append)) == ["good"]
    assert warnings == [f"skipped: {error.value.message}"]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no scheduler 'ahsa'") as error:
        registry.load("schedulers", "ahsa")
    assert error.value.hint == "did you mean asha?"


def test_a_plugin_that_is_not_offered_loads_by_name_and_is_listed_nowhere(kind: str, site: Path) -> None:
    source = plugin("old") + "    offered = False\n"
    points = {"old": "sweep_old:Tiny", "tiny": "sweep_tiny:Tiny"}
    modules = {"sweep_old": source, "sweep_tiny": plugin()}
    write_package(site, "sweep-both", modules=modules, entry_points={FORMATS: points})
    assert registry.load(kind, "old").offered is False
    assert registry.offered(kind) == list(registry.load_all(kind, pytest.fail)) == ["tiny"]
    assert registry.nearest(kind, "odl") == "available: tiny"


def test_a_policy_that_is_no_longer_offered_is_not_listed_but_files_that_name_it_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry.load("schedulers", "asha"), "offered", False)
    spec = {"name": "old", "objective": {"metric": "loss", "mode": "min"}, "model": "a.B", "trainer": {"max_epochs": 9}}
    spec |= {"space": {"model.x": {"uniform": [0, 1]}}, "budget": {"trials": 2}}
    assert from_mapping({**spec, "scheduler": "asha"}).scheduler.name == "asha"
    assert "'asha'" not in str(json_schema()["properties"]["scheduler"])
    assert "hyperband" in str(json_schema()["properties"]["scheduler"])
    with pytest.raises(SpecError) as error:
        from_mapping({**spec, "scheduler": "ahsa"})
    assert not re.search(r"\basha\b", str(error.value))
    assert "hyperband" in str(error.value)


def test_a_name_that_two_packages_provide_is_refused(kind: str, site: Path) -> None:
    for package in ("sweep-one", "sweep-two"):
        module = package.replace("-", "_")
        write_package(site, package, modules={module: plugin()}, entry_points={FORMATS: {"tiny": f"{module}:Tiny"}})
    with pytest.raises(UsageError, match="export format 'tiny' is provided more than once") as error:
        registry.load(kind, "tiny")
    assert "package sweep-one 1.0" in error.value.message
    assert "package sweep-two 1.0" in error.value.message


def test_a_name_of_a_built_in_plugin_is_refused_to_others(site: Path) -> None:
    write_package(
        site,
        "sweep-other",
        modules={"sweep_other": plugin("asha")},
        entry_points={"sweep_orchestrator.schedulers": {"asha": "sweep_other:Tiny"}},
    )
    with pytest.raises(UsageError, match="scheduler 'asha' is provided more than once") as error:
        registry.load("schedulers", "asha")
    assert "by sweep-orchestrator and by package sweep-other 1.0" in error.value.message
    assert error.value.hint == "uninstall sweep-other, or rename its plug-in"
