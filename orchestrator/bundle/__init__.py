"""Read a bundle: an exported model whose files are verified before they are used.

`manifest` verifies the files, `preprocessing` converts images to the model's input, `loading` has
``orchestrator.load_bundle``, `evaluation` scores a bundle on data, `replay` trains it again. The room knows neither Ray
nor journals; torch is imported only where it is used.
"""

from orchestrator.bundle.bundle_manifest import Manifest, verify_bundle
from orchestrator.bundle.loading import Bundle, Prediction, load_bundle
from orchestrator.bundle.preprocessing import Preprocessing

__all__ = ["Bundle", "Manifest", "Prediction", "Preprocessing", "load_bundle", "verify_bundle"]
