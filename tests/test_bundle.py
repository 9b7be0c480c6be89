"""A bundle read back: whole or refused, pictures in, classes out, and the same scores as in training."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import orchestrator
from orchestrator import cli
from orchestrator.bundle import Bundle, Preprocessing, load_bundle, verify_bundle
from orchestrator.bundle.bundle_manifest import MANIFEST, seal
from orchestrator.bundle.evaluation import score
from orchestrator.data import DigitsDataModule
from orchestrator.errors import CheckpointError, UsageError
from orchestrator.export import export
from orchestrator.spec import load
from orchestrator.sweep import launch
from tests.support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:lightning")]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LitModel on real digits, trained for three epochs and exported."""
    spec = load("quickstart", ["budget.trials=1", "trainer.max_epochs=3"])
    run = launch(spec, tmp_path_factory.mktemp("runs"), local=True).run
    return export(run.name, run.root.parent).folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


@pytest.fixture(scope="module")
def rebuilding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LitAutoEncoder on digits of 8 x 8."""
    halves = {
        f"model.init_args.{half}.init_args.{size}_features=64" for half, size in (("encoder", "in"), ("decoder", "out"))
    }
    data = ["data.class_path=orchestrator.data.DigitsDataModule", "data.init_args={image_size: 8, channels: 1}"]
    spec = load("mnist_autoencoder", ["budget.trials=1", "trainer.max_epochs=1", "space={}", *data, *sorted(halves)])
    run = launch(spec, tmp_path_factory.mktemp("runs"), local=True).run
    return export(run.name, run.root.parent).folder


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any, Any]:
    """Of the validation part: images as they were (N, 20, 20, 3) uint8, as the model gets them, and labels."""
    data = DigitsDataModule(image_size=20)
    data.setup("fit")
    images, labels = data._arrays("fit")
    rows = data.split(labels)[1]
    inputs = torch.cat([batch for batch, _ in data.val_dataloader()])
    return images[rows].numpy(), inputs.numpy(), labels[rows].numpy()


@pytest.fixture(scope="module")
def pictures(digits: tuple[Any, Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty of the digits as PNG files, in a folder for each class."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, (image, _, label) in enumerate(zip(*digits, strict=True)):
        if number < 60:
            (folder / str(label)).mkdir(exist_ok=True)
            Image.fromarray(image).save(folder / str(label) / f"{number:02d}.png")
    return folder


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process: exit code, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


# --- whole or refused --------------------------------------------------------------------------------------------


def positions(size: int, most: int = 40) -> list[int]:
    """The first and the last byte, and some between."""
    return sorted({0, size - 1, *range(0, size, max(1, size // most))})


def flipped(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


@pytest.mark.slow
def test_one_flipped_bit_in_any_file_is_found(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "bundle"))
    files = verify_bundle(copy).files
    assert set(files) | {MANIFEST} == {path.name for path in copy.iterdir()}
    for name, (size, _) in files.items():
        for number, position in enumerate(positions(size)):
            flipped(copy / name, position, number % 8)
            with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
                load_bundle(copy)
            flipped(copy / name, position, number % 8)
    verify_bundle(copy)


def test_any_flipped_bit_of_the_manifest_is_found(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "bundle"))
    for position in range((copy / MANIFEST).stat().st_size):
        flipped(copy / MANIFEST, position, position % 8)
        with pytest.raises(CheckpointError, match=r"MANIFEST\.json is damaged"):
            verify_bundle(copy)
        flipped(copy / MANIFEST, position, position % 8)
    verify_bundle(copy)


def test_other_damage_is_found_too_and_what_is_not_listed_is_passed_over(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "bundle"))
    (copy / "notes.txt").write_text("mine")
    written = (copy / MANIFEST).read_bytes()
    verify_bundle(copy)
    for changed in (written + b"\n", written.replace(b"\n", b"", 1), b"[]", b"", b"\xff", written[:-1]):
        (copy / MANIFEST).write_bytes(changed)
        with pytest.raises(CheckpointError):
            verify_bundle(copy)
    outside = {**json.loads(written), "files": {"../notes.txt": {"size": 4, "sha256": ""}}}
    outside.pop("sha256")
    (copy / MANIFEST).write_bytes(seal(outside))
    with pytest.raises(CheckpointError, match="no file's name"):
        verify_bundle(copy)
    (copy / MANIFEST).write_bytes(written)
    (copy / "model.onnx").write_bytes((copy / "model.onnx").read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"model\.onnx has .* bytes"):
        verify_bundle(copy)
    (copy / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"model\.onnx is missing"):
        verify_bundle(copy)


def test_what_is_no_bundle_is_said_to_be_none(tmp_path: Path, sweep: Run) -> None:
    with pytest.raises(UsageError, match="is not a bundle"):
        load_bundle(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        load_bundle(tmp_path / "nowhere")
    (tmp_path / MANIFEST).write_text('{"format": 1, "files": {}}')
    with pytest.raises(UsageError, match="earlier version"):
        load_bundle(tmp_path)
    assert sweep("predict", tmp_path, "a.png")[0] == 2


@pytest.mark.parametrize("command", [("predict", "nothing.png"), ("evaluate", "--data", "no/such")])
def test_the_commands_refuse_a_damaged_bundle_before_anything_else(
    folder: Path, tmp_path: Path, sweep: Run, command: tuple[str, ...]
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "bundle"))
    for path in sorted(copy.iterdir()):
        flipped(path, path.stat().st_size // 2, 3)
        code, out, err = sweep(command[0], copy, *command[1:])
        assert (code, out) == (4, "")
        assert path.name in err
        assert "Traceback" not in err
        flipped(path, path.stat().st_size // 2, 3)


# --- pictures ----------------------------------------------------------------------------------------------------


def test_a_picture_becomes_what_the_model_was_trained_on(bundle: Bundle, digits: tuple[Any, Any, Any]) -> None:
    images, inputs, _ = digits
    assert bundle.classes == tuple("0123456789")
    found = bundle.preprocess(images)
    assert (found.dtype, found.shape) == (np.dtype(np.float32), inputs.shape)
    assert np.abs(found - inputs).max() < 1e-6
    one = bundle.preprocess(images[0])
    assert (one == found[:1]).all()
    assert (bundle.preprocess(Image.fromarray(images[0])) == one).all()
    again = bundle.preprocessing.pictures(found[:3])
    assert all((np.asarray(picture) == image).all() for picture, image in zip(again, images, strict=False))


def test_predictions_are_the_module_s_own(bundle: Bundle, digits: tuple[Any, Any, Any], folder: Path) -> None:
    images, inputs, labels = digits
    with torch.no_grad():
        wanted = torch.exp(bundle.module()(torch.from_numpy(inputs))).numpy()
    for engine in ("onnx", "torch"):
        found = load_bundle(folder, engine).predict(images)
        assert np.abs(np.array([each.probabilities for each in found]) - wanted).max() < 1e-5
        assert [each.label for each in found] == [str(guess) for guess in wanted.argmax(axis=1)]
        assert all(each.probability == max(each.probabilities) for each in found)
    accuracy = np.mean([each.label == str(label) for each, label in zip(found, labels, strict=True)])
    assert accuracy == pytest.approx(bundle.config["metrics"]["val_acc"], abs=1e-6)
    assert bundle.session().get_inputs()[0].shape == ["batch", 3, 20, 20]


def plain(channels: int, **changed: Any) -> Preprocessing:
    """Pixels over 255, at 2 x 2."""
    one = (1.0,) * channels
    sizes: dict[str, Any] = {"channels": channels, "height": 2, "width": 2, "scale": 1 / 255}
    said = {**sizes, "mean": (0.0,) * channels, "std": one, "output_shape": (None, 3), "kind": "scores"}
    shapes: dict[str, Any] = {"input_shape": (None, channels, 2, 2), "input_type": "float32", "classes": None}
    return Preprocessing(**{**shapes, **said, **changed})


@pytest.mark.parametrize(
    ("picture", "channels", "value"),
    [
        (Image.new("RGB", (2, 2), (255, 0, 0)), 3, (1.0, 0.0, 0.0)),
        (Image.new("RGB", (2, 2), (255, 0, 0)), 1, (76 / 255,)),
        (Image.new("L", (2, 2), 51), 3, (0.2, 0.2, 0.2)),
        (Image.new("1", (2, 2), 1), 1, (1.0,)),
        (Image.new("RGBA", (2, 2), (0, 0, 0, 0)), 3, (1.0, 1.0, 1.0)),
        (Image.new("RGBA", (2, 2), (0, 255, 0, 255)), 3, (0.0, 1.0, 0.0)),
        (Image.new("LA", (2, 2), (0, 0)), 1, (1.0,)),
        (Image.new("I;16", (2, 2), 0x3333), 1, (0x33 / 255,)),
        (Image.new("RGB", (200, 90), (0, 0, 255)), 3, (0.0, 0.0, 1.0)),
        (np.full((5, 4, 1), 255, np.uint8), 1, (1.0,)),
        (np.full((5, 4), 255, np.uint8), 3, (1.0, 1.0, 1.0)),
    ],
)
def test_pictures_of_any_kind_are_converted(picture: Any, channels: int, value: tuple[float, ...]) -> None:
    found = plain(channels).array([picture])
    assert found.shape == (1, channels, 2, 2)
    assert np.abs(found - np.reshape(value, (1, channels, 1, 1))).max() < 1e-6


def test_resizing_is_antialiased_and_a_turned_photograph_is_upright(tmp_path: Path) -> None:
    fine = np.zeros((64, 64), np.uint8)
    fine[::2] = 255  # every other line: without antialiasing it would come out black or white
    assert np.abs(plain(1).array([fine]) - 0.5).max() < 0.05
    half = Image.fromarray(np.repeat([[0, 255]], 2, axis=0).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    half.save(tmp_path / "turned.png", exif=exif)
    assert plain(1).array([tmp_path / "turned.png"])[0, 0].tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("array", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 5), np.uint8), np.zeros(3, np.uint8)])
def test_arrays_that_are_no_pictures_are_refused(array: Any) -> None:
    with pytest.raises(UsageError, match="is not an image"):
        plain(1).array([array])


def test_what_the_datamodule_did_not_say_is_asked_for_and_not_guessed() -> None:
    with pytest.raises(UsageError, match="does not describe how an image becomes the model's input: mean"):
        plain(1, mean=None, std=None).array([np.zeros((2, 2), np.uint8)])
    with pytest.raises(UsageError, match="4 channels"):
        plain(4).array([np.zeros((2, 2), np.uint8)])


# --- sweep predict -----------------------------------------------------------------------------------------------


def test_predict_prints_classes_and_draws_them(folder: Path, pictures: Path, sweep: Run, tmp_path: Path) -> None:
    code, out, err = sweep("predict", folder, pictures, "--top", 2, "--grid", tmp_path / "grid.png")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) == 60
    assert all(line.startswith(str(pictures)) and line.count(", ") == 1 for line in lines)
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.width > 500
    said = json.loads(sweep("predict", folder, pictures, "--json", "--engine", "torch")[1])
    again = json.loads(sweep("predict", folder, pictures, "--json")[1])
    assert [row["classes"][0]["label"] for row in said] == [row["classes"][0]["label"] for row in again]
    assert len(said[0]["classes"]) == 3
    assert f"{said[0]['image']}: {said[0]['classes'][0]['label']} " in lines[0]


def test_predict_says_which_picture_it_cannot_read(folder: Path, pictures: Path, sweep: Run, tmp_path: Path) -> None:
    whole = next(pictures.rglob("*.png")).read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    for name, why in [("torn.png", "cannot be read"), ("text.png", "Pillow does not know its format")]:
        code, _, err = sweep("predict", folder, tmp_path / name)
        assert code == 2
        assert name in err
        assert why in err
    for arguments in [("nothing.png",), (tmp_path / "empty",), (pictures, "--grid", "a.txt"), (pictures, "--engine=x")]:
        code, out, err = sweep("predict", folder, *arguments)
        assert (code, out) == (2, "")
        assert "Traceback" not in err


def test_predict_with_onnx_loads_no_torch(folder: Path, pictures: Path) -> None:
    code = (
        "import sys\nfrom orchestrator import cli\n"
        "try: cli.main()\nfinally: print([name for name in ('torch', 'lightning', 'onnx') if name in sys.modules])"
    )
    asked = [sys.executable, "-c", code, "predict", str(folder), str(pictures), "--grid", "/dev/null.png"]
    asked[-1] = str(pictures.parent / "grid.png")
    answer = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_an_auto_encoder_is_judged_by_what_it_rebuilds(
    rebuilding: Path, digits: tuple[Any, Any, Any], sweep: Run, tmp_path: Path
) -> None:
    Image.fromarray(digits[0][0]).save(tmp_path / "digit.png")
    found = json.loads(sweep("predict", rebuilding, tmp_path / "digit.png", "--json", "--grid", tmp_path / "g.png")[1])
    loaded = load_bundle(rebuilding)
    inputs = loaded.preprocess(tmp_path / "digit.png")
    assert found[0]["mean_squared_error"] == pytest.approx(
        float(((loaded.outputs(inputs) - inputs.reshape(1, -1)) ** 2).mean()), rel=1e-6
    )
    with Image.open(tmp_path / "g.png") as grid:
        assert grid.width > 8 * 2
    with pytest.raises(UsageError, match="does not classify"):
        loaded.predict(tmp_path / "digit.png")
    assert loaded.classes == ()


# --- sweep evaluate ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_repeats_what_was_recorded(folder: Path, bundle: Bundle, sweep: Run) -> None:
    code, out, err = sweep("evaluate", folder, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["metrics"].keys() == {"val_loss", "val_acc"}
    for name, value in found["metrics"].items():
        assert value == pytest.approx(bundle.config["metrics"][name], abs=1e-5)
        assert found["recorded"][name] == bundle.config["metrics"][name]
    lines = sweep("evaluate", folder, "--set", "batch_size=7")[1].splitlines()
    assert all("recorded" in line for line in lines)


def test_evaluate_on_another_datamodule(folder: Path, sweep: Run) -> None:
    asked = ("evaluate", folder, "--data", "orchestrator.data.DigitsDataModule", "--set", "image_size=20", "--json")
    found = json.loads(sweep(*asked, "--set", "split_seed=3")[1])
    assert 0 < found["metrics"]["val_acc"] <= 1
    assert set(found["recorded"].values()) == {None}


def test_evaluate_on_folders_of_pictures(
    folder: Path, pictures: Path, sweep: Run, digits: tuple[Any, Any, Any]
) -> None:
    found = json.loads(sweep("evaluate", folder, "--data", pictures, "--json")[1])
    guesses = [each.label for each in load_bundle(folder).predict(digits[0][:60])]
    right = [guess == str(label) for guess, label in zip(guesses, digits[2][:60], strict=True)]
    assert found["images"] == 60
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert sum(total for _, total in found["classes"].values()) == 60
    assert sum(times for _, _, times in found["confused"]) == 60 - sum(right)
    assert "accuracy" in sweep("evaluate", folder, "--data", pictures)[1]


def test_counting_is_right() -> None:
    found = score(["a", "a", "b", "b", "b"], ["a", "b", "a", "a", "b"])
    assert found.classes == {"a": (1, 2), "b": (1, 3)}
    assert found.accuracy == pytest.approx(2 / 5)
    assert found.confused == [("b", "a", 2), ("a", "b", 1)]


@pytest.mark.slow
def test_what_evaluate_cannot_do_is_refused(
    folder: Path, rebuilding: Path, pictures: Path, sweep: Run, tmp_path: Path
) -> None:
    (tmp_path / "wrong" / "eleven").mkdir(parents=True)
    (tmp_path / "none").mkdir()
    for arguments, why in [
        ((folder, "--data", tmp_path / "wrong"), "is not named as a class"),
        ((folder, "--data", tmp_path / "none"), "holds no images"),
        ((folder, "--data", "nowhere"), "neither a folder nor an import path"),
        ((folder, "--data", "orchestrator.data.Nothing"), "has no 'Nothing'"),
        ((folder, "--data", "orchestrator.models.LitModel"), "is not a LightningDataModule"),
        ((folder, "--set", "colour=red"), "takes no argument 'colour'"),
        ((folder, "--set", "image_size=16"), "Trainer.validate failed"),
        ((folder, "--set", "batch_size"), "is not of the form NAME=VALUE"),
        ((rebuilding, "--data", pictures), "does not classify"),
    ]:
        code, out, err = sweep("evaluate", *arguments)
        assert (code, out) == (2, "")
        assert why in err
        assert "Traceback" not in err


def test_the_front_door_has_it() -> None:
    assert orchestrator.load_bundle is load_bundle
