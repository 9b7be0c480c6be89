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
    ended = run(own_tests, "--time-limit", "0.1", *options)
    assert ended.returncode == 1, ended.stdout
    assert "test_it.py::test_unmarked" in ended.stdout
    assert "test_it.py::test_marked" not in ended.stdout


@pytest.mark.slow
def test_a_sample_is_the_same_for_one_seed_and_another_for_the_next(own_tests: Path) -> None:
    def names(seed: str) -> set[str]:
        ended = run(own_tests, "--collect-only", "--sample", "0.25", "--sample-seed", seed)
        return {line for line in ended.stdout.splitlines() if "::" in line}

    first, second = names("a"), names("b")
    assert names("a") == first != second
    assert "test_it.py::test_unmarked" in first & second, "only slow tests are sampled"
    assert 2 <= len(first) <= 25


def test_slow_tests_that_would_begin_too_late_are_skipped_with_the_reason(own_tests: Path) -> None:
    ended = run(own_tests, "--minutes", "0", "-rs", "-k", "marked")
    assert ended.returncode == 0, ended.stdout
    assert "it would begin after --minutes 0" in ended.stdout
    assert "1 passed, 1 skipped" in ended.stdout.replace(", 40 deselected", "")


def test_draws_are_even() -> None:
    share = sum(drawn(f"test_{number}", "seed") < 0.1 for number in range(10_000)) / 10_000
    assert share == pytest.approx(0.1, abs=0.01)


@pytest.mark.slow
def test_the_tests_of_ray_and_those_of_a_file_run_in_one_process_each(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow: x\n  ray: x\n  cluster: x\n")
    for name in ("one", "two", "three"):
        (tmp_path / f"test_{name}.py").write_text(
            "import os, time, pytest\n"
            "def note(kind):\n"
            f"    open('seen', 'a').write(f'{{kind}} {{os.getpid()}}\\n')\n"
            "    time.sleep(0.05)\n"
            "@pytest.mark.ray\n@pytest.mark.parametrize('number', range(3))\n"
            "def test_ray(number): note('ray')\n"
            "@pytest.mark.parametrize('number', range(6))\n"
            f"def test_file(number): note('{name}')\n"
        )
    assert run(tmp_path, "-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder").returncode == 0
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    processes = {kind: {pid for each, pid in seen if each == kind} for kind, _ in seen}
    assert {kind: len(pids) for kind, pids in processes.items()} == {"ray": 1, "one": 1, "two": 1, "three": 1}
    assert len(set.union(*processes.values())) == 2
