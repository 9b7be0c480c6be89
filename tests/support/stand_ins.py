"""Stand-ins for the code that a foreign sweep file trains: they check the names that reach them, and report twice."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

_RAY = ("ray", "ray.tune.schedulers", "ray.tune.search", "ray.tune.search.optuna", "ray.tune.search.hyperopt",
        "ray.train", "ray.train.torch")  # fmt: skip
_TUNE = ("choice", "uniform", "quniform", "loguniform", "qloguniform", "randn", "qrandn", "randint", "qrandint",
         "lograndint", "qlograndint", "grid_search", "sample_from")  # fmt: skip
_LOG = """
for step in range(2):
    wandb.log({METRIC: 1.0 / (step + 1)})
"""
_ARGPARSE = """
import argparse, sys
import wandb
parser = argparse.ArgumentParser(allow_abbrev=False)
for name in NAMES:
    parser.add_argument("--" + name, nargs="?")
_, others = parser.parse_known_args()
assert not [word for word in others if word not in FIXED], others
wandb.init()
"""
_HYPHENLESS = """
import sys
import wandb
names = {word.partition("=")[0] for word in sys.argv[1:] if word not in FIXED}
assert names - {"hydra.run.dir", "hydra.mode"} == set(NAMES), names
wandb.init()
"""
_JSON = """
import json, sys
import wandb
assert set(json.loads(sys.argv[-1])) == set(NAMES), sys.argv
wandb.init()
"""
_JSON_FILE = """
import json, sys
import wandb
assert set(json.load(open(sys.argv[-1]))) == set(NAMES), sys.argv
wandb.init()
"""
FUNCTION = """
import orchestrator
def main(**params):
    assert params and {name.partition(".")[0] for name in NAMES} >= set(params), params
    for step in (1, 2):
        orchestrator.report({METRIC: 1.0 / step, **{name: 2.0 for name in ALSO}}, step=step)
"""
CLASSES = """
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

def loader(batch_size=4):
    x = torch.linspace(-1, 1, 16).view(8, 2)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=batch_size)

class Backbone(torch.nn.Module):
    def __init__(self, width: int = 4, norm: bool = True):
        super().__init__()

class Bare(L.LightningModule):
    def __init__(self, lr: float = 0.1, in_channels: int = 3, width: int = 4, name: str = "", bands: list = (),
                 hparams: dict | None = None, table: dict[int, int] | None = None):
        super().__init__()
        self.lr = lr
        self.layer = torch.nn.Linear(2, 1)
    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
    def validation_step(self, batch, index):
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log_dict({name: loss for name in ("val_loss", "val/loss", "val/iou", "val/acc")})
    def train_dataloader(self):
        return loader()
    def val_dataloader(self):
        return loader()

class Net(Bare):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

class Nested(Bare):
    def __init__(self, backbone: torch.nn.Module, losses: list[torch.nn.Module], lr: float = 0.1):
        super().__init__(lr)
        self.backbone, self.losses = backbone, losses
        assert isinstance(backbone, Backbone) and len(losses) == 2

class Data(L.LightningDataModule):
    def __init__(self, batch_size: int = 4, num_workers: int = 0, size: int = 1, **more):
        super().__init__()
        self.batch_size = batch_size
    def train_dataloader(self):
        return loader(self.batch_size)
    def val_dataloader(self):
        return loader(self.batch_size)
"""


def wandb_names(parameters: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield the names that W&B gives a script's parameters."""
    for name, each in parameters.items():
        if isinstance(each, dict) and isinstance(each.get("parameters"), dict):
            yield from wandb_names(each["parameters"], f"{above}{name}.")
        elif not (isinstance(each, dict) and each.get("distribution") in ("beta", "q_beta")):
            yield f"{above}{name}"


def script(names: list[str], metric: str, command: list[str]) -> str:
    """Return a script that takes its arguments as the command gives them, and no other names."""
    joined = " ".join(command)
    body = next(
        (
            text
            for macro, text in (("${args_json_file}", _JSON_FILE), ("${args_json}", _JSON),
                                ("${args_no_hyphens}", _HYPHENLESS))
            if macro in joined
        ),
        _ARGPARSE,
    )  # fmt: skip
    return f"NAMES, METRIC, FIXED = {names!r}, {metric!r}, {command!r}\n{body}{_LOG}"


def function(names: list[str], metric: str, also: list[str]) -> str:
    """Return a module whose function ``main`` takes these names alone."""
    return f"NAMES, METRIC, ALSO = {names!r}, {metric!r}, {also!r}\n{FUNCTION}"


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file and the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class _Names(dict[str, Any]):
    """The variables of a file whose other names are whatever they have to be."""

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        return MagicMock()


def run_python(text: str) -> dict[str, Any]:
    """Run a file with a search, where ``ray`` and ``wandb`` are stand-ins; return the search that it hands to them.

    A function of ``ray.tune`` is a tuple of its name and its arguments.
    """
    tune, wandb = MagicMock(), MagicMock()
    for name in _TUNE:
        getattr(tune, name).side_effect = functools.partial(_call, name)
    modules = {name: MagicMock() for name in _RAY} | {"ray.tune": tune, "wandb": wandb}
    modules["ray"].tune = tune
    variables = _Names(__name__="__main__")
    with patch.dict(sys.modules, modules):
        exec(compile(text, "their.py", "exec"), variables)
        for value in [each for each in variables.values() if inspect.isfunction(each)]:
            if not tune.Tuner.called and not tune.run.called and "tune" in value.__code__.co_names:
                value()
    for made, word in ((tune.Tuner, "param_space"), (tune.run, "config")):
        if made.called:
            return dict(made.call_args.kwargs[word])
    if wandb.sweep.called:
        return dict([*wandb.sweep.call_args.args, *wandb.sweep.call_args.kwargs.values()][0])
    written = [value for value in variables.values() if isinstance(value, dict)]
    return next(
        value for value in written if "parameters" in value or any(isinstance(v, tuple) for v in value.values())
    )


def _call(name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    return (name, *args, *kwargs.values())
