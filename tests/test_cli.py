"""The commands, as a person or a program reads them: data on stdout, errors on one screen, exit codes that tell."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orchestrator
from orchestrator import cli, version
from orchestrator.rundir import run_at
from orchestrator.spec import to_yaml
from orchestrator.sweep import launch
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished run, ``tiny``."""
    folder = tmp_path_factory.mktemp("runs")
    launch(spec(), folder, local=True)
    return folder


@pytest.fixture
def sweep(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: exit code, stdout, stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("SWEEP_RUNS", str(runs))
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out, err

    return call


def test_results_as_json_are_ranked_rows(sweep: Run) -> None:
    code, out, err = sweep("results", "tiny", "--json")
    rows = json.loads(out)
    assert code == 0
    assert err == ""
    assert [row["rank"] for row in rows] == list(range(1, 7))
    assert {"trial", "status", "params", "best", "epoch", "checkpoint"} <= rows[0].keys()


def test_results_as_a_table_need_no_colour_and_no_terminal(sweep: Run) -> None:
    _, out, _ = sweep("results", "tiny")
    assert "\x1b" not in out
    assert "val_loss" in out
    assert "learning_rate" in out
    assert sum("finished" in line or "stopped" in line for line in out.splitlines()) == 6


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
@pytest.mark.parametrize("epochs", [(), ("--epochs",)])
def test_results_are_saved(sweep: Run, tmp_path: Path, ending: str, epochs: tuple[str, ...], runs: Path) -> None:
    file = tmp_path / f"table{ending}"
    code, _, _ = sweep("results", "tiny", "--out", str(file), *epochs)
    assert code == 0
    read = pd.read_csv(file) if ending == ".csv" else pd.read_parquet(file)
    found = orchestrator.load_results("tiny", str(runs))
    expected = found.epochs if epochs else found.trials
    assert list(read.columns) == list(expected.columns)
    assert read["val_loss"].tolist() == expected["val_loss"].tolist()


def test_results_refuse_other_endings(sweep: Run, tmp_path: Path) -> None:
    code, _, err = sweep("results", "tiny", "--out", str(tmp_path / "table.xls"))
    assert code == 2
    assert "hint: --out" in err


def test_verify_counts_what_it_looked_at_and_finds_damage(sweep: Run, runs: Path) -> None:
    code, out, _ = sweep("verify", "tiny", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["violations"] == []
    assert found["suggestions"] == 6
    assert found["decisions"] > 0
    checkpoint = next(runs.glob("tiny/trials/*/checkpoints/*.ckpt"))
    whole = checkpoint.read_bytes()
    try:
        checkpoint.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        code, out, _ = sweep("verify", "tiny")
        assert code == 4
        assert checkpoint.name in out
    finally:
        checkpoint.write_bytes(whole)


def test_one_damaged_run_does_not_hide_the_others(sweep: Run, runs: Path) -> None:
    (runs / "broken").mkdir()
    (runs / "broken" / "journal.jsonl").write_text("no journal\n")
    code, out, err = sweep("list")
    assert code == 0
    assert "6/6" in out
    assert "damaged" in out
    assert "damaged at byte 0" in err
    assert {row["name"]: row["status"] for row in json.loads(sweep("list", "--json")[1])}["broken"] == "damaged"
    shutil.rmtree(runs / "broken")


def test_an_empty_list_says_where_it_looked(sweep: Run, runs: Path) -> None:
    code, out, err = sweep("list", "--tag", "wide")
    assert (code, out) == (0, "")
    assert err == f"no runs in {runs}, with the tag wide, archived ones apart\n"
    assert sweep("list", "nowhere", "--json")[:2] == (0, "[]\n")


def test_retry_says_which_trials_can_be_retried(sweep: Run) -> None:
    code, _, err = sweep("retry", "tiny")
    assert code == 2
    assert "--failed" in err
    code, _, err = sweep("retry", "tiny", "--trial", "0")
    assert code == 2
    assert "trial 0 has not failed" in err
    assert "failed trials: none" in err


def test_status_list_best_and_why_agree(sweep: Run) -> None:
    status = json.loads(sweep("status", "tiny", "--json")[1])
    assert status["status"] == "completed"
    assert sum(status["trials"].values()) == 6
    assert status["spent"].keys() == {"trials", "epochs", "wall_clock"}
    assert (status["spent"]["trials"], status["spent"]["wall_clock"] > 0) == (6, True)
    assert [run["name"] for run in json.loads(sweep("list", "--json")[1])] == ["tiny"]
    assert "6 of 6 trials" in sweep("status", "tiny")[1]
    assert "6/6" in sweep("list")[1]
    best = json.loads(sweep("best", "tiny", "--json")[1])
    first = json.loads(sweep("results", "tiny", "--json")[1])[0]
    assert (best["trial"], best["val_loss"], best["checkpoint"]) == (first["trial"], first["best"], first["checkpoint"])
    why = json.loads(sweep("why", "tiny", "--json")[1])
    assert why["trial"] == best["trial"]
    assert f"checkpoint: {first['checkpoint']}" in sweep("best", "tiny")[1]
    assert "Suggested: " in sweep("why", "tiny", "--trial", "3")[1]


@pytest.mark.parametrize("command", ["status", "results", "why", "best", "stop", "resume"])
def test_a_run_that_is_not_there_is_named_with_the_nearest(sweep: Run, command: str) -> None:
    code, out, err = sweep(command, "tinny")
    assert (code, out) == (2, "")
    assert err == f"error: there is no run 'tinny' in {run_at('tiny').root.parent}\nhint: did you mean 'tiny'?\n"


@pytest.mark.parametrize("name", [".hidden", "-x", "x" * 101, ""])
def test_names_cannot_leave_the_folder_of_runs(sweep: Run, name: str) -> None:
    code, _, err = sweep("status", "--", name)
    assert code == 2
    assert "cannot name a run" in err


@pytest.mark.parametrize("path", ["../tiny", "/etc", "a/b", "/etc/hostname"])
def test_a_path_without_a_run_is_refused(sweep: Run, path: str) -> None:
    code, _, err = sweep("status", "--", path)
    assert (code, "there is no run at" in err) == (2, True)


def test_a_damaged_journal_is_refused_by_offset(sweep: Run, runs: Path) -> None:
    run = run_at("damaged", runs)
    run.root.mkdir()
    whole = (runs / "tiny" / "journal.jsonl").read_bytes()
    Path(run.journal).write_bytes(whole.replace(b'"trial":1', b'"trial":9', 1))
    try:
        for command in ("status", "results", "resume"):
            code, _, err = sweep(command, "damaged")
            assert code == 4
            assert "damaged at byte" in err
            assert "Traceback" not in err
    finally:
        Path(run.journal).unlink()


def test_the_schema_is_json(sweep: Run) -> None:
    assert json.loads(sweep("schema")[1])["properties"].keys() >= {"model", "space", "objective"}


def test_import_prints_a_sweep_file(sweep: Run, tmp_path: Path) -> None:
    file = tmp_path / "wandb.yaml"
    file.write_text(
        "method: bayes\nmetric: {name: val_loss, goal: minimize}\n"
        "parameters: {learning_rate: {distribution: log_uniform_values, min: 0.001, max: 0.1}}\n"
    )
    code, out, _ = sweep(
        "import", str(file), "--model", "tests.support.tiny.Tiny", "--data", "tests.support.tiny.TinyData"
    )
    assert code == 0
    path = tmp_path / "sweep.yaml"
    path.write_text(out)
    loaded = orchestrator.load_spec(str(path))
    assert loaded.objective.metric == "val_loss"
    assert "model.learning_rate" in loaded.space
    assert (loaded.searcher.name, loaded.scheduler.name) == ("density_ratio", "guarded_asha")  # as without a file
    assert "scheduler: fifo" in out


EMPTY = "import typer; app = typer.Typer(); app.command()(print); app.command('a')(print); app(['--help'])"


def test_help_answers_within_half_a_second() -> None:
    """Where that is possible: on a slow or busy machine within little more than twice an empty program's time."""

    def seconds(*words: str) -> float:
        began = os.times()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        ended = os.times()
        return ended.children_user + ended.children_system - began.children_user - began.children_system

    took = [(seconds("-m", "orchestrator", "--help"), seconds("-c", EMPTY)) for _ in range(3)]
    assert min(ours for ours, _ in took) < max(0.5, 3 * min(empty for _, empty in took))


def test_the_version_is_printed_and_in_python(sweep: Run) -> None:
    assert sweep("--version") == (0, f"sweep-orchestrator {metadata.version('sweep-orchestrator')}\n", "")
    assert orchestrator.__version__ == metadata.version("sweep-orchestrator")


def test_a_clone_that_is_not_installed_has_a_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    installed = metadata.version("sweep-orchestrator")
    monkeypatch.setattr(metadata, "version", not_installed)
    assert version.version() == f"{installed}+uninstalled"
    (tmp_path / "orchestrator").mkdir()
    monkeypatch.setattr(version, "__file__", str(tmp_path / "orchestrator" / "version.py"))
    assert version.version() == "0+unknown"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "somebody-elses"\nversion = "9"\n')
    assert version.version() == "0+unknown"


def test_new_name_takes_the_next_free_name(sweep: Run, runs: Path, tmp_path: Path) -> None:
    file = tmp_path / "first.yaml"
    file.write_text(to_yaml(spec(name="first")))
    launch_words = ("launch", str(file), "--local", "--set", "budget.trials=1", "--new-name")
    for name in ("first", "first-2", "first-3"):
        code, _, err = sweep(*launch_words)
        assert code == 0
        assert f" why {name} " in err, "the next steps name the run"
        assert run_at(name, runs).exists()
    code, _, err = sweep(*launch_words, "--cluster", "cluster.yaml", "--set", "name=other")
    assert (code, "--local and --cluster exclude each other" in err) == (2, True)
    code, _, err = sweep("launch", str(file), "--new-name", "--cluster", "cluster.yaml")
    assert (code, "hint: specify --name NAME" in err) == (2, True)
    for name in ("first", "first-2", "first-3"):
        shutil.rmtree(runs / name)


def test_shared_options_are_declared_once() -> None:
    shared = ("--runs", "--name", "--set", "--json", "--address", "--cluster", "--token", "--insecure", "--local")
    folder = Path(cli.__file__).parent
    declared = [
        f"{file.name}: {option}"
        for file in sorted(folder.glob("*.py"))
        if file.name != "options.py"
        for option in shared
        if re.search(rf'typer\.Option\(\s*"{option}"', file.read_text(encoding="utf-8"))
    ]
    assert declared == []
    assert all(f'"{option}"' in (folder / "options.py").read_text(encoding="utf-8") for option in shared)


def test_what_the_package_says_it_has_it_has() -> None:
    values: dict[str, Any] = {name: getattr(orchestrator, name) for name in orchestrator.__all__}
    assert callable(values["load_results"])
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = orchestrator.nothing


def test_an_output_that_lacks_a_character_has_a_question_mark(sweep: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under LC_ALL=en_US.ISO-8859-1, or with PYTHONIOENCODING=ascii."""
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", written)
    code, _, err = sweep("watch", "tiny")
    monkeypatch.undo()
    written.flush()
    text = written.buffer.getvalue().decode("ascii")
    assert (code, err) == (0, "")
    assert "?" in text
    assert "6 of 6 trials ended" in text
