"""Plant bugs, one after another, and see that the tests that must catch each of them do.

python -m tests.mutants              all of them: some minutes
python -m tests.mutants lease        those with "lease" in the name

Each ``tests/mutants/<name>.patch`` is a small bug in the package: a first line that says what breaks, then the tests
that must catch it (``Caught by: …``), then the change. A patch that no longer applies is an error: write it anew for
the code as it is, or remove it if the behaviour is gone.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

FOLDER = ROOT / "tests" / "mutants"
TIMEOUT_SECONDS = 240
_UNTIMED = ("--time-limit", "10000")  # a test that is slow beside another one is not a failure here
_PASSED, _FAILED = 0, 1  # exit statuses of pytest; all others mean that the tests did not run


@dataclass(frozen=True)
class Mutant:
    """A planted bug: what it breaks, the tests that must catch it, and the file of the patch."""

    name: str
    what: str
    tests: tuple[str, ...]
    patch: Path

    @classmethod
    def read(cls, patch: Path) -> Mutant:
        """Read a patch's first lines. Raises ValueError if they are not in the form above."""
        head, marker, _ = patch.read_text().partition("\n--- ")
        what, _, tests = head.partition("\nCaught by:")
        if not (marker and what.strip() and tests.split()):
            raise ValueError(f"{patch.name}: expected a line that says what breaks, 'Caught by: TESTS', and a change")
        return cls(patch.stem, what.strip(), tuple(tests.split()), patch)

    def apply(self, tree: Path, *options: str) -> None:
        """Plant it in a copy of the project. Raises ValueError if it does not apply."""
        command = ["git", "apply", *options, str(self.patch)]
        outside = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}  # else git skips files of no repository
        done = subprocess.run(command, cwd=tree, env=outside, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"{self.patch.name} no longer applies: {done.stderr.strip()}")


def mutants(wanted: str = "") -> list[Mutant]:
    """Return the planted bugs whose name contains ``wanted``, by name."""
    return [Mutant.read(patch) for patch in sorted(FOLDER.glob("*.patch")) if wanted in patch.stem]


def copy_of_project(tree: Path) -> Path:
    """Copy the files that git knows, and those that it would add."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tree / name)
    return tree


def run(tree: Path, tests: Sequence[str], *options: str, seconds: float = TIMEOUT_SECONDS) -> tuple[int | None, str]:
    """Run tests in a copy of the project. Returns pytest's exit status, None if it took too long, and its output."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfE", "--tb=line", *options, *tests]
    # No bytecode: two versions of a file within a second look the same to Python's cache.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    pytest = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = pytest.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(pytest.pid, 9)
        return None, pytest.communicate()[0]
    return pytest.returncode, output


def check(mutant: Mutant, tree: Path, *options: str) -> tuple[bool, str]:
    """Plant a bug in a copy of the project and run its tests. Returns whether they caught it, and which test or why."""
    mutant.apply(tree)
    try:
        status, output = run(tree, mutant.tests, "-x", *options)
    finally:
        mutant.apply(tree, "--reverse")
    if status == _FAILED:
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        return True, failed[1] if failed else "a test failed"
    if status is None:
        return True, f"{mutant.tests[0]} took more than {TIMEOUT_SECONDS} s"
    if status == _PASSED:
        return False, f"SURVIVED: {' '.join(mutant.tests)}"
    return False, f"the tests did not run:\n{output}"


def _without_bugs(trees: Sequence[Path], tests: Sequence[str]) -> str:
    """Run all named tests in the project as it is. Returns the output if one fails; empty if all pass."""
    side_by_side = ("--numprocesses", str(len(trees)), "--dist", "loadgroup")
    status, output = run(trees[0], tests, *side_by_side, *_UNTIMED, seconds=3600)
    return "" if status == _PASSED else output


def main() -> None:
    parser = argparse.ArgumentParser(description="Plant bugs and see that the tests catch each of them.")
    parser.add_argument("names", nargs="?", default="", help="only those with this text in the name")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many at a time")
    options = parser.parse_args()
    planted = mutants(options.names)
    if not planted:
        sys.exit(f"no planted bug has {options.names!r} in its name")
    began, results = time.monotonic(), dict[str, bool]()
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        trees = [copy_of_project(Path(folder) / str(number)) for number in range(options.workers)]
        if output := _without_bugs(trees, sorted({test for mutant in planted for test in mutant.tests})):
            sys.exit(f"{output}\nA test named by a patch fails without the bug.")
        waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
        for mutant in planted:
            waiting.put(mutant)
        threads = [threading.Thread(target=_work, args=(waiting, tree, results)) for tree in trees]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    survived = [name for name, caught in results.items() if not caught]
    print(f"{len(results) - len(survived)} of {len(planted)} caught, {time.monotonic() - began:.0f} s", flush=True)
    sys.exit(f"not caught: {', '.join(sorted(survived))}" if survived or len(results) < len(planted) else 0)


def _work(waiting: queue.SimpleQueue[Mutant], tree: Path, results: dict[str, bool]) -> None:
    while not waiting.empty():
        try:
            mutant = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            results[mutant.name], how = check(mutant, tree, *_UNTIMED)
        except ValueError as error:
            results[mutant.name], how = False, str(error)
        verdict = "caught" if results[mutant.name] else "NOT   "
        print(f"{verdict}  {mutant.name}: {mutant.what}\n        {how}", flush=True)


if __name__ == "__main__":
    main()
