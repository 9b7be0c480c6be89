"""Export formats: each is one class, found by the registry, and none escapes the comparison with the checkpoint."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from orchestrator import cli, registry
from orchestrator.bundle import load_bundle, verify_bundle
from orchestrator.errors import UsageError
from orchestrator.export import export
from orchestrator.export.format import Format
from orchestrator.export.parity import ParityError
from orchestrator.extras import EXTRAS
from orchestrator.sweep import Outcome, launch
from tests.support.plugins import write_package
from tests.support.small_sweeps import spec as described

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

KIND = "export_formats"
WEIGHTS_AS_JSON = """\
import json

import torch

from orchestrator.bundle.module_loading import build
from orchestrator.export.format import Format, forward_of


class WeightsAsJson(Format):
    name = "json"
    file = "model.json"

    def write(self, model, file):
        weights = {name: tensor.tolist() for name, tensor in model.module.state_dict().items()}
        file.write_text(json.dumps(weights))

    def load(self, model, file):
        module = build(model.spec).eval()
        weights = json.loads(file.read_text())
        module.load_state_dict({name: OFF + torch.tensor(value) for name, value in weights.items()})
        return forward_of(module)
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    spec = described(model="tests.support.exportable.Line", budget={"trials": 1}, searcher="random")
    return launch(spec, tmp_path_factory.mktemp("runs"), local=True)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def install(site: Path, source: str, name: str = "json") -> None:
    sys.modules.pop("sweep_json", None)
    points = {f"sweep_orchestrator.{KIND}": {name: "sweep_json:WeightsAsJson"}}
    write_package(site, "sweep-json", modules={"sweep_json": source}, entry_points=points)


def exported(swept: Outcome, to: Path, **options: object) -> Path:
    return export(swept.run.name, swept.run.root.parent, to=to, **options).folder  # type: ignore[arg-type]


def test_every_built_in_format_states_what_it_is() -> None:
    assert registry.names(KIND, installed=False) == ["onnx", "pt2", "safetensors"]
    formats = [registry.load(KIND, name) for name in registry.names(KIND, installed=False)]
    assert all(issubclass(each, Format) and set(each.requires) <= EXTRAS.keys() for each in formats)
    assert len({each.file for each in formats}) == len(formats)


@pytest.mark.slow
def test_a_format_of_an_installed_package_is_exported_compared_and_verified(
    swept: Outcome, site: Path, tmp_path: Path
) -> None:
    install(site, WEIGHTS_AS_JSON.replace("OFF", "0"))
    manifest = verify_bundle(exported(swept, tmp_path / "bundle"))
    assert manifest.missing == {}
    assert list(manifest.parity) == ["json", "safetensors", "onnx", "pt2"]
    assert manifest.parity["json"]["max_difference"] <= 1e-6
    assert manifest.parity["json"]["batches"].keys() == manifest.parity["onnx"]["batches"].keys()
    assert manifest.has("model.json")
    assert "| json | at most" in (manifest.folder / "README.md").read_text()
    assert load_bundle(manifest.folder).module()


def test_a_format_of_an_installed_package_cannot_skip_the_comparison(
    swept: Outcome, site: Path, tmp_path: Path
) -> None:
    install(site, WEIGHTS_AS_JSON.replace("OFF", "0.01"))
    with pytest.raises(ParityError, match="the json format does not reproduce the checkpoint's outputs"):
        exported(swept, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("file", ["MANIFEST.json", "model.ckpt", "../model.json"])
def test_a_format_takes_no_other_file_s_name(swept: Outcome, site: Path, tmp_path: Path, file: str) -> None:
    install(site, WEIGHTS_AS_JSON.replace("OFF", "0").replace("model.json", file))
    manifest = verify_bundle(exported(swept, tmp_path / "bundle", formats=["json"]))
    assert "the name is taken or not a file name" in manifest.missing["json"]
    assert not (tmp_path / "model.json").exists()


@pytest.mark.slow
def test_a_broken_format_is_left_out_unless_it_is_named(swept: Outcome, site: Path, tmp_path: Path) -> None:
    install(site, "import no_such_module")
    manifest = verify_bundle(exported(swept, tmp_path / "bundle"))
    assert list(manifest.parity) == ["safetensors", "onnx", "pt2"]
    assert "package sweep-json 1.0" in manifest.missing["json"]
    with pytest.raises(UsageError, match="cannot be used: ModuleNotFoundError"):
        exported(swept, tmp_path / "other", formats=["json"])


def test_only_named_formats_are_written(swept: Outcome, tmp_path: Path) -> None:
    manifest = verify_bundle(exported(swept, tmp_path / "bundle", formats=["safetensors"]))
    assert (manifest.has("model.safetensors"), manifest.has("model.onnx"), manifest.missing) == (True, False, {})
    with pytest.raises(UsageError, match="there is no export format 'onxx'"):
        exported(swept, tmp_path / "other", formats=["onxx"])


def test_a_format_whose_libraries_are_not_installed_is_refused_with_the_command_that_installs_them(
    swept: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("orchestrator.extras.find_spec", lambda name: None if "onnx" in name else find_spec(name))
    command = "pip install 'sweep-orchestrator[export]'"
    manifest = verify_bundle(exported(swept, tmp_path / "bundle"))
    assert manifest.missing["onnx"].startswith("export format onnx needs onnx and onnxscript and onnxruntime")
    assert manifest.missing["onnx"].endswith(command)
    arguments = ["export", swept.run.name, "--runs", str(swept.run.root.parent), "--to", str(tmp_path / "named")]
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments, "--format", "onnx"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"not installed\nhint: {command}\n")
    assert not (tmp_path / "named").exists()
