"""The code of the guides that this project began with, as it stands there, by each of the three doors.

It is read from the guides, which lie beside the checkout, and changed by the lists below alone. The first guide is a
script with a DataModule, W&B and callbacks; the second, of an earlier Lightning, has loaders and logs nothing. The
third is a sketch whose bodies are comments, and the fourth shows one class in parts: what is missing completes them.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec import from_mapping
from orchestrator.sweep import Outcome, launch
from tests.support.paths import ROOT

GUIDES = ROOT.parent / "shared" / "seeds"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not GUIDES.is_dir(), reason="the guides are not beside the checkout"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
]

# What stands in a guide → what is run: replaced data, and what newer versions have removed.
FIRST = {
    "from torchvision.datasets import CIFAR10": "from pictures import CIFAR10",  # no download
    "torch.autograd.Variable(torch.rand(batch_size, *shape))": "torch.rand(batch_size, *shape)",  # a no-op by now
}
SECOND = {
    "from torchvision.datasets import MNIST": "from pictures import MNIST",  # no download
    "def __init__(self):\n        self.l1": "def __init__(self):\n        super().__init__()\n        self.l1",
    # Earlier versions showed the loss by themselves; today a module logs what it is judged by.
    "        return loss": "        self.log('loss', loss, on_step=False, on_epoch=True)\n        return loss",
}  # fmt: skip
PICTURES = """
import torch
from torch.utils.data import Dataset

class CIFAR10(Dataset):
    shape, classes = (3, 32, 32), 10
    def __init__(self, root, train=True, download=False, transform=None):
        self.size = 50_000 if train else 10_000
    def __len__(self):
        return self.size
    def __getitem__(self, index):
        return torch.full(self.shape, (index % 10) / 10), index % self.classes

class MNIST(CIFAR10):
    shape = (1, 28, 28)
"""
IMPORTS = """
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
import pytorch_lightning as pl
from pytorch_lightning import LightningModule
from torch.utils.data import DataLoader
from torchvision import transforms
from pictures import MNIST
"""
# The bodies of the third guide's module are comments, "as in plain PyTorch", and it logs nothing.
THIRD = {
    "    def __init__(self):\n        # Native PyTorch와 동일": "    def __init__(self):\n        super().__init__()\n"
    "        self.net = nn.Linear(28 * 28, 10)",
    "    def forward(self, x):\n        # Native PyTorch와 동일": "    def forward(self, x):\n"
    "        return self.net(x.flatten(1))",
    "        return loss": "        self.log('loss', loss, on_step=False, on_epoch=True)\n        return loss",
}
# What the fourth guide leaves to the reader: its parts as one class, with data of its own.
FOURTH = """
class LitModel(*reversed(PARTS)):
    def __init__(self, encoder=None):
        super().__init__(encoder or Encoder())
    def train_dataloader(self):
        return DataLoader(MNIST(".", transform=None), batch_size=8)
    val_dataloader = test_dataloader = predict_dataloader = train_dataloader
