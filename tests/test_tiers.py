"""The tiers of the tests: an unmarked test that takes too long fails the run; a sample is fixed by its seed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.tiers import drawn

TESTS = """
import time
import pytest

def test_unmarked(): time.sleep(0.3)

@pytest.mark.slow
def test_marked(): time.sleep(0.3)

@pytest.mark.slow
@pytest.mark.parametrize("number", range(40))
def test_many(number): pass
"""


@pytest.fixture
def own_tests(tmp_path: Path) -> Path:
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow: x\n  ray: x\n  cluster: x\n")
    return tmp_path


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "tests.support.tiers", "-p", "no:cacheprovider", "-q", *options]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="alone"),
        pytest.param(["-n", "2", "--dist", "loadgroup"], marks=pytest.mark.slow, id="side by side"),
    ],
)
def test_an_unmarked_test_over_the_limit_fails_the_run(own_tests: Path, options: list[str]) -> None:
    assert run(own_tests, *options).returncode == 0
    ended = run(own_tests, "--time-limit", "0.2", *options)
    assert ended.returncode == 1, ended.stdout
    assert "test_it.py::test_unmarked" in ended.stdout
    assert "test_it.py::test_marked" not in ended.stdout


def test_a_sample_is_the_same_for_one_seed_and_another_for_the_next(own_tests: Path) -> None:
    def names(seed: str) -> set[str]:
        ended = run(own_tests, "--collect-only", "--sample", "0.25", "--sample-seed", seed)
        return {line for line in ended.stdout.splitlines() if "::" in line}

    first, second = names("a"), names("b")
    assert names("a") == first != second
    assert "test_it.py::test_unmarked" in first & second, "only slow tests are sampled"
    assert 2 <= len(first) <= 25


def test_draws_are_even() -> None:
    share = sum(drawn(f"test_{number}", "seed") < 0.1 for number in range(10_000)) / 10_000
    assert share == pytest.approx(0.1, abs=0.01)
