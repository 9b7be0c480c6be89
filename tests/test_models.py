"""The shipped modules against the tutorial's own network, written out here as a reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.data import DigitsDataModule
from orchestrator.models import MLP, Decoder, Encoder, LitAutoEncoder, LitClassifier, LitModel


class Tutorial(nn.Module):
    """The tutorial's layers, created in its order, its shape probe included."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, 1), nn.Conv2d(32, 32, 3, 1)
        self.conv3, self.conv4 = nn.Conv2d(32, 64, 3, 1), nn.Conv2d(64, 64, 3, 1)
        self.fc1 = nn.Linear(self.features(torch.rand(1, 3, 32, 32)).numel(), 512)
        self.fc2, self.fc3 = nn.Linear(512, 128), nn.Linear(128, 10)

    def features(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv2(F.relu(self.conv1(x)))), 2)
        return F.max_pool2d(F.relu(self.conv4(F.relu(self.conv3(x)))), 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).flatten(1)
        return F.log_softmax(self.fc3(F.relu(self.fc2(F.relu(self.fc1(x))))), dim=1)


def trainer(folder: Path, **options: Any) -> L.Trainer:
    defaults: dict[str, Any] = {
        "max_epochs": 1,
        "limit_train_batches": 3,
        "limit_val_batches": 2,
        "limit_test_batches": 2,
    }
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return L.Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **{**defaults, **options})


def small_digits(**options: Any) -> DigitsDataModule:
    return DigitsDataModule(**{"batch_size": 16, "image_size": 16, "seed": 0, **options})


def test_litmodel_is_the_tutorials_network() -> None:
    torch.manual_seed(3)
    reference = Tutorial()
    torch.manual_seed(3)
    model = LitModel()
    assert sum(p.numel() for p in model.parameters()) == 952_234
    assert list(model.state_dict()) == list(reference.state_dict())
    for name, weight in reference.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name

    images, labels = torch.randn(8, 3, 32, 32), torch.randint(10, (8,))
    torch.testing.assert_close(model(images), reference(images))
    torch.autograd.backward(F.nll_loss(model(images), labels))
    torch.autograd.backward(F.nll_loss(reference(images), labels))
    for ours, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_pooling_before_the_relu_changes_no_bit() -> None:
    x = torch.randn(4, 8, 12, 12).round(decimals=1).requires_grad_()  # rounded, so that some maxima tie
    y = x.detach().clone().requires_grad_()
    ours, theirs = F.relu(F.max_pool2d(x, 2)), F.max_pool2d(F.relu(y), 2)
    weights = torch.randn_like(ours)
    torch.autograd.backward((ours * weights).sum())
    torch.autograd.backward((theirs * weights).sum())
    assert torch.equal(ours, theirs)
    assert x.grad is not None
    assert y.grad is not None
    assert torch.equal(x.grad, y.grad)


def test_defaults_are_channels_last_and_add_nothing() -> None:
    model = LitModel()
    assert model.conv2.weight.is_contiguous(memory_format=torch.channels_last)
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())
    assert isinstance(model.configure_optimizers(), torch.optim.Adam)
    assert isinstance(LitModel(dropout=0.25).drop, nn.Dropout)


@pytest.mark.parametrize("shape", [(3, 15, 32), (3, 32, 15), (0, 32, 32), (32, 32)])
def test_a_shape_that_cannot_work_is_refused_by_name(shape: Any) -> None:
    with pytest.raises(ValueError, match=r"`input_shape` must be .* >= 16, but got"):
        LitModel(input_shape=shape)


def test_the_smallest_and_an_oblong_shape_work() -> None:
    assert LitModel((1, 16, 16))(torch.zeros(2, 1, 16, 16)).shape == (2, 10)
    assert LitModel((3, 28, 40), num_classes=4)(torch.zeros(2, 3, 28, 40)).shape == (2, 4)


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_a_dropout_out_of_range_is_refused(dropout: float) -> None:
    with pytest.raises(ValueError, match="0 <= dropout < 1"):
        LitModel(dropout=dropout)


def test_epoch_metrics_are_means_over_samples(tmp_path: Path) -> None:
    data, model = small_digits(test_size=37), LitModel((3, 16, 16))  # batches of 16, 16 and 5
    [logged] = trainer(tmp_path, limit_test_batches=None).test(model, data, verbose=False)
    batches = list(data.test_dataloader())
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert [len(labels) for _, labels in batches] == [16, 16, 5]
    with torch.no_grad():
        scores = model.eval()(images)
    assert logged["test_loss"] == pytest.approx(F.nll_loss(scores, labels).item(), rel=1e-5)
    assert logged["test_acc"] == pytest.approx((scores.argmax(1) == labels).float().mean().item(), rel=1e-6)


