"""The shipped LightningModules: each is the tutorial's or the guide's system with its choices made arguments.

Named in sweep files by import path (``orchestrator.models.LitModel``). Nothing else in the package imports them.
"""

from orchestrator.models.autoencoder import Decoder, Encoder, LitAutoEncoder
from orchestrator.models.classifier import MLP, LitClassifier
from orchestrator.models.convnet import LitModel

__all__ = ["MLP", "Decoder", "Encoder", "LitAutoEncoder", "LitClassifier", "LitModel"]
