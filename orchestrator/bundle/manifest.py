"""MANIFEST.json: what is in a bundle, to the bit, and whether that is what is there."""

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
CURVE, DIFF = "learning_curve.svg", "git.diff"

FORMAT = 2
_DIGEST = "sha256"
_HINT = "export it again, or fetch another copy"


@dataclass(frozen=True)
class Manifest:
    """What a bundle's MANIFEST.json says, after every file that it lists was found to be what was written.

    ``files``: name → size in bytes and SHA-256; ``missing``: format → why the bundle is without it; ``parity``:
    format → how it was compared with the checkpoint; ``content``: all that the file holds.
    """

    folder: Path
    files: Mapping[str, tuple[int, str]]
    missing: Mapping[str, str]
    parity: Mapping[str, Mapping[str, Any]]
    content: Mapping[str, Any]

    def has(self, name: str) -> bool:
        return name in self.files

    def read_json(self, name: str) -> Any:
        """A listed file's JSON. Raises CheckpointError where the bundle has no such file."""
        if name not in self.files:
            raise CheckpointError(f"{self.folder} has no {name}", hint=_HINT)
        return json.loads((self.folder / name).read_bytes())


def dump(value: Any) -> bytes:
    """JSON as every file of a bundle has it: a value has one form, to the byte."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def seal(content: Mapping[str, Any]) -> bytes:
    """The bytes of MANIFEST.json, a SHA-256 of the rest of it at its end."""
    return dump({**content, _DIGEST: hashlib.sha256(dump(dict(content))).hexdigest()})


def verify_bundle(path: str | Path) -> Manifest:
    """Compare every file that a bundle lists with what was written: names, sizes, SHA-256, and the list itself.

    Files that are not listed are passed over. Raises CheckpointError that names the first file that differs or is
    gone, UsageError where ``path`` is no bundle.
    """
    folder = Path(path)
    content = _content(folder / MANIFEST)
    files = {name: (said["size"], said["sha256"]) for name, said in content["files"].items()}
    for name, written in files.items():
        _compare(folder, name, written)
    return Manifest(folder, files, content["missing"], content["parity"], content)


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():
        kind = "is not a bundle: it has no" if file.parent.is_dir() else "is not a folder with a"
        raise UsageError(f"{file.parent} {kind} {file.name}", hint="sweep export NAME makes one")
    written = file.read_bytes()
    try:
        content = json.loads(written)
        if isinstance(content, dict) and content.get("format") == 1 and _DIGEST not in content:
            raise UsageError(f"{file.parent} is a bundle of an earlier version", hint="export it again")
        if seal({name: value for name, value in content.items() if name != _DIGEST}) == written:
            return content  # type: ignore[no-any-return]
    except (ValueError, AttributeError, RecursionError):
        pass
    raise CheckpointError(f"{file} is damaged: it is not what was written", hint=_HINT)


def _compare(folder: Path, name: str, written: tuple[int, str]) -> None:
    path = folder / name
    if path.name != name:
        raise CheckpointError(f"{folder / MANIFEST} lists {name!r}, which is no file's name", hint=_HINT)
    if not path.is_file():
        raise CheckpointError(f"{path} is gone", hint=_HINT)
    if path.stat().st_size != written[0]:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes, but {written[0]} were written", hint=_HINT)
    if fingerprint(path) != written:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not what was written", hint=_HINT)
