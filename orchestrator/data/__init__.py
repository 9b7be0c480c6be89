"""DataModules that come with the package: images decoded once a node, batches built by tensor operations, seeded order.

A sweep file names them by import path (``orchestrator.data.CIFAR10DataModule``). Nothing else in the package imports
them.
"""

from orchestrator.data.cifar10 import CIFAR10DataModule
from orchestrator.data.digits import DigitsDataModule
from orchestrator.data.mnist import FashionMNISTDataModule, MNISTDataModule
from orchestrator.data.python_text import PythonTextDataModule

__all__ = ["CIFAR10DataModule", "DigitsDataModule", "FashionMNISTDataModule", "MNISTDataModule", "PythonTextDataModule"]