def test_litmodel_fits_tests_predicts_and_reloads(tmp_path: Path) -> None:
    run, data = trainer(tmp_path), small_digits()
    model = LitModel((3, 16, 16), dropout=0.1, lr_schedule="cosine")
    run.fit(model, data)
    assert {"train_loss", "train_acc", "val_loss", "val_acc"} <= run.callback_metrics.keys()
    [tested] = run.test(model, data, verbose=False)
    assert tested.keys() == {"test_loss", "test_acc"}
    predictions = run.predict(model, data)
    assert predictions is not None
    assert sum(len(batch) for batch in predictions) == data.val_size

    again = LitModel.load_from_checkpoint(run.checkpoint_callback.best_model_path, weights_only=True)  # type: ignore[union-attr]
    assert dict(again.hparams) == dict(model.hparams)
    assert again.hparams["input_shape"] == (3, 16, 16)
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("optimizer", "schedule"), [("adam", None), ("adamw", "cosine"), ("sgd", "step"), ("sgd", "onecycle")]
)
def test_optimizers_and_schedules(tmp_path: Path, optimizer: Any, schedule: Any) -> None:
    model = LitModel((1, 16, 16), optimizer=optimizer, lr_schedule=schedule, lr_step_size=1, learning_rate=1e-3)
    run = trainer(tmp_path, max_epochs=2, limit_train_batches=1, limit_val_batches=0, enable_checkpointing=False)
    run.fit(model, small_digits(channels=1))
    [used] = run.optimizers
    assert type(used).__name__.lower() == optimizer
    rate = used.param_groups[0]["lr"]
    assert (rate == 1e-3) if schedule is None else (rate < 1e-3)


def test_a_schedule_without_an_end_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_epochs=-1, max_steps=1)
    with pytest.raises(ValueError, match=r"the cosine schedule needs trainer.max_epochs >= 1"):
        run.fit(LitModel((1, 16, 16), lr_schedule="cosine"), small_digits(channels=1))


def test_gradient_clipping_and_accumulation(tmp_path: Path) -> None:
    run = trainer(tmp_path, gradient_clip_val=0.5, accumulate_grad_batches=3, limit_train_batches=6)
    run.fit(LitModel((3, 16, 16)), small_digits())
    assert run.global_step == 2


def test_the_autoencoder_is_the_guides() -> None:
    model = LitAutoEncoder(Encoder(), Decoder())
    sizes = [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(784, 64), (64, 3), (3, 64), (64, 784)]
    assert model(torch.zeros(5, 1, 28, 28)).shape == (5, 784)


def test_halves_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"but got encoder.latent=3, decoder.latent=4"):
        LitAutoEncoder(Encoder(latent=3), Decoder(latent=4))
    with pytest.raises(ValueError, match=r"but got encoder.in_features=256, decoder.out_features=784"):
        LitAutoEncoder(Encoder(in_features=256), Decoder())


def test_the_autoencoder_trains_and_reloads_without_arguments(tmp_path: Path) -> None:
    encoder = Encoder(hidden=8, latent=2, in_features=256)
    model = LitAutoEncoder(encoder, Decoder(hidden=12, latent=2, out_features=256))
    run, data = trainer(tmp_path), small_digits(channels=1)
    run.fit(model, data)
    assert {"train_loss", "val_loss"} <= run.callback_metrics.keys()
    assert run.test(model, data, verbose=False)[0].keys() == {"test_loss"}
    again = LitAutoEncoder.load_from_checkpoint(run.checkpoint_callback.best_model_path, weights_only=True)  # type: ignore[union-attr]
    assert torch.equal(again(torch.ones(1, 256)), model(torch.ones(1, 256)))


class Deeper(Encoder):
    """A user's own encoder: a checkpoint must not turn it into ours in silence."""


def test_another_encoder_is_given_again_when_reloading(tmp_path: Path) -> None:
    model = LitAutoEncoder(Deeper(in_features=256), Decoder(out_features=256))
    run = trainer(tmp_path)
    run.fit(model, small_digits(channels=1))
    path = run.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    with pytest.raises(TypeError, match="encoder"):
        LitAutoEncoder.load_from_checkpoint(path)
    again = LitAutoEncoder.load_from_checkpoint(path, encoder=Deeper(in_features=256))
    assert torch.equal(again(torch.ones(1, 256)), model(torch.ones(1, 256)))


@pytest.mark.parametrize("schedule", ["step", "cosine", "exponential", None])
def test_the_classifier_takes_any_encoder(tmp_path: Path, schedule: Any) -> None:
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(256, 10))
    model = LitClassifier(encoder, lr_scheduler=schedule, gamma=0.5)
    run, data = trainer(tmp_path), small_digits(channels=1)
    run.fit(model, data)
    assert {"train_loss", "train_acc", "val_loss", "val_acc"} <= run.callback_metrics.keys()
    assert run.test(model, data, verbose=False)[0].keys() == {"test_loss", "test_acc"}
    again = LitClassifier.load_from_checkpoint(run.checkpoint_callback.best_model_path, encoder=encoder)  # type: ignore[union-attr]
    assert dict(again.hparams) == dict(model.hparams)


def test_the_classifier_rebuilds_its_own_mlp(tmp_path: Path) -> None:
    model = LitClassifier(MLP(in_features=256, hidden=9))
    run, data = trainer(tmp_path), small_digits(channels=1)
    run.fit(model, data)
    again = LitClassifier.load_from_checkpoint(run.checkpoint_callback.best_model_path, weights_only=True)  # type: ignore[union-attr]
    assert torch.equal(again(torch.ones(1, 256)), model(torch.ones(1, 256)))
    assert run.predict(model, data)[0].dtype == torch.int64  # type: ignore[index, union-attr]


def test_an_encoder_of_another_width_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, 10\) scores, but returned \(2, 7\)"):
        LitClassifier(MLP(out_features=7))(torch.zeros(2, 784))
