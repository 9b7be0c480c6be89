"""Optional dependencies: which extra brings a library, and the error where it is not installed.

Call `require` before any work that would need the library later::

    require("onnx", "onnxruntime", purpose="export format onnx")
"""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.errors import UsageError

# Import name of a library -> the extra that installs it. A test holds this against pyproject.toml.
EXTRAS: dict[str, str] = {
    "boto3": "cloud",
    "googleapiclient": "cloud",
    "matplotlib": "export",
    "mlflow": "trackers",
    "obstore": "cloud",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "safetensors": "export",
    "trackio": "trackio",
}


class MissingExtraError(UsageError):
    """A library of an extra is not installed. The hint is the command that installs it."""

    code = "missing_extra"

    def __init__(self, libraries: list[str], purpose: str) -> None:
        extra = EXTRAS[libraries[0]]
        verb = "is" if len(libraries) == 1 else "are"
        super().__init__(
            f"{purpose} needs {' and '.join(libraries)}, which {verb} not installed",
            hint=f"pip install 'sweep-orchestrator[{extra}]'",
        )
        self.extra = extra


def require(*libraries: str, purpose: str) -> None:
    """Check that libraries of an extra are installed, without importing them.

    Args:
        libraries: import names; each is a key of `EXTRAS`.
        purpose: what needs them, as the subject of a sentence: ``"export format onnx"``.

    Raises:
        MissingExtraError: at least one is not installed.
    """
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise MissingExtraError(missing, purpose)
