"""A bundle scored on data: by its module's own validation, or on folders of pictures named as its classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.bundle.image_input import SUFFIXES
from orchestrator.bundle.manifest import Manifest
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.bundle.loading import Bundle


@dataclass(frozen=True)
class Counted:
    """How a classifier did on ``images`` pictures: ``accuracy``, and per class how many were right of how many.

    ``confused`` are the commonest mistakes, as (is, was taken for, times), most first.
    """

    images: int
    accuracy: float
    classes: Mapping[str, tuple[int, int]]
    confused: Sequence[tuple[str, str, int]]


def validate(
    manifest: Manifest, class_path: str | None = None, changed: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The module's metrics on validation data, by ``Trainer.validate``: name → value.

    The data are the bundle's own DataModule's, or those of the one at ``class_path``; ``changed`` are arguments for it.
    Precision and ``limit_val_batches`` are the training's. The test data are not touched. Builds the classes that
    config.json names: only for bundles you trust. Raises UsageError where there is no DataModule or one cannot be
    built.
    """
    from orchestrator.bundle.torch_validation import validated

    return validated(manifest, class_path, changed or {})


def arguments(texts: Sequence[str]) -> dict[str, Any]:
    """``name=value`` each; a value that is JSON is read as that, any other is text. Raises UsageError."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"--set {text}: an argument and a value are wanted", hint="e.g. --set data_dir=./data")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            found[name.strip()] = value
    return found


def count(bundle: Bundle, folder: Path) -> Counted:
    """A classifier on the pictures below ``folder``, where each sub-folder is named as a class.

    Raises UsageError where a sub-folder is named as no class, or there are no pictures.
    """
    if not bundle.preprocessing.classifies:
        raise UsageError(f"the model in {bundle.folder} does not classify", hint="leave out --data DIR")
    pairs = list(_labelled(folder, bundle.classes))
    if not pairs:
        raise UsageError(f"{folder} holds no pictures", hint=f"it needs sub-folders named {_some(bundle.classes)}")
    guesses = [prediction.label for prediction in bundle.predict([path for _, path in pairs])]
    return counted([truth for truth, _ in pairs], guesses)


def counted(truths: Sequence[str], guesses: Sequence[str]) -> Counted:
    """What became of each, the truth known."""
    pairs = Counter(zip(truths, guesses, strict=True))
    totals = Counter(truths)
    classes = {name: (pairs[name, name], total) for name, total in sorted(totals.items())}
    wrong = sorted(((times, *pair) for pair, times in pairs.items() if pair[0] != pair[1]), reverse=True)
    right = sum(of_class for of_class, _ in classes.values())
    return Counted(len(truths), right / len(truths), classes, [(truth, guess, times) for times, truth, guess in wrong])


def _labelled(folder: Path, classes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Class and picture, of every sub-folder. A slash, which no folder's name can hold, may be written as ``_``."""
    names = {name.replace("/", "_"): name for name in classes} | {name: name for name in classes}
    for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if below.name not in names:
            raise UsageError(f"{below} is named as no class", hint=f"the classes are {_some(classes)}")
        for path in sorted(below.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield names[below.name], path


def _some(classes: Sequence[str]) -> str:
    return ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
