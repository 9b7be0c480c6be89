"""Every shipped system exported: each format gives what the checkpoint gives, in any batch; and what counts as that."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from orchestrator.bundle import Bundle, load_bundle
from orchestrator.bundle.replay import replay
from orchestrator.data import FashionMNISTDataModule
from orchestrator.export import export
from orchestrator.export.parity import TOLERANCE, ParityError, batches, compare, largest_difference
from orchestrator.spec import load
from orchestrator.sweep import launch
from orchestrator.training import class_loading
from tests.support.few_images import FEW
from tests.support.mnist_files import write_mnist

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

KINDS = {
    "quickstart": "log_probabilities",
    "cifar10": "log_probabilities",
    "fashion_mnist_classifier": "scores",
    "mnist_autoencoder": "values",
    "fashion": "scores",
}
SLOW_KINDS = {"cifar10", "mnist_autoencoder", "quickstart", "fashion"}


@pytest.fixture
def arguments(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Where the named system finds its data, real ones where they are here."""
    name = request.param
    if name == "quickstart":
        return []
    if name == "cifar10":
        return [f"data.init_args.data_dir={request.getfixturevalue('cifar10')}"]
    if name == "fashion" and not FashionMNISTDataModule.system_folders[0].is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    if name != "fashion":
        write_mnist(tmp_path / "data", train=800, test=20)
    return [f"data.init_args.data_dir={tmp_path / 'data'}", "data.init_args.val_size=600"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "arguments"),
    [pytest.param(name, name, marks=pytest.mark.slow if name in SLOW_KINDS else ()) for name in KINDS],
    indirect=["arguments"],
)
def test_every_system_exported_gives_what_the_checkpoint_gives_and_is_trained_again_to_the_bit(
    name: str, arguments: list[str], tmp_path: Path
) -> None:
    file = "fashion_mnist_classifier" if name == "fashion" else name
    spec = load(file, [*FEW, "budget.trials=1", "trainer.max_epochs=1", *arguments])
    run = launch(spec, tmp_path / "runs", local=True).run
    folder = export(run.name, run.root.parent).folder
    bundle = load_bundle(folder)
    assert bundle.manifest.missing == {}
    assert bundle.preprocessing.kind == KINDS[name]
    for parity in bundle.manifest.parity.values():
        assert parity["max_difference"] <= parity["tolerance"]
        assert parity["argmax_equal"] is (None if KINDS[name] == "values" else True)
        assert not parity["ties"]
    inputs = validation_inputs(bundle)
    wanted = by_the_class_itself(bundle, inputs)
    for engine in ("onnx", "torch"):
        again = load_bundle(folder, engine)
        for size in (1, 7, 512):
            got = np.concatenate([again.outputs(inputs[at : at + size]) for at in range(0, len(inputs), size)])
            ours, theirs = (log_softmax(x, axis=1) if KINDS[name] == "scores" else x for x in (got, wanted))
            room = max(1.0, float(np.abs(wanted).max())) if KINDS[name] == "values" else 1.0
            assert np.abs(ours - theirs).max() <= TOLERANCE * room
            if bundle.preprocessing.classifies:
                assert (got.argmax(1) == wanted.argmax(1)).all()
    assert replay(bundle.manifest).verdict == "identical"


def validation_inputs(bundle: Bundle) -> Any:
    data = class_loading.build(bundle.config["data"])
    data.setup("fit")
    return torch.cat([images for images, _ in data.val_dataloader()]).numpy()[:512]


def by_the_class_itself(bundle: Bundle, inputs: Any) -> Any:
    """The reference: Lightning's own ``load_from_checkpoint``, nothing of ours between."""
    name = bundle.config["model"]["class_path"].rsplit(".", 1)[1]
    cls = getattr(importlib.import_module("orchestrator.models"), name)
    module = cls.load_from_checkpoint(bundle.folder / "model.ckpt", map_location="cpu", weights_only=True).eval()
    with torch.no_grad():
        return module(torch.from_numpy(inputs)).numpy()


def constant(rows: list[list[float]]) -> Any:
    return lambda inputs: np.asarray(rows, np.float32)[: len(inputs)]


def pair(wanted: list[list[float]], got: list[list[float]], kind: Any) -> Any:
    expected = batches(np.zeros((len(wanted), 2)), constant(wanted))
    return compare("test", constant(got), expected, kind=kind)


def test_a_difference_within_the_tolerance_is_measured() -> None:
    found = pair([[1.0, 2.0]], [[1.00005, 2.0]], "log_probabilities")
    assert found.max_difference == pytest.approx(5e-5, rel=0.01)
    assert (found.argmax_equal, found.ties, found.batches) == (True, 0, {"1": 3})


@pytest.mark.parametrize("wrong", [1.0002, 0.9998, float("nan"), float("inf")])
def test_a_difference_beyond_it_is_refused(wrong: float) -> None:
    with pytest.raises(ParityError, match="off"):
        pair([[1.0, 2.0]], [[wrong, 2.0]], "log_probabilities")


def test_scores_may_all_be_moved_and_values_are_judged_by_the_largest() -> None:
    assert pair([[1.0, 2.0]], [[6.0, 7.0]], "scores").max_difference == pytest.approx(0, abs=1e-6)
    assert pair([[1.0, 5000.0]], [[1.2, 5000.0]], "values").tolerance == pytest.approx(0.5)
    with pytest.raises(ParityError):
        pair([[1.0, 500.0]], [[1.2, 500.0]], "values")


def test_another_class_is_refused_but_for_an_exact_tie() -> None:
    """Both differences are within the tolerance; the classes are 1.5e-4 apart in the first and 5e-5 in the second."""
    with pytest.raises(ParityError, match="another class for 1 samples"):
        pair([[0.0, -1.5e-4]], [[-0.9e-4, -0.7e-4]], "log_probabilities")
    assert pair([[0.0, -5e-5]], [[-5e-5, 0.0]], "log_probabilities").ties == 3


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ParityError, match="shape"):
        pair([[1.0, 2.0]], [[1.0]], "values")


def test_what_is_not_finite_in_both_is_no_difference() -> None:
    inf, nan = float("inf"), float("nan")
    assert largest_difference(np.array([inf, -inf, nan, 1.0]), np.array([inf, -inf, nan, 1.0])) == 0
    for one, other in [(inf, -inf), (nan, 1.0), (1.0, nan), (inf, 1.0)]:
        assert largest_difference(np.array([one]), np.array([other])) == inf
