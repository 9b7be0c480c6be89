"""docs/examples/winner: from a sweep file to a model in use, in the one script that docs/winner.md shows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.bundle import load_bundle
from orchestrator.export.publish import publish_to_folder, publish_to_wandb
from orchestrator.results import Results
from orchestrator.spec import load
from tests.support.page_blocks import blocks
from tests.support.paths import ROOT

EXAMPLE = ROOT / "docs/examples/winner"


def through(folder: Path, spec: str, *options: str, trials: int) -> str:
    """The script's stdout; a small sweep, under Ray."""
    settings = [part for option in options for part in ("--set", option)]
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    answer = subprocess.run(
        [EXAMPLE / "winner.sh", spec, *settings],
        cwd=folder,
        env={**os.environ, "PATH": commands, "SWEEP_RUNS": "runs", "TRIALS": str(trials), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr + answer.stdout
    return answer.stdout


def check(folder: Path, spec: str, said: str) -> None:
    found = Results(f"{spec}-winner", folder / "runs")
    assert found.state.confirmation
    assert len(found.state.test_evaluations) == 1
    assert f"test_acc: {found.state.test_evaluations[0]['metrics']['test_acc']:.4f}" in said
    bundle = load_bundle(folder / "bundle")
    assert not bundle.manifest.missing
    assert bundle.config["metrics"]["val_acc"] == found.best().value
    pictures = sorted((folder / "pictures").iterdir())
    assert len(pictures) == 8
    for picture, prediction in zip(pictures, bundle.predict(pictures), strict=True):
        line = next(line for line in said.splitlines() if line.startswith(f"pictures/{picture.name}: "))
        assert line.startswith(f"pictures/{picture.name}: {prediction.label} {prediction.probability:.4f}")
    with Image.open(folder / "answers.png") as grid:
        assert grid.width > 300
    assert said.splitlines()[-1].startswith("identical: val_acc")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("winner")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        few = ("budget.trials=3", "trainer.max_epochs=2", "finalists.top=2")
        return folder, through(folder, "quickstart", *few, trials=6)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_a_sweep_file_to_a_model_in_use_on_the_digits(digits: tuple[Path, str]) -> None:
    check(digits[0], "quickstart", digits[1])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_from_a_sweep_file_to_a_model_in_use_on_cifar10(cifar10: Path, tmp_path: Path) -> None:
    few = ("budget.trials=2", "trainer.max_epochs=1", "finalists.top=1", "resources.cpus=1", "resources.gpus=0")
    check(tmp_path, "cifar10", through(tmp_path, "cifar10", *few, f"data.init_args.data_dir={cifar10}", trials=3))


@pytest.mark.slow
def test_a_published_bundle_is_the_bundle_and_each_version_stays(digits: tuple[Path, str], tmp_path: Path) -> None:
    manifest = load_bundle(digits[0] / "bundle").manifest
    first = publish_to_folder(manifest, tmp_path / "models")
    assert first == tmp_path / "models" / "quickstart-winner" / "1"
    assert load_bundle(first).manifest.content == manifest.content
    assert publish_to_folder(manifest, tmp_path / "models") == first, "it is there already"
    other = Path(shutil.copytree(digits[0] / "bundle", tmp_path / "other"))
    content = json.loads((other / "MANIFEST.json").read_text())
    del content["sha256"]
    from orchestrator.bundle.bundle_manifest import seal, verify_bundle

    (other / "MANIFEST.json").write_bytes(seal({**content, "sweep": "another"}))
    second = publish_to_folder(verify_bundle(other), tmp_path / "models", "quickstart-winner")
    assert second.name == "2"
    assert load_bundle(first).manifest.content == manifest.content


@pytest.mark.slow
def test_a_bundle_goes_to_wandb_as_an_artifact(
    digits: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    bundle = Path(shutil.copytree(digits[0] / "bundle", tmp_path / "bundle"))
    assert publish_to_wandb(load_bundle(bundle).manifest, "project") == "project/quickstart-winner (offline)"
    (written,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    content = written.read_bytes()
    assert all(name.encode() in content for name in ("quickstart-winner", "model.onnx", "MANIFEST.json"))


def test_the_page_shows_the_script_as_it_is() -> None:
    (shown,) = blocks("docs/winner.md", "bash")
    assert shown in (EXAMPLE / "winner.sh").read_text()


def test_the_commands_of_the_page_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Each of its options is known; what they do is tried elsewhere."""
    import shlex

    from typer.testing import CliRunner

    from orchestrator.cli import app

    lines = [line for block in blocks("docs/winner.md", "console") for line in block.splitlines() if "$ sweep" in line]
    assert lines
    for line in lines:
        _, _, verb, *rest = shlex.split(line)
        options = [word for word in rest if word.startswith("--")]
        help_text = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
        assert all(option in help_text for option in options), line


def test_the_finalists_of_a_page_are_those_of_the_defaults() -> None:
    found = load("quickstart", ["finalists=3"]).finalists
    assert found
    assert (found.top, found.trials, found.confidence) == (3, 15, 0.95)
