"""The shipped DataModules: images decoded once a node, batches made whole by tensor operations, in a seeded order.

Named in sweep files by import path (``orchestrator.data.CIFAR10DataModule``). Nothing else in the package imports them.
"""

from orchestrator.data.cifar10 import CIFAR10DataModule
from orchestrator.data.digits import DigitsDataModule
from orchestrator.data.mnist import FashionMNISTDataModule, MNISTDataModule

__all__ = ["CIFAR10DataModule", "DigitsDataModule", "FashionMNISTDataModule", "MNISTDataModule"]
