"""The best checkpoint as a bundle: what is in it, what is refused, and never half a bundle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from safetensors.torch import load_file, save_file

from orchestrator import cli, registry
from orchestrator.bundle import load_bundle, verify_bundle
from orchestrator.bundle.bundle_manifest import CARD, CHECKPOINT, CONFIG, MANIFEST
from orchestrator.bundle.evaluation import validate
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.export import export
from orchestrator.export.format import Model
from orchestrator.export.formats import onnx as onnx_format
from orchestrator.export.parity import ParityError
from orchestrator.export.validation_samples import read_validation
from orchestrator.results import Results
from orchestrator.safe_text import markdown
from orchestrator.sweep import Outcome, launch
from tests.chaos.forked import Forked
from tests.support import exportable
from tests.support.markers import sampled
from tests.support.small_sweeps import spec as described

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

FORMATS = ("model.safetensors", "model.onnx", "model.pt2")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    spec = described(model="tests.support.exportable.Line", budget={"trials": 3})
    return launch(spec, tmp_path_factory.mktemp("runs"), local=True)


@pytest.fixture(scope="module")
def bundle(swept: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(swept, tmp_path_factory.mktemp("line") / "bundle")


def exported(swept: Outcome, to: Path | None = None, **options: Any) -> Path:
    return export(swept.run.name, swept.run.root.parent, to=to, **options).folder


def one(model: str, runs: Path, **fields: Any) -> Outcome:
    """A sweep of one trial over a module of `tiny_exports`."""
    fixed = {"trainer": {"max_epochs": 1}, "budget": {"trials": 1}, "space": {}, "searcher": "random"}
    return launch(described(model=model, **{**fixed, **fields}), runs, local=True)


def contents(folder: Path) -> dict[str, Any]:
    return {name: json.loads((folder / name).read_text()) for name in (CONFIG, MANIFEST)}


def test_a_bundle_has_the_best_checkpoint_and_says_what_it_is(swept: Outcome, bundle: Path) -> None:
    best = Results(swept.run).best()
    found = contents(bundle)
    assert {path.name for path in bundle.iterdir()} == {MANIFEST, *found[MANIFEST]["files"]}
    assert best.checkpoint
    assert (bundle / CHECKPOINT).read_bytes() == best.checkpoint.read_bytes()
    assert found[CONFIG]["params"] == best.params
    assert (found[CONFIG]["trial"], found[CONFIG]["epoch"]) == (best.trial, best.epoch)
    for name, said in found[MANIFEST]["files"].items():
        content = (bundle / name).read_bytes()
        assert said == {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert found[MANIFEST]["missing"] == {}
    assert found[MANIFEST]["load_from_checkpoint"] is True
    loaded = exportable.Line.load_from_checkpoint(bundle / CHECKPOINT, map_location="cpu", weights_only=True)
    assert found[CONFIG]["model"]["init_args"]["learning_rate"] == loaded.hparams["learning_rate"]


def test_the_config_is_enough_to_train_it_again(swept: Outcome, bundle: Path) -> None:
    found = contents(bundle)[CONFIG]
    trial = swept.state.trials[found["trial"]]
    assert found["reports"] == {
        str(epoch): report.metrics for epoch, report in trial.reports.items() if epoch <= found["epoch"]
    }
    assert found["metric"] == "val_loss"
    assert (found["required"], found["threads"]) == ([], torch.get_num_threads())
    (stage,) = found["lineage"]
    assert (stage["seed"], stage["until"], stage["model"]) == (found["seed"], found["epoch"], found["model"])
    checkpoint = torch.load(bundle / CHECKPOINT, weights_only=True)
    assert checkpoint["epoch"] + 1 == found["epoch"]


@pytest.mark.slow
def test_what_differed_from_the_commit_comes_along(swept: Outcome, tmp_path: Path) -> None:
    diff = swept.run.root / "uncommitted.diff"
    diff.write_bytes(b"--- a/model.py\n+++ b/model.py\n")
    try:
        folder = exported(swept, tmp_path / "bundle")
    finally:
        diff.unlink()
    assert (folder / "git.diff").read_bytes() == b"--- a/model.py\n+++ b/model.py\n"
    assert verify_bundle(folder).has("git.diff")


def test_all_formats_hold_the_checkpoint_s_weights(bundle: Path) -> None:
    held = torch.load(bundle / CHECKPOINT, weights_only=True)["state_dict"]
    module = load_bundle(bundle).module()
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in held.items())
    x = np.random.default_rng(0).normal(size=(13, 2)).astype(np.float32)
    wanted = x @ held["layer.weight"].numpy().T + held["layer.bias"].numpy()
    for engine in ("onnx", "torch"):
        np.testing.assert_allclose(load_bundle(bundle, engine).outputs(x), wanted, atol=1e-6)


def test_nothing_of_this_machine_or_of_the_data_is_in_what_is_traced(bundle: Path) -> None:
    here = str(Path(__file__).parent).encode()
    for name in ("model.onnx", "model.pt2"):
        assert here not in (bundle / name).read_bytes()
    assert not onnx.load(bundle / "model.onnx", load_external_data=False).graph.initializer[0].external_data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "missing", "why"),
    [
        ("Branching", {"onnx", "pt2"}, "data-dependent"),
        ("Unusual", {"onnx"}, "i1e"),
        ("Noisy", {"onnx", "pt2", "preprocessing"}, "different outputs for the same input"),
        ("Two", {"onnx", "pt2", "preprocessing"}, "returns a tuple"),
    ],
)
def test_a_format_that_cannot_be_made_is_left_out_and_the_reason_told(
    model: str, missing: set[str], why: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    swept = one(f"tests.support.exportable.{model}", tmp_path)
    capfd.readouterr()  # the launch's own notices
    folder = exported(swept, tmp_path / "bundle")
    manifest = verify_bundle(folder)
    assert set(manifest.missing) == missing
    files = {"onnx": "model.onnx", "pt2": "model.pt2", "preprocessing": "preprocessing.json"}
    for name, file in files.items():
        assert manifest.has(file) == (folder / file).exists() == (name not in missing)
    assert all(why in reason and "\n" not in reason and "\x1b" not in reason for reason in manifest.missing.values())
    for name, reason in manifest.missing.items():
        assert f"without {name}: {markdown(reason)}" in (folder / "README.md").read_text()
    assert load_bundle(folder).module()
    assert capfd.readouterr().err == "", "what the libraries say of it is not for the terminal"


def test_reasons_are_told_in_the_terminal_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = one("tests.support.exportable.Line", tmp_path, data="tests.support.exportable.Vanishing")
    monkeypatch.setattr(exportable.Vanishing, "gone", True)
    monkeypatch.setenv("DISK_TOKEN", "the d1sk with")
    assert sweep(monkeypatch, "export", outcome.run.name, "--runs", str(tmp_path)) == 0
    out, err = capsys.readouterr()
    reason = verify_bundle(out.strip()).missing["onnx"]
    assert reason == "the validation data could not be read: FileNotFoundError: *** the data is not mounted"
    assert f"without onnx: {reason}\n" in err
    assert "s\n" in err
    assert load_bundle(out.strip()).module()


@pytest.mark.slow
def test_without_data_an_example_says_what_to_compare_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = one("tests.support.exportable.Exemplary", tmp_path, data="tests.support.exportable.Vanishing")
    monkeypatch.setattr(exportable.Vanishing, "gone", True)
    found = verify_bundle(exported(outcome))
    assert found.missing == {}
    assert {parity["source"] for parity in found.parity.values()} == {"noise in the shape of example_input_array"}


@pytest.mark.slow
def test_a_module_with_loaders_of_its_own(tmp_path: Path, bundle: Path) -> None:
    found = verify_bundle(exported(one("tests.support.exportable.OwnLoaders", tmp_path, data=None)))
    assert found.missing == {}
    assert found.content["data"] == contents(bundle)[MANIFEST]["data"], "the same data, and so the same digest"


@pytest.mark.slow
def test_a_split_that_hangs_on_the_seed_is_that_of_the_training(tmp_path: Path) -> None:
    trainer = {"max_epochs": 1, "precision": "32-true"}  # that of the samples below, whatever the processor has
    folder = exported(
        one("tests.support.exportable.Line", tmp_path, data="tests.support.exportable.Split", trainer=trainer)
    )
    recorded, bundle = contents(folder)[CONFIG]["metrics"], load_bundle(folder)
    assert validate(bundle.manifest)["val_loss"] == pytest.approx(recorded["val_loss"], rel=1e-6)
    config = contents(folder)[CONFIG]
    read = read_validation(config, bundle.module())
    assert (read.validation, read.sha256) == (20, bundle.manifest.content["data"]["validation_sha256"])
    assert read.samples is not None
    x = read.samples.inputs
    truth = x @ torch.tensor([[1.0], [-2.0]]) + 0.1
    loss = float(torch.nn.functional.mse_loss(bundle.module()(x), truth).detach())
    assert loss == pytest.approx(recorded["val_loss"], rel=1e-5), "the very samples that were validated on"
    other = read_validation({**config, "seed": config["seed"] + 1}, bundle.module())
    assert other.sha256 != read.sha256


@pytest.mark.slow
def test_tied_weights_and_arguments_that_a_checkpoint_does_not_hold(tmp_path: Path) -> None:
    layer = {"class_path": "torch.nn.Linear", "init_args": {"in_features": 2, "out_features": 1}}
    model = {"class_path": "tests.support.exportable.Tied", "init_args": {"layer": layer}}
    folder = exported(one(model, tmp_path))  # type: ignore[arg-type]
    found = verify_bundle(folder)
    assert found.missing == {}
    assert "layer" in found.content["load_from_checkpoint"]
    module: Any = load_bundle(folder).module()
    assert module.layer.weight is module.same.weight


@pytest.mark.parametrize("name", sampled(["safetensors", "onnx", "pt2"], slow=["onnx", "pt2"]))
def test_a_format_that_disagrees_fails_the_export_and_leaves_nothing(
    name: str, swept: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One weight of what is written is off by a thousandth."""
    planted = registry.load("export_formats", name)
    write = planted.write

    def wrong(self: Any, model: Model, file: Path) -> None:
        write(self, model, file)
        spoil(file)

    monkeypatch.setattr(planted, "write", wrong)
    with pytest.raises(ParityError, match=name):
        exported(swept, tmp_path / "bundle")
    assert sweep(monkeypatch, "export", swept.run.name, "--runs", str(swept.run.root.parent)) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def spoil(file: Path) -> None:
    """Put a thousandth on the weights in a model's file."""
    if file.suffix == ".safetensors":
        weights = load_file(file)
        save_file({key: tensor + 1e-3 for key, tensor in weights.items()}, file)
    elif file.suffix == ".onnx":
        model = onnx.load(file)
        for tensor in model.graph.initializer:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + 1e-3, tensor.name))
        onnx.save(model, file)
    else:
        program = torch.export.load(file)
        for tensor in program.state_dict.values():
            tensor.data += 1e-3
        torch.export.save(program, file)


