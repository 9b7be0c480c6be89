"""The small trainings whose learning curves `benchmarks.make_curves` records: networks, spaces and one loop.

Every task is a network of the kind of a shipped system, on small data (`benchmarks.curve_data`). Configurations of
equal sizes are trained together, as one network with a dimension more (``torch.func``): small networks cost mostly
calls. Each has its own weights, batches, dropout and optimizer. The validation loss has neither label smoothing nor
dropout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks import curve_data
from benchmarks.curve_data import Data
from benchmarks.curve_optimizers import SCHEDULES, Optimizer
from orchestrator.models import LitGPT

LARGEST_LOSS = 6e4
"""Above, a training counts as diverged: float16 ends soon after."""
SIZES = ("batch_size", "width", "depth", "layers", "latent", "activation", "norm")
"""The hyperparameters that trainings of one group share."""
Params = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """A kind of training: a report comes after ``samples`` training samples, None for one pass over all of them."""

    name: str
    read: Callable[[Path], Data]
    network: Callable[[Params, Data], nn.Module]
    loss: Callable[[Tensor, Tensor, Params], Tensor]
    space: dict[str, object]
    reports: int
    samples: int | None = None


def group(params: Params) -> tuple[Any, ...]:
    """Return what configurations that are trained together have in common."""
    return tuple(params.get(name) for name in SIZES)


@sdpa_kernel(SDPBackend.MATH)  # the other kernels do not know a dimension more
def train(task: Task, data: Data, members: Sequence[Params], seed: int, reports: int) -> list[list[float]]:
    """Return the validation losses of each configuration of one group; NaN from where a training diverged.

    Those of one optimizer follow each other.
    """
    torch.manual_seed(seed)
    models = [task.network(params, data) for params in members]
    state, buffers = stack_module_state(models)
    weights = torch.cat([weight.detach().flatten(1) for weight in state.values()], dim=1).requires_grad_()
    optimizer, batch_size = Optimizer(members, weights), members[0]["batch_size"]
    options = {name: torch.tensor([params[name] for params in members]) for name in LOSS_OPTIONS if name in members[0]}

    def loss(vector: Tensor, buffers: Any, inputs: Tensor, targets: Tensor, options: Params) -> Tensor:
        parts = torch.split(vector, [weight[0].numel() for weight in state.values()])
        named = {name: part.view(weight.shape[1:]) for (name, weight), part in zip(state.items(), parts, strict=True)}
        return task.loss(functional_call(models[0], (named, buffers), (inputs,)), targets, options)

    losses, together = [], vmap(loss, randomness="different")
    steps = max(1, round((task.samples or len(data.inputs)) / batch_size))
    batches = _batches(len(members), len(data.inputs), batch_size)
    for report in range(reports):
        models[0].train()
        for step in range(steps):
            rows = next(batches)
            each = together(weights, buffers, data.inputs[rows], data.targets[rows], options)
            optimizer.step(torch.autograd.grad(each.sum(), weights)[0], (report * steps + step) / (reports * steps))
        models[0].eval()
        with torch.no_grad():
            valid = vmap(loss, in_dims=(0, 0, None, None, None), chunk_size=8)
            each = valid(weights, buffers, data.valid_inputs, data.valid_targets, {})
        losses.append(torch.where(each < LARGEST_LOSS, each, math.nan))
    curves = torch.stack(losses, dim=1)
    diverged = curves.isnan().cummax(dim=1).values
    return curves.masked_fill(diverged, math.nan).tolist()


def _batches(members: int, count: int, batch_size: int) -> Iterator[Tensor]:
    """Yield row numbers (members, batch) for ever, each pass in new orders; a smaller last batch is left out."""
    while True:
        for rows in torch.split(torch.rand(members, count).argsort(dim=1), batch_size, dim=1):
            if rows.shape[1] == min(batch_size, count):
                yield rows


class Dropout(nn.Module):
    """Dropout whose rate may differ between the networks that are trained together."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate: Tensor
        self.register_buffer("rate", torch.tensor(rate))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * (torch.rand_like(x) >= self.rate) / (1 - self.rate)


LOSS_OPTIONS = ("label_smoothing", "huber")
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def cross_entropy(scores: Tensor, targets: Tensor, options: Params) -> Tensor:
    """Return the mean cross-entropy in nats of (..., classes) scores."""
    logs = F.log_softmax(scores.flatten(0, -2), dim=-1)
    right, smoothing = -logs.gather(1, targets.flatten()[:, None]).mean(), options.get("label_smoothing")
    return right if smoothing is None else (1 - smoothing) * right - smoothing * logs.mean()


def squared_error(values: Tensor, targets: Tensor, options: Params) -> Tensor:
    """Return the mean squared error, or one that is linear beyond the error ``huber``."""
    error = (values - targets).abs()
    if "huber" in options:
        inner = torch.minimum(error, options["huber"])
        return (inner * (2 * error - inner)).mean()
    return (error * error).mean()


def mlp(params: Params, data: Data) -> nn.Module:
    """Return ``depth`` (2) hidden layers of ``width``, with an output for each of 10 classes or one of a regression."""
    sizes = [data.inputs[0].numel(), *[params["width"]] * params.get("depth", 2)]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in itertools.pairwise(sizes):
        layers += [
            nn.Linear(before, after),
            ACTIVATIONS[params.get("activation", "relu")](),
            Dropout(params["dropout"]),
        ]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 1 if data.targets.is_floating_point() else 10))


