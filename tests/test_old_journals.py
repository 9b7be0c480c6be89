"""Run directories and bundles of earlier versions: read, verified, resumed, extended, confirmed and exported.

The fixtures and what the version that wrote them says of them are in ``fixtures/v0_1_0``; ``make.py`` there made them.
Each test works on a copy. A field may be added to what the commands print, but none may be lost or change.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.markers import sampled

FIXTURES = Path(__file__).resolve().parent / "fixtures" / "v0_1_0"
EXPECTED: dict[str, Any] = json.loads((FIXTURES / "expected.json").read_text())
RUNS: dict[str, Any] = EXPECTED["runs"]
CHANGED = [name for name, run in RUNS.items() if run["then"]]
# What make test tries; all are tried in the slow tests.
CONTINUED = ["interrupted", "paused", "extended", "retried", "scheduler-asha-promote", "searcher-nsga3", "under-ray"]
READ = [*CONTINUED, "confirmed", "objectives", "repeats", "failed", "scheduler-pbt", "searcher-bohb", "warm"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module of the sweeps can be imported, and its trials that failed before do not fail again."""
    monkeypatch.syspath_prepend(str(FIXTURES))
    monkeypatch.setenv("TINY_MENDED", "1")


@pytest.fixture(autouse=True)
def arithmetic_of_the_fixtures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in bfloat16: the default on the processor that made the fixtures, but not on every other one."""
    from orchestrator.bundle import replay
    from orchestrator.engine import controller
    from orchestrator.training import Job, checkpoint_evaluation

    def in_bfloat16(**fields: Any) -> Job:
        return Job(**{**fields, "trainer": {"precision": "bf16-mixed", **fields["trainer"]}})

    for module in (replay, controller):
        monkeypatch.setattr(module, "Job", in_bfloat16)
    monkeypatch.setattr(checkpoint_evaluation, "resolve_precision", lambda *_: "bf16-mixed")


IMPORTING = ("resume", "retry", "extend", "confirm", "test", "export", "predict", "evaluate", "replay")


def sweep(*words: str, code: int = 0) -> str:
    """Run a command in this process. Returns its stdout; its exit code has to be ``code``.

    Version 0.1.0 signed nothing, so a command that imports what a run names needs the user's word.
    """
    from typer.testing import CliRunner

    from orchestrator.cli import app

    trust = ["--trust"] if words[0] in IMPORTING else []
    ended = CliRunner().invoke(app, [*words, *trust], catch_exceptions=False)
    assert ended.exit_code == code, ended.output
    return ended.stdout


def read(verb: str, name: str, runs: Path | str) -> Any:
    """What a command prints with ``--json``, with the folder of runs replaced as in ``expected.json``."""
    return json.loads(sweep(verb, name, "--runs", str(runs), "--json").replace(str(runs), "{runs}"))


def copied(name: str, tmp_path: Path) -> Path:
    """Copy a run. Returns the folder of runs that it is in."""
    shutil.copytree(FIXTURES / "runs" / name, tmp_path / "runs" / name)
    return tmp_path / "runs"


def assert_contains(found: Any, expected: Any, where: str = "") -> None:
    """Compare, but for fields that were added to mappings. Floats may differ as they do between processors."""
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        assert expected.keys() <= found.keys(), f"{where}: {sorted(expected.keys() - found.keys())} are gone"
        for key, value in expected.items():
            assert_contains(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(found, list), where
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_contains(found[index], value, f"{where}[{index}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-5), where
    else:
        assert found == expected, where


def assert_as_before(name: str, runs: Path | str, expected: dict[str, Any]) -> None:
    """Status, ranking and winner are what the earlier version said; the journal and the checkpoints verify."""
    assert_contains(read("status", name, runs), expected["status"], "status")
    assert_contains(read("results", name, runs), expected["results"], "results")
    best = {key: value for key, value in expected["best"].items() if key != "checkpoint"}
    assert_contains(read("best", name, runs), best, "best")
    counted = {key: value for key, value in expected["verify"].items() if key != "notes"}
    assert not counted["violations"]
    assert_contains(read("verify", name, runs), counted, "verify")


def assert_changed(name: str, runs: Path | str, then: dict[str, Any]) -> None:
    """Run the command that the earlier version was tried with: the trials are the same, and the journal verifies."""
    verb, *options = then["command"]
    sweep(verb, name, *options, "--local", "--runs", str(runs), code=then["exit_code"])
    assert_contains(read("results", name, runs), then["trials"], "results")
    assert read("status", name, runs)["status"] == "completed"
    assert read("verify", name, runs)["violations"] == []
    if verb == "confirm":
        assert read("best", name, runs)["confirmed"] is True


def test_every_run_has_its_expectations() -> None:
    assert {path.name for path in (FIXTURES / "runs").iterdir()} == set(RUNS)
    assert {path.name for path in (FIXTURES / "bucket").iterdir()} == set(EXPECTED["bucket"])
    assert {path.name for path in (FIXTURES / "bundles").iterdir()} == set(EXPECTED["bundles"])


@pytest.mark.parametrize("name", sampled(RUNS, slow=[name for name in RUNS if name not in READ]))
def test_a_run_is_read_and_verified(name: str, tmp_path: Path) -> None:
    runs = copied(name, tmp_path)
    before = (runs / name / "journal.jsonl").read_bytes()
    assert_as_before(name, runs, RUNS[name])
    assert (runs / name / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("name", sampled(CHANGED, slow=[name for name in CHANGED if name not in CONTINUED]))
def test_a_run_is_continued(name: str, tmp_path: Path) -> None:
    """Resumed, extended, retried or confirmed; what the earlier version wrote stays as it is."""
    runs = copied(name, tmp_path)
    before = (runs / name / "journal.jsonl").read_bytes()
    assert_changed(name, runs, RUNS[name]["then"])
    assert (runs / name / "journal.jsonl").read_bytes().startswith(before)


@pytest.mark.parametrize("name", sampled(RUNS, slow=[name for name in RUNS if name not in READ]))
def test_every_trial_is_explained(name: str, tmp_path: Path) -> None:
    runs = copied(name, tmp_path)
    for row in RUNS[name]["results"]:
        said = json.loads(sweep("why", name, "--trial", str(row["trial"]), "--runs", str(runs), "--json"))
        assert said["trial"] == row["trial"]
        assert said["why"]


@pytest.mark.parametrize(
    "name",
    sampled(["confirmed", "interrupted", "objectives", "scheduler-pbt", "repeats"], slow=["confirmed", "repeats"]),
)
def test_a_report_is_written(name: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    sweep("report", name, "--runs", str(copied(name, tmp_path)), "--out", str(page))
    assert name in page.read_text()


def test_a_torn_last_line_is_passed_over_and_cut_off(tmp_path: Path) -> None:
    runs = copied("interrupted", tmp_path)
    with (runs / "interrupted" / "journal.jsonl").open("ab") as file:
        file.write(b'{"seq":')
    assert_as_before("interrupted", runs, RUNS["interrupted"])
    assert_changed("interrupted", runs, RUNS["interrupted"]["then"])


def test_the_looks_at_the_test_set_are_still_counted(tmp_path: Path) -> None:
    runs = copied("confirmed", tmp_path)
    assert read("best", "confirmed", runs)["confirmed"] is True
    sweep("test", "confirmed", "--runs", str(runs))
    events = [json.loads(line) for line in (runs / "confirmed" / "journal.jsonl").read_text().splitlines()]
    looks = [event for event in events if event["type"] == "winner.tested"]
    assert [look["look"] for look in looks] == [1, 2]
    assert looks[1]["metrics"] == pytest.approx(looks[0]["metrics"], rel=1e-5)
    assert read("verify", "confirmed", runs)["violations"] == []


@pytest.mark.slow
def test_a_run_in_a_bucket_is_read_and_resumed(s3: str) -> None:
    import obstore
    from obstore.store import from_url

    store = from_url(s3, endpoint=os.environ["AWS_ENDPOINT_URL"], client_options={"allow_http": True})
    for file in sorted(path for path in (FIXTURES / "bucket").rglob("*") if path.is_file()):
        obstore.put(store, f"runs/{file.relative_to(FIXTURES / 'bucket').as_posix()}", file.read_bytes())
    expected = EXPECTED["bucket"]["bucketed"]
    assert_as_before("bucketed", f"{s3}/runs", expected)
    assert_changed("bucketed", f"{s3}/runs", expected["then"])


@pytest.mark.slow
def test_a_winner_is_exported(tmp_path: Path) -> None:
    from orchestrator import load_bundle

    runs = copied("searcher-parzen", tmp_path)
    sweep("export", "searcher-parzen", "--runs", str(runs), "--to", str(tmp_path / "bundle"))
    known = EXPECTED["bundles"]["line"]
    outputs = load_bundle(tmp_path / "bundle").outputs(np.array(known["inputs"], np.float32))
    np.testing.assert_allclose(outputs, known["outputs"], rtol=1e-5)


@pytest.mark.parametrize("engine", ["onnx", "torch"])
def test_a_bundle_loads_and_predicts(engine: Any, tmp_path: Path) -> None:
    from orchestrator import load_bundle

    shutil.copytree(FIXTURES / "bundles", tmp_path / "bundles")
    line = EXPECTED["bundles"]["line"]
    outputs = load_bundle(tmp_path / "bundles" / "line", engine, trust=True).outputs(
        np.array(line["inputs"], np.float32)
    )
    np.testing.assert_allclose(outputs, line["outputs"], rtol=1e-5)
    digits = EXPECTED["bundles"]["digits"]
    (seen,) = load_bundle(tmp_path / "bundles" / "digits", engine, trust=True).predict(
        [np.array(digits["picture"], np.uint8)]
    )
    assert seen.label == digits["label"]
    assert seen.probabilities == pytest.approx(digits["probabilities"], rel=1e-4, abs=1e-6)


def test_a_bundle_s_module_has_the_exported_weights() -> None:
    import torch

    from orchestrator import load_bundle

    line = EXPECTED["bundles"]["line"]
    module = load_bundle(FIXTURES / "bundles" / "line", trust=True).module()
    with torch.no_grad():
        np.testing.assert_allclose(module(torch.tensor(line["inputs"])), line["outputs"], rtol=1e-5)


@pytest.mark.parametrize("name", sampled(EXPECTED["bundles"], slow=["digits"]))
def test_a_bundle_is_trained_again(name: str) -> None:
    """Identical on the kind of processor that trained it, within tolerance on others: both end with exit code 0."""
    assert json.loads(sweep("replay", str(FIXTURES / "bundles" / name), "--json"))["verdict"] != "differs"


def test_a_bundle_scores_what_its_trial_had() -> None:
    found = json.loads(sweep("evaluate", str(FIXTURES / "bundles" / "digits"), "--json"))
    assert found["metrics"]["val_acc"] == pytest.approx(RUNS["digits"]["best"]["val_acc"], abs=0.01)
