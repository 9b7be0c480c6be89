"""LightningModules that come with the package: the systems of Lightning's and W&B's tutorials, with arguments to sweep.

A sweep file names them by import path (``orchestrator.models.LitModel``). Nothing else in the package imports them.
"""

from orchestrator.models.autoencoder import Decoder, Encoder, LitAutoEncoder
from orchestrator.models.classifier import MLP, LitClassifier
from orchestrator.models.convnet import LitModel

__all__ = ["MLP", "Decoder", "Encoder", "LitAutoEncoder", "LitClassifier", "LitModel"]
