"""LightningModules that come with the package, with arguments to sweep.

They are the systems of Lightning's and W&B's tutorials, and a small language model. A sweep file names them by import
path (``orchestrator.models.LitModel``). Nothing else in the package imports them.
"""

from orchestrator.models.autoencoder import Decoder, Encoder, LitAutoEncoder
from orchestrator.models.classifier import MLP, LitClassifier
from orchestrator.models.convnet import LitModel
from orchestrator.models.gpt import LitGPT

__all__ = ["MLP", "Decoder", "Encoder", "LitAutoEncoder", "LitClassifier", "LitGPT", "LitModel"]
