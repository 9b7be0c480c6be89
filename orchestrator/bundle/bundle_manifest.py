"""MANIFEST.json: the files of a bundle with their digests, and the check that they are unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.durable_files import fingerprint
from orchestrator.errors import CheckpointError, UsageError

MANIFEST, CONFIG, PREPROCESSING, CARD = "MANIFEST.json", "config.json", "preprocessing.json", "README.md"
CHECKPOINT, SAFETENSORS, ONNX, PROGRAM = "model.ckpt", "model.safetensors", "model.onnx", "model.pt2"
LIGHTNING = "lightning.ckpt"
"""The checkpoint as a plain Trainer writes it: reading it may run code."""

CURVE, DIFF = "learning_curve.svg", "git.diff"

FORMAT = 2
_DIGEST = "sha256"
_HINT = "export it again, or fetch another copy"


@dataclass(frozen=True)
class Manifest:
    """The content of a bundle's MANIFEST.json, whose files are verified.

    Attributes:
        folder: the bundle's folder.
        files: name → size in bytes and SHA-256.
        missing: format → reason why the bundle lacks it.
        parity: format → comparison with the checkpoint.
        content: everything that the file holds.
    """

    folder: Path
    files: Mapping[str, tuple[int, str]]
    missing: Mapping[str, str]
    parity: Mapping[str, Mapping[str, Any]]
    content: Mapping[str, Any]

    def has(self, name: str) -> bool:
        """Return whether the bundle lists a file of that name."""
        return name in self.files

    def read_json(self, name: str) -> Any:
        """Return the content of a listed JSON file. Raises CheckpointError if the bundle does not list it."""
        if name not in self.files:
            raise CheckpointError(f"{self.folder} has no {name}", hint=_HINT)
        return json.loads((self.folder / name).read_bytes())


def dump(value: Any) -> bytes:
    """Return a value as JSON in the one form, to the byte, that every file of a bundle has."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def seal(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of MANIFEST.json, which end in a SHA-256 of the rest."""
    return dump({**content, _DIGEST: hashlib.sha256(dump(dict(content))).hexdigest()})


def verify_bundle(path: str | Path) -> Manifest:
    """Compare names, sizes and SHA-256 of all files that a bundle lists, and return its manifest.

    Files that are not listed are ignored.

    Raises:
        CheckpointError: a file differs or is missing; names the first one.
        UsageError: ``path`` is not a bundle.
    """
    folder = Path(path)
    content = _content(folder / MANIFEST)
    files = {name: (record["size"], record["sha256"]) for name, record in content["files"].items()}
    for name, expected in files.items():
        _verify_file(folder, name, expected)
    return Manifest(folder, files, content["missing"], content["parity"], content)


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():
        kind = "is not a bundle: it has no" if file.parent.is_dir() else "is not a folder with a"
        raise UsageError(f"{file.parent} {kind} {file.name}", hint="sweep export NAME makes one")
    text = file.read_bytes()
    try:
        content = json.loads(text)
        if isinstance(content, dict) and content.get("format") == 1 and _DIGEST not in content:
            raise UsageError(f"{file.parent} is a bundle of an earlier version", hint="export it again")
        if seal({name: value for name, value in content.items() if name != _DIGEST}) == text:
            return content  # type: ignore[no-any-return]
    except (ValueError, AttributeError, RecursionError):
        pass
    raise CheckpointError(f"{file} is damaged: it is not what was written", hint=_HINT)


def _verify_file(folder: Path, name: str, expected: tuple[int, str]) -> None:
    path = folder / name
    if path.name != name:
        raise CheckpointError(f"{folder / MANIFEST} lists {name!r}, which is no file's name", hint=_HINT)
    if not path.is_file():
        raise CheckpointError(f"{path} is missing", hint=_HINT)
    if path.stat().st_size != expected[0]:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes, but {expected[0]} were written", hint=_HINT)
    if fingerprint(path) != expected:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not what was written", hint=_HINT)
