"""Trackers by registry: each is one class, and one of an installed package is used by a sweep file that names it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import registry
from orchestrator.errors import SpecError, UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec, from_mapping, json_schema
from orchestrator.spec.parts import Part
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.uploader_processes import check
from orchestrator.training.job import tracking_options
from tests.support.plugins import write_package

ROOT = Path(__file__).resolve().parent.parent
MINIMAL = {"name": "a", "model": "a.B", "space": {"model.x": {"choice": [1]}},
           "objective": {"metric": "m", "mode": "min"}}  # fmt: skip
LINES = """
import json
from pathlib import Path

from pydantic import Field

from orchestrator.spec.parts import Part
from orchestrator.tracking.tracker import Tracker


class LinesOptions(Part):
    file: str = Field(min_length=1)
    pretty: bool = False


class Lines(Tracker):
    name = "lines"
    summary = "Write each trial's best value to a file."
    Options = LinesOptions
    uploads = True

    def follow(self, state, *, ended):
        if ended:
            found = {number: len(trial.reports) for number, trial in state.trials.items()}
            Path(state.spec["tracking"]["lines"]["file"]).write_text(json.dumps({"reports": found}))

    @classmethod
    def logger(cls, job, options):
        Path(options["file"]).with_name(f"logger-{job.trial}").write_text(options["id"])
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path with the package of a tracker, and one whose tracker cannot be imported."""
    folder = tmp_path / "installed"
    folder.mkdir()
    group = registry.group("trackers")
    write_package(folder, "sweep-lines", modules={"sweep_lines": LINES}, entry_points={group: {"lines": "sweep_lines:Lines"}})  # fmt: skip  # noqa: E501
    write_package(folder, "sweep-broken", modules={"sweep_broken": "import no_such_library\n"},
                  entry_points={group: {"broken": "sweep_broken:Broken"}})  # fmt: skip
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{ROOT}")
    return folder


def spec(**tracking: object) -> SweepSpec:
    return from_mapping({**MINIMAL, "tracking": tracking})


@pytest.mark.parametrize("name", registry.names("trackers", installed=False))
def test_each_tracker_keeps_the_contract(name: str, tmp_path: Path) -> None:
    tracker = registry.load("trackers", name)
    assert issubclass(tracker, Tracker)
    assert issubclass(tracker.Options, Part)
    assert tracker.summary.endswith(".")
    required = {
        field: (info.examples or [])[0] for field, info in tracker.Options.model_fields.items() if info.is_required()
    }
    options = spec(**{name: required}).tracking.enabled[name]
    assert json.loads(json.dumps(options)) == options
    filled = tracking_options({name: options}, RunDirectory(tmp_path / "run"), 1.0, 3)[name]
    assert filled["name"] == "run-0003"
    assert json.loads(json.dumps(filled)) == filled
    schema = json_schema()
    assert name in schema["$defs"]["Tracking"]["properties"]
    with pytest.raises(SpecError, match="unknown key 'no_such_option'"):
        spec(**{name: {**required, "no_such_option": 1}})


def test_naming_no_tracker_imports_none() -> None:
    code = (
        "import sys; from orchestrator.spec import from_mapping\n"
        f"from_mapping({MINIMAL!r}); print([m for m in sys.modules if m.startswith('orchestrator.tracking')])\n"
        f"from_mapping({ {**MINIMAL, 'tracking': {'tensorboard': True}}!r})\n"
        "print('orchestrator.tracking.trackers.wandb' in sys.modules, 'lightning' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.split("\n")[:2] == ["[]", "False False"]


def test_a_tracker_that_is_misspelt_or_off(package: Path) -> None:
    with pytest.raises(SpecError, match=r"(?s)unknown key 'linse' in tracking.*did you mean lines\?"):
        spec(linse={"file": "x"})
    with pytest.raises(SpecError, match=r"(?s)`file` is missing"):
        spec(lines=True)
    assert spec(lines=None, mlflow=False).tracking.enabled == {}
    earlier = {"wandb": None, "tensorboard": None, "mlflow": None}
    assert spec(**earlier) == spec(), "as journals of 0.1.0 have it"


def test_a_broken_plug_in_is_named_and_breaks_nothing_else(package: Path) -> None:
    with pytest.raises(UsageError, match=r"tracker 'broken' of package sweep-broken 1.0 .* No module named"):
        spec(broken=True)
    assert spec(tensorboard=True).tracking.enabled == {"tensorboard": {"flush_secs": 30}}
    sentences: list[str] = []
    names = json_schema(warn=sentences.append)["$defs"]["Tracking"]["properties"]
    assert "lines" in names
    assert "broken" not in names
    assert any("'broken'" in sentence for sentence in sentences)


@pytest.mark.slow
def test_a_tracker_of_an_installed_package_follows_a_sweep(package: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "best.json"
    file.parent.mkdir()
    sweep = tmp_path / "lines.yaml"
    sweep.write_text(
        "objective: {metric: val_loss, mode: min}\nmodel: tests.support.tiny.Tiny\ndata: tests.support.tiny.TinyData\n"
        "trainer: {max_epochs: 2}\nspace: {model.learning_rate: {choice: [0.1, 0.2]}}\nsearcher: grid\n"
        f"tracking: {{lines: {{file: {file}}}}}\n"
    )
    command = [sys.executable, "-m", "orchestrator", "launch", str(sweep), "--local", "--runs", str(tmp_path / "runs")]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    if not file.exists():  # a busy machine: the process beside the driver was not ready within nine seconds
        command = [sys.executable, "-m", "orchestrator", "sync", "lines", "--runs", str(tmp_path / "runs")]
        subprocess.run(command, capture_output=True, text=True, check=True, timeout=280)
    assert json.loads(file.read_text()) == {"reports": {"0": 2, "1": 2}}
    assert (file.parent / "logger-1").read_text().endswith("-0001")
    check(spec(lines={"file": "x"}))  # raises nothing