@pytest.mark.slow
def test_weights_beyond_2_gb_go_into_a_second_file(
    swept: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_format, "LARGEST_ONNX", 0)
    found = verify_bundle(exported(swept, tmp_path / "bundle"))
    assert found.missing == {}
    assert found.has("model.onnx.data")


@pytest.mark.slow
def test_the_command_prints_where_it_is(
    swept: Outcome, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Results(swept.run).rows[1]
    asked = ["export", swept.run.name, "--trial", str(other["trial"]), "--runs", str(swept.run.root.parent)]
    assert sweep(monkeypatch, *asked) == 0
    out, err = capsys.readouterr()
    folder = Path(out.strip())
    assert folder == swept.run.root / "export" / f"trial-{other['trial']:04d}-epoch-{other['epoch']}"
    assert contents(folder)[CONFIG]["params"] == other["params"]
    assert err.startswith("safetensors, onnx, pt2: compared with the checkpoint in ")
    assert sweep(monkeypatch, *asked) == 2
    assert "exists" in capsys.readouterr().err


def test_what_cannot_be_exported_is_refused(swept: Outcome, tmp_path: Path) -> None:
    runs = swept.run.root.parent
    with pytest.raises(UsageError, match="no trial 99"):
        export(swept.run.name, runs, trial=99, to=tmp_path / "a")
    with pytest.raises(UsageError, match="no run"):
        export("nothing", runs, to=tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run = launch(described(budget={"trials": 1}), tmp_path, local=True).run
    path = Results(run).best().checkpoint
    assert path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not what was written"):
        export(run.name, tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        export(run.name, tmp_path)
    assert list((run.root / "export").iterdir()) == []


# --- ended from outside ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    spec = described(model="tests.support.tiny.Heavy", trainer={"max_epochs": 1}, budget={"trials": 1})
    return launch(spec, tmp_path_factory.mktemp("heavy"), local=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name
)
def test_a_signal_while_it_exports_leaves_no_bundle(heavy: Outcome, number: int, tmp_path: Path) -> None:
    exports = heavy.run.root / "export"
    began, process = ended_at(CHECKPOINT, heavy, number, tmp_path / "said")
    assert time.monotonic() - began < 10
    assert process.returncode in (128 + number, -number)
    assert "Traceback" not in (tmp_path / "said").read_text()
    assert not [path for path in exports.iterdir() if not path.name.startswith(".")], "no half bundle"


@pytest.mark.slow
def test_a_kill_at_any_point_leaves_no_bundle_or_a_whole_one_and_the_next_export_works(
    swept: Outcome, tmp_path: Path
) -> None:
    exports = swept.run.root / "export"
    shutil.rmtree(exports, ignore_errors=True)
    for name in (*FORMATS, CARD, MANIFEST):
        ended_at(name, swept, signal.SIGKILL, tmp_path / "said")
        for folder in exports.glob("trial-*"):
            verify_bundle(folder)
            shutil.rmtree(folder)
    folder = exported(swept)
    verify_bundle(folder)
    assert [path.name for path in exports.iterdir()] == [folder.name], "what the killed ones left is missing"


def ended_at(name: str, swept: Outcome, number: int, said: Path) -> tuple[float, Forked]:
    """An export that gets the signal as soon as it has begun that file; when that was, and the process, ended."""
    asked = ["export", swept.run.name, "--runs", str(swept.run.root.parent)]
    process = Forked(asked, env=os.environ, errors=said)
    until = time.monotonic() + 60
    exports = swept.run.root / "export"
    while not any(exports.glob(f".*.{process.pid}.tmp/{name}")) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.001)
    began = time.monotonic()
    process.send_signal(number)
    process.wait(timeout=30)
    return began, process


def sweep(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["sweep", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)
