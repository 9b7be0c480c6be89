"""A run that somebody else wrote is data: its code is imported only if the user says so."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator import sweep
from orchestrator.cli import app
from orchestrator.errors import SweepError, UntrustedRunError, UsageError
from orchestrator.export import export
from orchestrator.journal import Event, encode, read
from orchestrator.results import Results
from orchestrator.results.run_state import read_state
from orchestrator.results.verify import check
from orchestrator.results.why import why
from orchestrator.rundir import RunDirectory, data_folder
from orchestrator.spec import load, to_yaml
from orchestrator.sweep import confirm, extend, launch, retry
from orchestrator.training import class_loading
from orchestrator.trust import CARRIED, authors, carried_author, named_code, own_roots, user_key
from tests.support.small_sweeps import spec

PAYLOAD = """
import pathlib
from tests.support.tiny import Tiny

pathlib.Path({marker!r}).touch()

class Model(Tiny):
    pass
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a completed run, written under the tests' key."""
    runs = tmp_path_factory.mktemp("own")
    assert launch(spec(budget={"trials": 2}, trainer={"max_epochs": 1}), runs, local=True).exit_code == 0
    return runs / "tiny"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> RunDirectory:
    shutil.copytree(finished, tmp_path / "runs/tiny")
    return RunDirectory(tmp_path / "runs/tiny")


@pytest.fixture(autouse=True)
def own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The tests' key, but a memory of trusted runs that is each test's own."""
    shared = Path(os.environ["XDG_CONFIG_HOME"]) / "sweep-orchestrator"
    if (shared / "key").exists():
        shutil.copytree(shared, tmp_path / "config/sweep-orchestrator")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def rewritten(run: RunDirectory, change: Callable[[Event], Event]) -> RunDirectory:
    """Change records of the journal, with right checksums, as somebody can who may write the file."""
    events = [change(event) for event in read(run.journal)]
    Path(run.journal).write_bytes(b"".join(map(encode, events)))
    return run


def created(run: RunDirectory, **fields: Any) -> RunDirectory:
    """Change fields of the first record."""
    return rewritten(run, lambda event: event if event.seq else replace(event, fields={**event.fields, **fields}))


COMMANDS: dict[str, Callable[[RunDirectory, bool], object]] = {
    "export": lambda run, trust: export(run.name, run.runs, formats=[], trust=trust),
    "retry": lambda run, trust: retry(run.name, run.runs, trials=[0], local=True, trust=trust),
    "extend": lambda run, trust: extend(run.name, run.runs, trials=1, local=True, trust=trust),
    "confirm": lambda run, trust: confirm(run.name, run.runs, local=True, trust=trust),
    "test": lambda run, trust: sweep.test(run.name, run.runs, unconfirmed=True, trust=trust),
}


@pytest.fixture
def payload(run: RunDirectory, tmp_path: Path) -> Iterator[Path]:
    """The run with a model whose import leaves a file behind. Its module lies outside of every run."""
    marker, folder = tmp_path / "PWNED", tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "foreign_payload.py").write_text(PAYLOAD.format(marker=str(marker)))
    model = {"class_path": "foreign_payload.Model", "init_args": {}}
    created(run, spec={**read_state(run).spec, "model": model}, roots=[str(folder)])
    rewritten(run, lambda event: failed(event) if event.type == "trial.finished" else event)
    before = list(sys.path)
    yield marker
    sys.path[:] = before
    sys.modules.pop("foreign_payload", None)


def failed(event: Event) -> Event:
    return replace(event, type="trial.failed", fields={"trial": event["trial"], "kind": "user", "message": "x"})


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("signature", ["kept", "dropped", "of another key"])
def test_a_run_of_somebody_else_is_not_imported(
    command: str, signature: str, run: RunDirectory, payload: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if signature == "dropped":
        created(run, authors=[])
    elif signature == "of another key":
        state = read_state(run)
        with monkeypatch.context() as patch:
            patch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
            signatures = authors(state.spec, state.created["roots"])
        created(run, authors=signatures)
    if command in ("confirm", "extend"):  # a search with values that has ended
        rewritten(run, lambda e: replace(e, type="trial.finished") if e.type == "trial.failed" else e)
    with pytest.raises(UntrustedRunError, match=r"foreign_payload\.Model") as refused:
        COMMANDS[command](run, False)
    assert "--trust" in refused.value.hint
    assert not payload.exists()
    assert "foreign_payload" not in sys.modules


def test_trust_is_asked_for_once(run: RunDirectory) -> None:
    created(run, authors=[])
    with pytest.raises(UntrustedRunError):
        export(run.name, run.runs, formats=[])
    export(run.name, run.runs, formats=[], trust=True)
    export(run.name, run.runs, formats=[], to=run.root.parent / "again")
    created(run, spec={**read_state(run).spec, "seed": 4})  # it is another sweep now
    with pytest.raises(UntrustedRunError):
        export(run.name, run.runs, formats=[], to=run.root.parent / "third")


def test_the_folders_of_an_unsigned_run_are_not_imported_from(run: RunDirectory, payload: Path) -> None:
    with pytest.raises(SweepError, match="no module 'foreign_payload'"):
        export(run.name, run.runs, formats=[], trust=True)
    assert not payload.exists()


def test_a_run_of_ones_own_needs_no_trust(run: RunDirectory) -> None:
    assert own_roots(read_state(run).created) is not None
    export(run.name, run.runs, formats=[])
    retry(run.name, run.runs, local=True)
    assert extend(run.name, run.runs, trials=1, local=True).exit_code == 0


def test_a_trial_that_names_code_beyond_the_signed_spec_is_not_trusted(run: RunDirectory) -> None:
    def change(event: Event) -> Event:
        if event.type != "trial.suggested":
            return event
        return replace(event, fields={**event.fields, "params": {**event["params"], "model.x": {"class_path": "a.B"}}})

    rewritten(run, change)
    with pytest.raises(UntrustedRunError, match=r"a\.B"):
        export(run.name, run.runs, formats=[])


def test_commands_that_only_read_need_no_trust_and_import_nothing(run: RunDirectory, payload: Path) -> None:
    created(run, authors=[])
    state = read_state(run)
    assert why(state, 0)
    assert Results(run.name, run.runs).rows
    check(run)
    for command in ("status", "results", "why", "verify", "list"):
        words = [command, *([run.name] if command != "list" else []), "--runs", str(run.runs)]
        outcome = CliRunner().invoke(app, words)
        assert not isinstance(outcome.exception, UntrustedRunError), outcome.exception
    assert not payload.exists()


@pytest.mark.parametrize("command", [*COMMANDS, "resume", "predict", "evaluate", "replay"])
def test_every_command_that_imports_has_the_option(command: str) -> None:
    outcome = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert "--trust" in outcome.output


def test_without_a_terminal_the_command_line_names_the_option(run: RunDirectory) -> None:
    created(run, authors=[])
    outcome = CliRunner().invoke(app, ["resume", run.name, "--runs", str(run.runs), "--local"])
    assert isinstance(outcome.exception, UntrustedRunError)
    assert "--trust" in str(outcome.exception)


def test_a_job_carries_the_signature_of_who_submitted_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The cluster writes the sweep file again, has a key of its own, and settles the resources."""
    submitted = spec(resources={"cpus": 1}, space={"model.learning_rate": {"log_uniform": [1e-3, 0.5]}})
    carried = carried_author(submitted.model_dump(mode="json"))
    (tmp_path / "sweep.yaml").write_text(to_yaml(submitted))
    there = load(str(tmp_path / "sweep.yaml"), ["resources.cpus=2"]).model_dump(mode="json")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path / "cluster"))
        patch.setenv(CARRIED, carried)
        record = {"spec": json.loads(json.dumps(there)), "authors": authors(there, ["/job"])}
        assert own_roots(record) == ["/job"]
    assert own_roots(record) == []
    record["spec"]["seed"] = 8
    assert own_roots(record) is None


