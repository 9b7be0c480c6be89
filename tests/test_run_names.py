"""What names a run: nothing, a beginning of its name, a path. And what the shell completes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from orchestrator import cli
from orchestrator.errors import UsageError
from orchestrator.results.run_state import find, read_state
from orchestrator.results.winner import finals_of
from orchestrator.rundir.labels import Labels, change_labels
from orchestrator.sweep.machine_checks import check_machine
from tests.support.synthetic_runs import invent


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs, launched in this order: cifar-big, cifar-small, digits."""
    folder = tmp_path / "runs"
    folder.mkdir()
    for number, name in enumerate(("cifar-big", "cifar-small", "digits")):
        run, _ = invent(tmp_path, 3)
        run.spec.write_text("")
        os.utime(run.spec, (1000 + number, 1000 + number))
        run.root.rename(folder / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_RUNS", raising=False)
    return folder


def test_no_name_means_the_newest_run_that_is_not_archived(runs: Path) -> None:
    assert find().name == "digits"
    (runs / "cifar-big" / "journal.jsonl").touch()  # still written, but launched first
    assert find().name == "digits"
    change_labels(find(), lambda labels: Labels(archived=True))
    assert find().name == "cifar-small"


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no run in") as error:
        find(None, tmp_path / "none")
    assert "sweep launch quickstart" in error.value.hint


@pytest.mark.parametrize("name", ["d", "digits", "runs/digits", "./runs/digits/", "runs/digits/journal.jsonl"])
def test_a_beginning_or_a_path_names_a_run(runs: Path, name: str) -> None:
    assert find(name).root == runs / "digits"
    assert find(runs / "digits").root == runs / "digits"


def test_a_name_counts_before_a_beginning_and_the_present_folder_last(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "cifar-big").rename(runs / "cifar")
    assert find("cifar").name == "cifar"
    monkeypatch.chdir(runs)
    assert find("digits").root == runs / "digits"  # ./runs does not exist here


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("cifar", "2 runs begin with 'cifar'", "'cifar-small', 'cifar-big'"),
        ("digts", "there is no run 'digts'", "did you mean 'digits'?"),
        ("zzz", "there is no run 'zzz'", "'digits', 'cifar-small', 'cifar-big'"),
        ("runs/digts", "there is no run at", "'digits'"),
        ("", "'' cannot name a run", "a name is"),  # an unset variable must not mean the newest run
        ("http://x/y", "http", "use a folder"),
    ],
)
def test_an_error_names_the_nearest(runs: Path, name: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        find(name)
    assert message in error.value.message
    assert hint in error.value.hint


def test_a_renamed_run_keeps_its_finals(runs: Path) -> None:
    run = find("digits")
    state = read_state(run)
    finals = finals_of(run, state)
    assert finals.name == "invented-finals"  # the sweep file's name
    older = run.child_run("digits-finals")  # as a version before named them after a run renamed by hand
    older.root.mkdir()
    Path(older.journal).write_text("x")
    assert finals_of(run, state).root == older.root


Complete = Callable[..., list[str]]


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    """What bash offers for the last word, asked as its completion script asks."""

    def ask(*words: str) -> list[str]:
        monkeypatch.setenv("_SWEEP_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["sweep", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        monkeypatch.setattr(sys, "argv", ["sweep"])
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr().out.split()

    return ask


def test_the_shell_completes_runs_files_trials_and_fields(runs: Path, completed: Complete) -> None:
    for number in range(3):
        (runs / "cifar-big" / "trials" / f"{number:04d}").mkdir(parents=True)
    Path("own.yaml").write_text("")
    assert completed("status", "ci") == ["cifar-small", "cifar-big"]
    assert completed("status", "runs/di") == ["runs/digits"]
    assert completed("why", "cifar-b", "--trial", "") == ["0", "1", "2"]
    assert completed("launch", "q") == ["quickstart"]
    assert completed("launch", "ow") == ["own.yaml"]
    assert completed("launch", "quickstart", "--set", "budget.tri") == ["budget.trials="]
    assert "model.init_args.input_shape=" in completed("launch", "quickstart", "--set", "model.init")
    assert completed("status", "--runs", "/nowhere", "x") == []


def commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, by its words."""
    for name, below in getattr(group, "commands", {}).items():
        yield from commands(below, (*words, name))
    if words and not getattr(group, "commands", None):
        yield words, group


def test_each_help_has_an_example_that_begins_with_its_command() -> None:
    found = {
        words: re.findall(r"Example: (sweep .+)", each.help or "") for words, each in commands(get_command(cli.app))
    }
    assert len(found) > 30
    wrong = [
        words
        for words, lines in found.items()
        if not any(line.startswith(" ".join(("sweep", *words))) for line in lines)
    ]
    assert wrong == []


def test_bare_sweep_is_short_and_names_five_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capsys.readouterr().out
    assert not ended.value.code
    assert len(re.findall(r"^  sweep \w+", out, re.MULTILINE)) == 5
    assert len(out.splitlines()) == 10


def test_a_doctor_looks_at_this_machine_and_at_where_runs_are(tmp_path: Path) -> None:
    checks = {check.name: check for check in check_machine(tmp_path)}
    assert list(checks) == ["Python", "runs", "shared memory", "ports", "GPU", "W&B"]
    assert checks["Python"].state == checks["ports"].state == "ok"
    assert str(tmp_path) in checks["runs"].message
    assert list(tmp_path.iterdir()) == []
    assert check_machine("ftp://nowhere")[1].state == "failed"
