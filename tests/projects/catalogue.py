"""The projects that `make test-projects` sweeps: where each comes from, and what it is installed with."""

from __future__ import annotations

from dataclasses import dataclass

_LIGHTNING = "https://github.com/Lightning-AI/pytorch-lightning"
_TEMPLATE = "https://github.com/ashleve/lightning-hydra-template"
_WANDB = "https://github.com/wandb/examples"
_MNIST = (("mnist.py", "projects/programs/mnist.py"),)


@dataclass(frozen=True)
class Source:
    """A repository at a commit, of which some folders are checked out into ``source/``."""

    url: str
    commit: str
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Project:
    """One project.

    Its folder under ``programs/`` has the sweep file, the code that a user of a library writes, and ``prepare.py``,
    which writes the data that replace those of the internet; unless ``files`` and ``prepare`` name others.

    Attributes:
        name: of its folder.
        title: for the table.
        door: ``class``, ``function`` or ``script``.
        packages: requirements, installed beside this project's.
        source: where its code is cloned from; None if it is in the packages or in its folder.
        version: the package whose version the table names; empty for the commit of ``source``.
        imported: a foreign sweep file that ``sweep import`` translates, from which the sweep file is made.
        files: what is copied into its folder beside that: the name there, and the place among the tests.
        prepare: the program that writes the data, with its arguments.
        short: overrides that shorten the trials, ``key=value``.
        remark: what the table says of it in any case.
    """

    name: str
    title: str
    door: str
    packages: tuple[str, ...] = ()
    source: Source | None = None
    version: str = ""
    imported: str = ""
    files: tuple[tuple[str, str], ...] = ()
    prepare: tuple[str, ...] = ("prepare.py",)
    short: tuple[str, ...] = ()
    remark: str = ""


PROJECTS = (
    Project("chemprop", "chemprop, its command", "script", ("chemprop",), version="chemprop"),
    Project(
        "tft",
        "pytorch-forecasting's TFT",
        "class",
        ("pytorch-forecasting",),
        version="pytorch-forecasting",
        short=("trainer.max_epochs=2", "trainer.limit_train_batches=4"),
    ),
    Project("neuralforecast", "neuralforecast", "function", ("neuralforecast",), version="neuralforecast"),
    Project("scvi", "scvi-tools", "function", ("scvi-tools",), version="scvi-tools"),
    Project("darts", "darts", "function", ("darts",), version="darts"),
    Project("lightly", "a SimCLR module on lightly", "class", ("lightly",), version="lightly"),
    Project("resnet", "torchvision's resnet18 by function", "class", version="torchvision"),
    Project(
        "hydra_template",
        "lightning-hydra-template",
        "script",
        ("hydra-core==1.3.*", "hydra-colorlog", "rootutils"),
        Source(_TEMPLATE, "bddbc24b82ab6ccfa6243e815a49dc5bfe8d4144", ("",)),
        files=_MNIST,
        prepare=("mnist.py", "source/data/MNIST/raw", "600", "200"),
        remark="from torch 2.6 on its test after the training fails without a sweep, too; `test: false` leaves it out.",
    ),
    Project("lightning_cli", "a LightningCLI project with optimizer sections", "script", version="lightning"),
    Project(
        "gan",
        "Lightning's GAN example",
        "script",
        ("tensorboard",),
        Source(_LIGHTNING, "7f0c3436cd3f6ad3753125672024fc415cbcb414", ("examples/pytorch/domain_templates",)),
        files=_MNIST,
        prepare=("mnist.py", "data/MNIST/raw", "60000", "10000"),
    ),
    Project(
        "argparse",
        "an argparse script",
        "script",
        version="lightning",
        files=(("train.py", "support/programs/argparse_trainer.py"),),
    ),
    Project(
        "wandb_sweep",
        "a W&B sweep with its script",
        "script",
        ("requests",),
        Source(_WANDB, "5cab88702fc51edfb4afc79a1de89e9acf6cb605", ("examples/pytorch/pytorch-cnn-fashion",)),
        imported="source/examples/pytorch/pytorch-cnn-fashion/sweep-grid-hyperband.yaml",
        remark="its script saves nothing to continue from, so the trial that was interrupted starts again.",
    ),
)
