"""Broken sweep files, each refused where it says in its own last lines: ``# line:column: message | hint``."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.errors import Problem, SpecError
from orchestrator.spec import load
from tests.support.markers import sampled

BROKEN = sorted((Path(__file__).parent / "broken_specs").glob("*.yaml"))
EXPECTED = re.compile(r"^# \d+:\d+: .*$", re.MULTILINE)


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def refused_by_classes(path: Path) -> bool:
    return "# Refused by its classes:" in text(path)


def problems_of(path: Path) -> tuple[Problem, ...]:
    if refused_by_classes(path):
        from orchestrator.training import class_loading

        spec = load(path)
        return tuple(class_loading.check(spec) or class_loading.never_logged(spec))  # the latter are warnings
    with pytest.raises(SpecError) as caught:
        load(path)
    return caught.value.problems


def test_there_are_enough() -> None:
    assert len(BROKEN) >= 30


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_every_problem_has_its_place_and_a_hint(path: Path) -> None:
    start = time.perf_counter()
    found = problems_of(path)
    if not refused_by_classes(path):
        assert time.perf_counter() - start < 1.0
    said = [f"# {problem.line}:{problem.column}: {problem.message} | {problem.hint}" for problem in found]
    said = [sentence.replace(str(path), "FILE") for sentence in said]
    if path.stem == "empty":  # it has no room to say so itself
        assert said[0].startswith("# 1:1: the file is empty | ")
    else:
        assert said == EXPECTED.findall(text(path))
    for problem in found:
        assert problem.file == str(path)
        assert problem.hint
        assert str(problem).startswith(f"{path}:{problem.line}:{problem.column}: ")


@pytest.mark.parametrize("name", sampled(["many", "syntax_tab", "not_utf8", "class_misspelt"], slow=["class_misspelt"]))
def test_the_command_refuses_with_code_2_and_writes_nothing(name: str, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parent / "broken_specs" / f"{name}.yaml", tmp_path / "broken.yaml")
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator", "launch", "broken.yaml"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr + answer.stdout
    assert re.search(r"broken\.yaml:\d+:\d+: ", answer.stderr)
    assert "hint: " in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken.yaml"]
