"""The package in the blocks of docs/extending.md, built and installed by pip, sweeps, extends, verifies, explains."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import registry
from orchestrator.errors import SpecError
from orchestrator.journal import read
from orchestrator.results import verify
from orchestrator.results.why import why
from orchestrator.spec import SweepSpec, from_mapping, json_schema
from orchestrator.state import SweepState
from orchestrator.sweep import extend, launch, resume
from tests.support.extending_page import package_files
from tests.support.plugins import write_package

WRITTEN = {
    "name": "own",
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": "tests.support.tiny.Tiny",
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": 3, "accelerator": "cpu"},
    "space": {"model.learning_rate": {"log_uniform": [1e-4, 0.3]}},
    "searcher": {"name": "corners", "share": 0.5},
    "scheduler": {"name": "margin", "margin": 0.05},
}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the page's package."""
    source, target = tmp_path_factory.mktemp("sweep-margin"), tmp_path_factory.mktemp("site")
    for name, text in package_files().items():
        (source / name).write_text(text)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", str(target), str(source)], check=True, timeout=120)
    return target


@pytest.fixture
def site(installed: Path) -> Iterator[Path]:
    sys.path.insert(0, str(installed))
    yield installed
    if str(installed) in sys.path:
        sys.path.remove(str(installed))


def spec(trials: int) -> SweepSpec:
    return from_mapping({**WRITTEN, "budget": {"trials": trials}})


@pytest.mark.slow  # it builds a package and trains
def test_the_walked_through_package_sweeps_resumes_verifies_and_explains(site: Path, tmp_path: Path) -> None:
    outcome = launch(spec(3), tmp_path, local=True)
    assert outcome.exit_code == 0
    extend("own", tmp_path, trials=3, local=True)
    resume("own", tmp_path, local=True)
    state = SweepState(read(outcome.run.journal))
    assert len(state.trials) == 6
    assert verify.check(outcome.run).violations == []
    stopped = [trial for trial in state.trials.values() if trial.status == "stopped"]
    assert stopped
    assert {trial.stopped_by["rule"] for trial in stopped} == {"margin"}
    story = " ".join(why(state, stopped[0].number))
    assert "drawn near a corner of the space" in story
    assert "was too far from" in story


@pytest.mark.slow
def test_without_the_package_a_run_is_read_and_a_launch_says_what_is_missing(site: Path, tmp_path: Path) -> None:
    outcome = launch(spec(2), tmp_path, local=True)
    sys.path.remove(str(site))
    assert "proposed by corners" in why(SweepState(read(outcome.run.journal)), 0)[0]
    with pytest.raises(SpecError, match=r"`scheduler` must be one of .*, but got 'margin'"):
        spec(2)


def test_options_of_a_class_that_is_not_registered_are_refused(site: Path) -> None:
    options = registry.load("schedulers", "margin").Options(margin=0.1)
    assert from_mapping({**WRITTEN, "budget": {"trials": 1}, "scheduler": options}).scheduler == options
    sys.path.remove(str(site))
    with pytest.raises(SpecError, match="Margin is not the options of a registered scheduler"):
        from_mapping({**WRITTEN, "searcher": "random", "scheduler": options})


def test_the_schema_lists_the_plugins_and_skips_a_broken_one(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry_points = {"sweep_orchestrator.schedulers": {"broken": "no_such_module:Broken"}}
    write_package(tmp_path, "sweep-broken", modules={}, entry_points=entry_points)
    monkeypatch.syspath_prepend(str(tmp_path))
    warnings: list[str] = []
    properties = json_schema(warn=warnings.append)["properties"]
    assert "margin" in properties["scheduler"]["anyOf"][0]["discriminator"]["mapping"]
    assert "corners" in properties["searcher"]["anyOf"][0]["discriminator"]["mapping"]
    assert len(warnings) == 1
    assert "scheduler 'broken' of package sweep-broken 1.0" in warnings[0]
    assert "No module named 'no_such_module'" in warnings[0]
    assert "margin" not in str(json_schema())
