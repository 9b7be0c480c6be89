"""Classes of the running script: by file, by `-m`, without a guard, from standard input, in a notebook."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from orchestrator.codec.references import path_of
from orchestrator.errors import UsageError
from orchestrator.sweep import main_module
from tests.support.scripts import GUARD, python, script

SESSION = "M is defined in this session only, and workers cannot import it"


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "noguard.py").write_text(script(guard=False))
    code, output = python(tmp_path, "noguard.py")
    assert code == 0, output
    assert output.count("runs\n") == 1
    assert "['finished']" in output


@pytest.mark.slow
def test_a_module_of_a_package_is_named_as_a_module_of_it(tmp_path: Path) -> None:
    package = tmp_path / "proj"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text("KIND = 1\n")
    (package / "train.py").write_text("from .base import KIND\n" + script(guard=True))
    code, output = python(tmp_path, "-m", "proj.train")
    assert code == 0, output
    assert "['finished']" in output
    assert '"class_path":"proj.train.M"' in (tmp_path / "runs/own/journal.jsonl").read_text().replace(": ", ":")


@pytest.mark.slow
def test_workers_that_would_start_the_sweep_again_are_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "noguard.py").write_text(script(guard=False, options=""))
    code, output = python(tmp_path, "noguard.py")
    assert code != 0
    assert "noguard starts a sweep each time it is imported" in output
    assert GUARD.strip().rstrip(":") in output
    assert "lease" not in output
    assert not (tmp_path / "runs/own").exists()


@pytest.mark.slow
def test_standard_input_is_told_in_one_sentence(tmp_path: Path) -> None:
    code, output = python(tmp_path, "-", stdin=script(guard=False))
    assert code != 0
    assert SESSION in output


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Stands in for the running script."""
    module = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(main_module, "_named", {})
    return module


def defined(main: Any, name: str = "M") -> type:
    cls = type(name, (), {"__module__": "__main__"})
    setattr(main, name, cls)
    return cls


def test_a_class_of_a_notebook_is_told_in_one_sentence(main: Any) -> None:
    with pytest.raises(UsageError, match=SESSION):
        main_module.importable(defined(main))


def test_a_class_of_a_script_is_named_by_its_file(main: Any, tmp_path: Path) -> None:
    main.__file__ = str(tmp_path / "train.py")
    Path(main.__file__).touch()
    cls = defined(main)
    assert main_module.importable({"a": [cls]}) == {"a": [cls]}
    assert path_of(cls) == "train.M"
    assert sys.path[0] == str(tmp_path)
    main_module.share_main()
    try:
        assert sys.modules["train"] is main
    finally:
        del sys.modules["train"]


def test_a_script_whose_name_is_no_module_is_told(main: Any, tmp_path: Path) -> None:
    main.__file__ = str(tmp_path / "my-train.py")
    Path(main.__file__).touch()
    with pytest.raises(UsageError, match=r"my-train\.py cannot be imported by workers"):
        main_module.importable(defined(main))


def test_a_class_that_the_running_script_does_not_hold_is_told(main: Any, tmp_path: Path) -> None:
    """A profiler or debugger runs a script in a namespace of its own."""
    main.__file__ = str(tmp_path / "profile.py")
    Path(main.__file__).touch()
    cls = defined(main)
    del main.M
    with pytest.raises(UsageError, match=SESSION):
        main_module.importable(cls)


def test_a_class_of_a_function_is_told(main: Any) -> None:
    cls = defined(main)
    cls.__qualname__ = "build.<locals>.M"
    with pytest.raises(UsageError, match="M is defined in a function"):
        main_module.importable(cls)
