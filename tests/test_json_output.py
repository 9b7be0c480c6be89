"""`--json` on every command: each prints what its schema says, and so does each error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from typer.main import get_command

from orchestrator import cli
from orchestrator.cli.detached import _print_end
from orchestrator.cli.error_json import error_record
from orchestrator.cli.json_forms import FORMS, TrialRow, json_schemas
from orchestrator.errors import ClusterLostError, JournalError, RunHeldError, UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.sweep import launch
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
Run = Callable[..., tuple[int, Any]]
SCHEMAS = json_schemas()
SWEEP = """objective: {metric: val_loss, mode: min}
model: tests.support.tiny.Tiny
data: tests.support.tiny.TinyData
trainer: {max_epochs: 1}
space: {model.learning_rate: {choice: [0.1, 0.2]}}
budget: {trials: 2}
"""


def commands(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(above), command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*above, name))


def check(value: Any, name: str) -> None:
    jsonschema.validate(value, {"$ref": f"#/$defs/{name}", "$defs": SCHEMAS["$defs"]})


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    launch(spec(budget={"trials": 3}, trainer={"max_epochs": 1}), folder, local=True, preflight=False)
    return folder


@pytest.fixture
def sweep(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command with --json in this process: its exit code, and what it printed."""

    def call(*arguments: str) -> tuple[int, Any]:
        monkeypatch.setenv("SWEEP_RUNS", str(runs))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["sweep", *arguments, "--json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), json.loads(capsys.readouterr().out)

    return call


def test_every_command_takes_json_and_has_a_schema() -> None:
    listed = dict(commands(get_command(cli.app)))
    assert listed.keys() == FORMS.keys()
    for name, command in listed.items():
        assert any("--json" in option.opts for option in command.params), name
    jsonschema.Draft202012Validator.check_schema(SCHEMAS)


@pytest.mark.parametrize(
    "words",
    [
        "status tiny", "watch tiny", "results tiny", "results tiny --reports", "best tiny", "why tiny", "audit tiny",
        "verify tiny", "logs tiny", "list", "du", "doctor", "plan quickstart", "schema", "tag tiny", "note tiny hello",
        "archive tiny --undo", "sync tiny", "report tiny --out report.html", "export-optuna tiny study.db",
        "cluster init local", "cluster token --token token --new",
        "cluster manifest slurm quickstart", "rm tiny --checkpoints --yes",
    ],
)  # fmt: skip
def test_what_a_command_prints_is_what_its_schema_says(sweep: Run, words: str) -> None:
    code, printed = sweep(*words.split())
    assert code == 0, printed
    name = next(name for name in FORMS if f"{words} ".startswith(f"{name} "))
    check(printed, f"sweep {name}")
    if words == "results tiny":
        for row in printed:
            check(row, TrialRow.__name__)


def test_a_launch_prints_one_document(sweep: Run, tmp_path: Path) -> None:
    (tmp_path / "fresh.yaml").write_text(SWEEP)
    code, printed = sweep("init", "orchestrator.models.LitModel", "--out", "fresh.yaml")
    assert (code, printed["error"]["code"]) == (2, "usage")
    runs = str(tmp_path / "runs")
    ended = launch(spec(budget={"trials": 1}, trainer={"max_epochs": 1}), runs, local=True, preflight=False)
    code, printed = sweep("resume", "tiny", "--runs", runs)
    check(printed, "sweep resume")
    assert (code, printed["status"], printed["best"]["trial"]) == (0, ended.state.status, 0)
    assert printed["best"]["value"] == printed["best"]["val_loss"]
    code, printed = sweep("rename", "tiny", "another", "--runs", runs)
    check(printed, "sweep rename")
    code, printed = sweep("rm", "another", "--yes", "--runs", runs)
    check(printed, "sweep rm")


@pytest.mark.parametrize(
    ("words", "code", "exit_code"),
    [
        ("status nobody", "usage", 2),
        ("status --trail 3", "usage", 2),
        ("best", None, 0),
        ("why tiny --trial 99", "usage", 2),
        ("stop tiny", "usage", 2),
        ("promote tiny --trial 0", "usage", 2),
        ("launch quickstart --set budget.trails=3", "file", 2),
        ("plan no_such_file", "file", 2),
        ("launch quickstart --name tiny", "held", 3),
        ("retry tiny", "usage", 2),
        ("resume tiny --cluster cluster.yaml --detach", "usage", 2),
        ("extend tiny --cluster cluster.yaml --local", "usage", 2),
        ("confirm tiny --cluster no_such.yaml", "file", 2),
        ("rm tiny", "usage", 2),
        ("cluster validate nothing.yaml", "file", 2),
    ],
)
def test_an_error_is_json_too(sweep: Run, words: str, code: str | None, exit_code: int) -> None:
    ended, printed = sweep(*words.split())
    assert ended == exit_code, printed
    if code is not None:
        check(printed, "error")
        assert printed["error"]["code"] == code
        assert printed["error"]["message"]


@pytest.mark.parametrize(
    ("words", "submitted"),
    [
        ("resume tiny", ["resume", "tiny", "--trust"]),
        ("retry tiny --trial 1 --trial 2", ["retry", "tiny", "--trust", "--trial", "1", "--trial", "2"]),
        ("retry tiny --failed", ["retry", "tiny", "--trust", "--failed"]),
        ("extend tiny --trials 3 --budget cost=2", ["extend", "tiny", "--trust", "--trials=3", "--budget=cost=2"]),
        ("confirm tiny --top 2", ["confirm", "tiny", "--trust", "--top=2"]),
    ],
)
def test_each_verb_that_runs_trials_can_be_submitted(
    sweep: Run, monkeypatch: pytest.MonkeyPatch, words: str, submitted: list[str]
) -> None:
    asked: list[Any] = []

    def submit(cluster: str, words: list[str], spec: Any, **options: Any) -> Any:
        asked.append((cluster, words, spec.name))
        return SimpleNamespace(job="sweep-1", runs="/mnt/sweeps", upload=SimpleNamespace(files=2, size=10, large=()))

    monkeypatch.setattr("orchestrator.cluster.jobs.submit", submit)
    code, printed = sweep(*words.split(), "--cluster", "http://head:8265")
    check(printed, f"sweep {words.split()[0]}")
    assert (code, printed["job"]) == (0, "sweep-1")
    assert asked == [("http://head:8265", submitted, "tiny")]


def test_problems_of_a_file_have_places(sweep: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(SWEEP + "budgets: 3\nresource: 4\n")
    code, printed = sweep("plan", "wrong.yaml")
    error = printed["error"]
    check(printed, "error")
    assert (code, error["code"], len(error["problems"])) == (2, "file", 2)
    assert error["place"] == {"file": "wrong.yaml", "line": 7, "column": 1, "path": "budgets"}
    assert "did you mean budget?" in error["hint"]
    assert error["message"] == error["problems"][0]["message"]


def test_codes_are_stable_and_say_what_is_transient() -> None:
    errors = [UsageError("a"), JournalError("b"), RunHeldError("c"), ClusterLostError("d")]
    records = [error_record(error, error.hint)["error"] for error in errors]
    assert [(each["code"], each["transient"]) for each in records] == [
        ("usage", False), ("journal", False), ("held", False), ("cluster_lost", True),
    ]  # fmt: skip


def test_a_detached_driver_that_fails_says_so_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory(tmp_path / "run")
    run.root.mkdir()
    run.driver_log.write_text('notice: a\n{\n  "error": {}\n}\n')
    _print_end(run, 0, remove=True, as_json=True)
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"error": {}}, "notice: a\n")
    assert not run.root.exists()
