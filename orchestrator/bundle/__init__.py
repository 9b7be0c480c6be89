"""A bundle read: a model that was exported, every file compared with what was written before any is used.

`manifest` says what is whole, `preprocessing` how a picture becomes the model's input, `loaded` is what
``orchestrator.load_bundle`` gives, `evaluation` scores it on data. Knows neither Ray nor journals; what needs torch
imports it when it is used.
"""

from orchestrator.bundle.loading import Bundle, Prediction, load_bundle
from orchestrator.bundle.manifest import Manifest, verify_bundle
from orchestrator.bundle.preprocessing import Preprocessing

__all__ = ["Bundle", "Manifest", "Prediction", "Preprocessing", "load_bundle", "verify_bundle"]
