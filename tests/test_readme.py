"""README.md: its commands run as printed, in their order, in a fresh clone; it is short, and its figures hold.

Three commands are replaced by what is equivalent:

- The clone's ``.venv`` is a link to the one that runs this test, so ``make quickstart`` installs nothing.
- ``make test`` runs one test file: the same target with ``ARGS``. The whole of it is what this test is a part of.
- ``pip install dist/*.whl`` installs the wheel without its dependencies, into a new environment that finds them in
  this one's: they are gigabytes, and the same versions.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.doc_blocks import blocks_of
from tests.support.paths import ROOT

README = ROOT / "README.md"
WORDS = 900
REPLACED = {
    "make test": "make test ARGS='tests/test_space.py --time-limit 60' WORKERS=0",
    "pip install dist/*.whl": "pip install --quiet --no-deps --no-index dist/*.whl",
}
NOT_COMMITTED = {".git", ".venv", ".venv-tpu", ".hypothesis", "data", "dist", "runs", "shared", "site"}
FACTOR = re.compile(r"\b\d+(\.\d+)?\s*[×x](?!\w)")
SEARCH = re.compile(r"\b(search|random|asha|promotion|frontier|parzen|default)\b", re.IGNORECASE)


def commands() -> list[str]:
    return [line.split("  #")[0] for block in blocks_of(README, ROOT) for line in block.commands()]


def test_it_is_one_screen() -> None:
    assert len(README.read_text().split()) <= WORDS


def test_two_commands_set_everything_up() -> None:
    assert commands()[:2] == ["make quickstart", "make test"]


def test_it_shows_the_screen_of_watch_and_six_differences() -> None:
    text = README.read_text()
    assert "](docs/pictures/watch.svg)" in text
    bullets = text.split("## What no one else has")[1].split("\n## ")[0]
    assert len(re.findall(r"^- \*\*.+\]\(", bullets, re.MULTILINE)) == 6
    assert len(re.findall(r"^- \*\*", bullets, re.MULTILINE)) == 6


def test_the_sweep_file_has_ten_lines() -> None:
    file, function = [block for block in blocks_of(README, ROOT) if block.language == "yaml"]
    assert len(function.text.splitlines()) <= 4
    assert len(file.text.splitlines()) <= 10


def test_no_factor_of_one_search_over_another_stands_in_it() -> None:
    """The tables of learning curves that are at hand contradict each other: the findings page has them, not README."""
    lines = README.read_text().splitlines()
    assert [line for line in lines if FACTOR.search(line) and SEARCH.search(line)] == []


@pytest.mark.parametrize("line", ["The default is 10.2× as fast as random", "| ASHA | 7.4x (12.2x) |"])
def test_a_factor_of_a_search_is_found(line: str) -> None:
    assert FACTOR.search(line)
    assert SEARCH.search(line)


def test_the_kills_of_readme_are_those_of_the_recovery_page() -> None:
    ours, ray = re.findall(r"\b(\d+ of \d+)\b(?= finished trials here|\s+with plain Ray)", README.read_text())
    (row,) = re.findall(r"^\| finished trials lost.*$", (ROOT / "docs/recovery-tests.md").read_text(), re.MULTILINE)
    assert [cell.strip() for cell in row.split("|")[2:4]] == [ray, ours]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the files of the repository, as a clone has them, and this environment as its own."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name in NOT_COMMITTED or entry.name.endswith("_cache"):
            continue
        if entry.is_dir():
            shutil.copytree(entry, folder / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(entry, folder)
    (folder / ".venv").symlink_to(Path(sys.prefix), target_is_directory=True)
    os.utime(folder / "pyproject.toml", (0, 0))  # older than .venv/.installed, as after an installation
    os.utime(folder / "constraints.txt", (0, 0))
    return folder


@pytest.fixture
def own_environment_of_a_user(tmp_path: Path) -> Path:
    """A new environment without this package, which finds everything else in the environment of the tests."""
    folder = tmp_path / "user"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        # Nor the folder of an editable installation: the wheel would be written through the link.
        own = entry.name == "orchestrator" or "sweep_orchestrator" in entry.name
        if not own and not entry.name.startswith(("pip", "__pycache__")):
            target = packages / entry.name
            if not target.exists():
                target.symlink_to(entry)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_its_commands_run_as_printed(clone: Path, own_environment_of_a_user: Path) -> None:
    file, _ = [block for block in blocks_of(README, ROOT) if block.language == "yaml"]
    (clone / "digits.yaml").write_text(file.text)
    lines = ["set -eux -o pipefail"]
    for command in commands():
        if command.startswith("pip install"):  # from here on in the environment of a project of the reader's
            lines += ["deactivate", f"source '{own_environment_of_a_user}/bin/activate'"]
        lines.append(REPLACED.get(command, command))
    environment = {name: value for name, value in os.environ.items() if name not in ("SWEEP_RUNS", "VIRTUAL_ENV")}
    ran = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-5000:]
    assert (clone / "runs/quickstart/report.html").is_file()
    assert (clone / "runs/digits/journal.jsonl").is_file()
    assert (clone / "bundle/MANIFEST.json").is_file()
    assert "sweep 0." in ran.stdout or "0.1.0" in ran.stdout
