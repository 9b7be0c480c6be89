"""The planted bugs of `make mutants`: each applies to the code as it is, and names tests that exist."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.__main__ import Mutant, check, mutants
from tests.support.paths import ROOT

PLANTED = mutants()


def test_there_are_planted_bugs() -> None:
    assert PLANTED


@pytest.mark.parametrize("mutant", PLANTED, ids=lambda mutant: mutant.name)
def test_a_planted_bug_applies_and_names_tests_that_exist(mutant: Mutant) -> None:
    mutant.apply(ROOT, "--check")
    for test in mutant.tests:
        name, *function = test.split("::")
        tree = ast.parse((ROOT / name).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not function or function[-1].partition("[")[0] in names, test


def _project(tree: Path, patch: str) -> Mutant:
    (tree / "plus.py").write_text("def plus(a, b):\n    return a + b\n")
    (tree / "test_plus.py").write_text("from plus import plus\n\ndef test_plus():\n    assert plus(2, 2) == 4\n")
    (tree / "bug.patch").write_text(patch)
    return Mutant.read(tree / "bug.patch")


BUG = """A sum is a {0}.
Caught by: test_plus.py

--- a/plus.py
+++ b/plus.py
@@ -1,2 +1,2 @@
 def plus(a, b):
-    return a + b
+    return a {1} b
"""


@pytest.mark.parametrize(("what", "sign", "caught"), [("difference", "-", True), ("product", "*", False)])
def test_a_bug_is_caught_if_a_test_fails(tmp_path: Path, what: str, sign: str, caught: bool) -> None:
    mutant = _project(tmp_path, BUG.format(what, sign))
    found, how = check(mutant, tmp_path)
    assert found is caught
    assert how == ("test_plus.py::test_plus" if caught else "SURVIVED: test_plus.py")
    assert (tmp_path / "plus.py").read_text() == "def plus(a, b):\n    return a + b\n"


def test_a_patch_that_no_longer_applies_is_an_error(tmp_path: Path) -> None:
    mutant = _project(tmp_path, BUG.format("difference", "-"))
    (tmp_path / "plus.py").write_text("def plus(a, b, c):\n    return a + b + c\n")
    with pytest.raises(ValueError, match=r"bug.patch no longer applies"):
        check(mutant, tmp_path)


@pytest.mark.slow
def test_a_bug_that_keeps_the_tests_from_running_is_not_caught(tmp_path: Path) -> None:
    mutant = _project(tmp_path, BUG.format("difference", "-").replace("test_plus.py", "test_minus.py"))
    found, how = check(mutant, tmp_path)
    assert not found
    assert "the tests did not run" in how


def test_a_name_without_a_planted_bug_is_an_error() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutants", "no-such-bug"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "no planted bug has 'no-such-bug' in its name" in done.stderr