class Convolution(nn.Conv2d):
    """A convolution as one product of matrices: together, networks are slow as one convolution of many groups."""

    def forward(self, x: Tensor) -> Tensor:
        (stride, _), side = self.stride, x.shape[-1]
        patches = F.unfold(x, 3, padding=1, stride=stride)  # (N, channels * 9, places)
        scores = self.weight.flatten(1) @ patches + self.bias[:, None]  # type: ignore[index]
        return scores.view(*scores.shape[:2], -1, (side + stride - 1) // stride)


def cnn(params: Params, data: Data) -> nn.Module:
    """Return a convolution that halves the side, ``depth`` (0) more, a pool, another one, and scores of 10 classes."""
    width, sizes = params["width"], [params["width"]] * (params.get("depth", 0) + 1)
    layers: list[nn.Module] = [Convolution(data.inputs.shape[1], width, 3, stride=2, padding=1), nn.ReLU()]
    for before, after in itertools.pairwise(sizes):
        layers += [Convolution(before, after, 3, padding=1), *_norm(params, after), nn.ReLU()]
    layers += [nn.MaxPool2d(2), Convolution(width, 2 * width, 3, padding=1), *_norm(params, 2 * width), nn.ReLU()]
    side = (data.inputs.shape[-1] + 1) // 2 // 2
    return nn.Sequential(*layers, nn.Flatten(), Dropout(params["dropout"]), nn.Linear(2 * width * side**2, 10))


def _norm(params: Params, channels: int) -> list[nn.Module]:
    return [nn.GroupNorm(1, channels)] if params.get("norm") == "layer" else []


def autoencoder(params: Params, data: Data) -> nn.Module:
    """Return encoder and decoder of one hidden layer each around a code of ``latent`` numbers."""
    features, width = data.inputs.shape[1], params["width"]
    layers: list[nn.Module] = [Dropout(params["dropout"])]
    for before, after in itertools.pairwise([features, width, params["latent"], width, features]):
        layers += [nn.Linear(before, after), ACTIVATIONS[params.get("activation", "tanh")]()]
    return nn.Sequential(*layers[:-1])


def gpt(params: Params, data: Data) -> nn.Module:
    """Return the shipped language model."""
    return LitGPT(context=data.inputs.shape[1], heads=2, width=params["width"], layers=params["layers"])


OPTIMIZATION: dict[str, object] = {
    "learning_rate": {"log_uniform": [5e-4, 1.0]},
    "optimizer": {"choice": ["sgd", "adamw", "rmsprop"]},
    "schedule": {"choice": list(SCHEDULES)},
    "one_minus_momentum": {"log_uniform": [0.003, 0.3]},
    "weight_decay": {"log_uniform": [1e-5, 0.1]},
}
DROPOUT: dict[str, object] = {"dropout": {"uniform": [0.0, 0.6]}}
SMOOTHING: dict[str, object] = {"label_smoothing": {"uniform": [0.0, 0.3]}}
CLIP: dict[str, object] = {"clip": {"log_uniform": [0.1, 30.0]}}


def _sizes(batch_size: list[int], **choices: list[Any]) -> dict[str, object]:
    return {name: {"choice": values} for name, values in {"batch_size": batch_size, **choices}.items()}


TASKS = {
    task.name: task
    for task in (
        Task("diabetes_mlp", curve_data.diabetes, mlp, squared_error, reports=50, space={
            **OPTIMIZATION, **DROPOUT, "huber": {"log_uniform": [0.3, 3.0]},
            **_sizes([16, 32, 64], width=[8, 16, 32], activation=["relu", "tanh"])}),
        Task("digits_cnn", curve_data.digits, cnn, cross_entropy, reports=27, space={
            **OPTIMIZATION, **DROPOUT, **SMOOTHING, **_sizes([32, 64, 128], width=[4, 8], depth=[0, 1])}),
        Task("fashion_mlp", curve_data.fashion, mlp, cross_entropy, reports=30, space={
            **OPTIMIZATION, **DROPOUT, **_sizes([32, 64, 128], width=[16, 32, 64], depth=[1, 2, 3])}),
        Task("fashion_autoencoder", curve_data.fashion_pixels, autoencoder, squared_error, reports=30, space={
            **OPTIMIZATION, **CLIP, "dropout": {"uniform": [0.0, 0.3]},
            **_sizes([32, 64, 128], width=[32, 64], latent=[4, 8, 16])}),
        Task("python_gpt", curve_data.text, gpt, cross_entropy, reports=27, samples=32, space={
            **OPTIMIZATION, **CLIP, **_sizes([4, 8, 16], width=[16, 32], layers=[1, 2])}),
        Task("cifar10_cnn", curve_data.cifar10, cnn, cross_entropy, reports=27, space={
            **OPTIMIZATION, **DROPOUT, **SMOOTHING, **CLIP, **_sizes([32, 64, 128], width=[4, 8])}),
        Task("fashion_cnn", curve_data.small_fashion, cnn, cross_entropy, reports=27, space={
            **OPTIMIZATION, **DROPOUT, **CLIP, **_sizes([32, 64, 128], width=[4, 8], norm=["none", "layer"])}),
    )
}  # fmt: skip