@pytest.mark.parametrize(
    "signatures", [None, 3, "x", {}, [None], [{}], [{"roots": 3, "mac": 3}], [{"roots": [], "mac": None}], [[[]]]]
)
def test_no_other_form_of_a_signature_counts(signatures: Any) -> None:
    user_key.create()
    assert own_roots({"spec": {"seed": 1}, "authors": signatures}) is None
    assert own_roots({"authors": signatures}) is None


def test_the_key_is_for_its_owner_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(tmp_path / "config", ignore_errors=True)
    key = user_key.create()
    file = tmp_path / "config/sweep-orchestrator/key"
    assert (len(key), user_key.read(), user_key.create()) == (64, key, key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == ["key"]
    file.chmod(0o640)
    assert user_key.read() == ""
    assert "is not used" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file", "no home"])
def test_without_a_place_for_the_key_a_launch_says_so_and_works(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if place == "file":
        (tmp_path / "blocked").touch()
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "blocked"))
    else:
        monkeypatch.setattr(user_key, "folder", lambda: None)
    assert authors({"seed": 1}, []) == []
    assert authors({"seed": 1}, []) == []
    assert capsys.readouterr().err.count("--trust") == 1


CODE: dict[str, Callable[[RunDirectory], tuple[Path, str]]] = {
    "beside the journal": lambda run: (run.root, "dropped_beside.Model"),
    "deep in the run": lambda run: (run.root / "trials/0000", "dropped_deep.Model"),
    "below the folder of runs": lambda run: (run.root.parent, "tiny.dropped_below.Model"),
    "two levels above": lambda run: (run.root.parent.parent, "runs.tiny.dropped_above.Model"),
}


@pytest.mark.parametrize("place", CODE)
@pytest.mark.parametrize("linked", [False, True], ids=["plain", "linked"])
def test_nothing_below_a_run_directory_is_imported(
    place: str, linked: bool, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, class_path = CODE[place](run)
    *_, module, _ = class_path.split(".")
    marker = tmp_path / "PWNED"
    folder = root if "." not in class_path.removesuffix(".Model") else run.root
    (folder / f"{module}.py").write_text(PAYLOAD.format(marker=str(marker)))
    if linked:
        (tmp_path / "link").symlink_to(root)
        root = tmp_path / "link"
    monkeypatch.syspath_prepend(str(root))
    with pytest.raises(UsageError):
        class_loading.build({"class_path": class_path}, ())
    with pytest.raises(UsageError, match="holds no code"):
        class_loading.import_class(class_path)
    assert not marker.exists()


def test_a_run_directory_is_no_folder_to_import_from(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.root)
    (run.root / "copy.yaml").write_text(to_yaml(spec()))
    assert class_loading.import_roots(load("copy.yaml")) == []
    assert data_folder(run.root / "trials") == run.root
    assert data_folder(run.root.parent) is None


def test_the_code_of_a_spec_is_listed() -> None:
    described = spec(
        trainer={"callbacks": [{"class_path": "a.b.Callback", "init_args": {"inner": "c.d.Inner"}}]},
        notify=[{"command": ["touch", "x"]}],
    ).model_dump(mode="json")
    assert {"a.b.Callback", "c.d.Inner", "tests.support.tiny.Tiny"} <= set(named_code(described))
    assert any("touch" in line for line in named_code(described))
    assert "e.F" in named_code(described, [{"model.x": {"class_path": "e.F"}}])