"""
SHORT = {
    "max_epochs": 2,
    **dict.fromkeys((f"limit_{stage}_batches" for stage in ("train", "val", "test", "predict")), 2),
}


def blocks(guide: int) -> list[str]:
    """The Python blocks of a guide, in Markdown or reStructuredText."""
    (file,) = GUIDES.glob(f"{guide:03d}_*.txt")
    text = file.read_text(encoding="utf-8")
    if "```" in text:
        found = re.findall(r"^```(?:python)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        return [block for block in found if "!pip" not in block]
    found = re.findall(r"^\.\. (?:code(?:-block)?:: python|testcode::)\n\n((?:    .*\n|\n)+)", text, re.MULTILINE)
    return [textwrap.dedent(block) for block in found]


def changed(block: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        block = block.replace(old, new)
    return block


def swept(folder: Path, monkeypatch: pytest.MonkeyPatch, metric: str, **fields: Any) -> Outcome:
    (folder / "pictures.py").write_text(PICTURES)
    monkeypatch.chdir(folder)
    spec = from_mapping({
        "name": "guide", "objective": {"metric": metric, "mode": "min"}, "scheduler": "fifo", "trainer": SHORT,
        "budget": {"trials": 2}, **fields,
    })  # fmt: skip
    outcome = launch(spec, folder / "runs", local=True, preflight=False)
    assert {trial.status for trial in outcome.state.trials.values()} == {"finished"}
    assert all(len(trial.reports) == 2 for trial in outcome.state.trials.values())
    return outcome


def first(folder: Path, *, as_function: bool = False) -> None:
    """Write the first guide as ``first_guide.py``: its classes, and its training as a script or a function."""
    parts = [changed(block, FIRST) for block in blocks(1)]
    training = [part for part in parts if "dm = " in part or "model = LitModel" in part]
    classes = "\n".join(part for part in parts if part not in training)
    body = "\n".join(training)
    if as_function:  # what is swept becomes an argument
        body = body.replace(
            "LitModel((3, 32, 32), dm.num_classes)", "LitModel((3, 32, 32), dm.num_classes, learning_rate)"
        )
        body = "def main(learning_rate):\n" + textwrap.indent(body, "    ")
    (folder / "first_guide.py").write_text(f"{classes}\n{body}\n")


def test_the_first_guide_as_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first(tmp_path)
    outcome = swept(tmp_path, monkeypatch, "val_loss", program="first_guide.py", space={}, budget={"trials": 1})
    assert not list(tmp_path.glob("wandb*")), "W&B was served on this machine"
    assert (outcome.run.trial(0) / "checkpoints").is_dir()


def test_the_first_guide_as_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first(tmp_path, as_function=True)
    space = {"learning_rate": {"log_uniform": [1e-4, 1e-2]}}
    swept(tmp_path, monkeypatch, "val_loss", train="first_guide:main", space=space)


def test_the_first_guide_s_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first(tmp_path, as_function=True)
    model = {"input_shape": [3, 32, 32], "num_classes": "${data.num_classes}"}
    swept(
        tmp_path, monkeypatch, "val_loss",
        model={"class_path": "first_guide.LitModel", "init_args": model},
        data={"class_path": "first_guide.CIFAR10DataModule", "init_args": {"batch_size": 16}},
        space={"model.learning_rate": {"log_uniform": [1e-4, 1e-2]}, "data.batch_size": {"choice": [8, 16]}},
    )  # fmt: skip


def second(folder: Path, *, classes: bool = False) -> None:
    """Write the second guide as ``second_guide.py``; with ``classes`` what it makes is returned by functions."""
    parts = [changed(block, SECOND) for block in blocks(2) if "enumerate(train_loader)" not in block]
    text = "\n".join(parts)
    if classes:
        head, _, training = text.partition("dataset = ")
        data, _, _ = f"dataset = {training}".partition("# model")
        text = (
            f"{head}\ndef train_loader():\n{textwrap.indent(data, '    ')}\n    return train_loader\n"
            "def model():\n    return LitAutoEncoder(Encoder(), Decoder())\n"
        )
    (folder / "second_guide.py").write_text(text)


def test_the_second_guide_as_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second(tmp_path)
    swept(tmp_path, monkeypatch, "loss", program="second_guide.py", space={}, budget={"trials": 1})


def test_the_second_guide_s_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second(tmp_path, classes=True)
    parts = {"model": "second_guide.model", "data": "second_guide.train_loader"}
    swept(tmp_path, monkeypatch, "loss", **parts, space={}, budget={"trials": 1})


def test_the_second_guide_as_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second(tmp_path)
    text = (tmp_path / "second_guide.py").read_text()
    classes, _, training = text.partition("dataset = ")
    body = textwrap.indent(f"dataset = {training}".replace("DataLoader(dataset)", "DataLoader(dataset, size)"), "    ")
    (tmp_path / "second_function.py").write_text(f"{classes}\ndef main(size):\n{body}")
    swept(tmp_path, monkeypatch, "loss", train="second_function:main", space={"size": {"choice": [1, 2]}})


def third(folder: Path) -> tuple[str, str]:
    """Return the module of the third guide, completed, and its data and training."""
    module, data, training, *_ = (changed(block, THIRD) for block in blocks(3))
    return f"{IMPORTS}\n{module}", f"{data}\n{training}"


def test_the_third_guide_as_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "third_guide.py").write_text("\n".join(third(tmp_path)))
    swept(tmp_path, monkeypatch, "loss", program="third_guide.py", space={}, budget={"trials": 1})


def test_the_third_guide_as_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, training = third(tmp_path)
    body = textwrap.indent(training.replace("DataLoader(dataset)", "DataLoader(dataset, size)"), "    ")
    (tmp_path / "third_function.py").write_text(f"{module}\ndef main(size):\n{body}")
    swept(tmp_path, monkeypatch, "loss", train="third_function:main", space={"size": {"choice": [1, 2]}})


def test_the_third_guide_s_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, training = third(tmp_path)
    data = textwrap.indent(training.partition("# init model")[0], "    ")
    (tmp_path / "third_classes.py").write_text(f"{module}\ndef loader():\n{data}\n    return train_loader\n")
    swept(
        tmp_path, monkeypatch, "loss", model="third_classes.LitModel", data="third_classes.loader", space={},
        budget={"trials": 1},
    )  # fmt: skip


@pytest.mark.parametrize(("block", "spelling"), [(3, "accelerator: gpu and devices"), (4, "accelerator: tpu and")])
def test_the_third_guide_s_old_arguments_are_refused_with_today_s(
    block: int, spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "third_guide.py").write_text(f"{IMPORTS.replace('from pictures import MNIST', '')}\n{blocks(3)[block]}")
    spec = from_mapping({
        "name": "guide", "objective": {"metric": "loss", "mode": "min"}, "program": "third_guide.py", "space": {},
        "budget": {"trials": 1},
    })  # fmt: skip
    outcome = launch(spec, tmp_path / "runs", local=True, preflight=False)
    assert spelling in str(outcome.state.trials[0].failures)


def fourth(file: Path, training: str = "") -> None:
    """Write the fourth guide to a file.

    Left out are the parts on devices and on buffers, whose bodies end in an ellipsis, or use names that are not there.
    """
    shown = [
        block for block in blocks(4) if "class LitModel" in block and "..." not in block and "register" not in block
    ]
    network, *parts = shown
    text = [IMPORTS, network, "Encoder, PARTS = LitModel, []"]
    for part in parts:
        text += [part, "PARTS.append(LitModel)"]
    file.write_text("\n".join([*text, FOURTH, training]))


def after_training() -> str:
    """The fourth guide's blocks that evaluate; each makes its model, as it stands."""
    return "\n".join(block for block in blocks(4) if block.startswith("model = LitModel()"))


def test_the_fourth_guide_as_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fourth(tmp_path / "fourth_guide.py", f"trainer = pl.Trainer()\ntrainer.fit(LitModel())\n{after_training()}")
    assert after_training().count("trainer.") == 3
    swept(tmp_path, monkeypatch, "val_loss", program="fourth_guide.py", space={}, budget={"trials": 1})


def test_the_fourth_guide_as_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"trainer = pl.Trainer(gradient_clip_val=clip)\ntrainer.fit(LitModel())\n{after_training()}"
    fourth(tmp_path / "fourth_function.py", "def main(clip):\n" + textwrap.indent(body, "    "))
    swept(tmp_path, monkeypatch, "val_loss", train="fourth_function:main", space={"clip": {"uniform": [0.5, 1.0]}})


def test_the_fourth_guide_s_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fourth(tmp_path / "fourth_classes.py")
    space = {"trainer.gradient_clip_val": {"uniform": [0.5, 1.0]}}
    swept(tmp_path, monkeypatch, "val_loss", model="fourth_classes.LitModel", space=space)
