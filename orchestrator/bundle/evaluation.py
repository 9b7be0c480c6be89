"""Score a bundle: by its module's validation loop, or on folders of images named as its classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.bundle.bundle_manifest import CHECKPOINT, CONFIG, Manifest
from orchestrator.bundle.image_input import SUFFIXES
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.bundle.loading import Bundle


@dataclass(frozen=True)
class ClassificationScore:
    """The score of a classifier.

    Attributes:
        images: number of images.
        accuracy: share of images classified correctly.
        classes: class → number of correct images, number of images.
        confused: (class, predicted class, count) of the mistakes, most frequent first.
    """

    images: int
    accuracy: float
    classes: Mapping[str, tuple[int, int]]
    confused: Sequence[tuple[str, str, int]]


def validate(
    manifest: Manifest, class_path: str | None = None, arguments: Mapping[str, Any] | None = None
) -> dict[str, float]:
    """Return the module's metrics on validation data, computed by ``Trainer.validate``.

    Precision and ``limit_val_batches`` are those of the training. Test data are not used. The classes that config.json
    names are imported and built: use this only for bundles you trust.

    Args:
        manifest: the verified bundle.
        class_path: import path of a DataModule to use instead of the bundle's own.
        arguments: arguments of the DataModule to override.

    Raises:
        UsageError: there is no DataModule, or a class cannot be built.
    """
    from orchestrator.training.checkpoint_evaluation import Evaluation
    from orchestrator.training.class_loading.import_paths import import_from

    config = manifest.read_json(CONFIG)
    import_from([str(Path.cwd())])
    data = _data(config, class_path, arguments or {})
    evaluation = Evaluation("validate", config["model"], data, config["trainer"], config["seed"])
    return evaluation.run(manifest.folder / CHECKPOINT)


def parse_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Return the arguments of ``name=value`` texts; a value is parsed as JSON if it can be. Raises UsageError."""
    arguments: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"--set {text} is not of the form NAME=VALUE", hint="e.g. --set data_dir=./data")
        try:
            arguments[name.strip()] = json.loads(value)
        except ValueError:
            arguments[name.strip()] = value
    return arguments


def score_folder(bundle: Bundle, folder: Path) -> ClassificationScore:
    """Score a classifier on the images below ``folder``, whose sub-folders are named as classes.

    Raises:
        UsageError: the model does not classify, a sub-folder is not named as a class, or there are no images.
    """
    if not bundle.preprocessing.classifies:
        raise UsageError(f"the model in {bundle.folder} does not classify", hint="leave out --data DIR")
    pairs = list(_labelled_images(folder, bundle.classes))
    if not pairs:
        raise UsageError(f"{folder} holds no images", hint=f"it needs sub-folders named {_listing(bundle.classes)}")
    predictions = [prediction.label for prediction in bundle.predict([path for _, path in pairs])]
    return score([truth for truth, _ in pairs], predictions)


def score(truths: Sequence[str], predictions: Sequence[str]) -> ClassificationScore:
    """Return the score of predicted classes, given the true classes in the same order."""
    pairs = Counter(zip(truths, predictions, strict=True))
    totals = Counter(truths)
    classes = {name: (pairs[name, name], total) for name, total in sorted(totals.items())}
    mistakes = sorted(((count, *pair) for pair, count in pairs.items() if pair[0] != pair[1]), reverse=True)
    correct = sum(correct for correct, _ in classes.values())
    confused = [(truth, predicted, count) for count, truth, predicted in mistakes]
    return ClassificationScore(len(truths), correct / len(truths), classes, confused)


def _data(config: Mapping[str, Any], class_path: str | None, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return ``{class_path, init_args}`` of the DataModule; None for a module with loaders of its own."""
    data: Any = {"class_path": class_path} if class_path else config["data"]
    if data is None and arguments:
        raise UsageError("the bundle has no DataModule that takes arguments", hint="name one: --data IMPORT.PATH")
    return None if data is None else {**data, "init_args": {**(data.get("init_args") or {}), **arguments}}


def _labelled_images(folder: Path, classes: Sequence[str]) -> Iterator[tuple[str, Path]]:
    """Yield class and image of each sub-folder. A slash in a class is ``_`` in its folder's name."""
    names = {name.replace("/", "_"): name for name in classes} | {name: name for name in classes}
    for subfolder in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if subfolder.name not in names:
            raise UsageError(f"{subfolder} is not named as a class", hint=f"the classes are {_listing(classes)}")
        for path in sorted(subfolder.rglob("*")):
            if path.suffix.lower() in SUFFIXES and path.is_file():
                yield names[subfolder.name], path


def _listing(classes: Sequence[str]) -> str:
    return ", ".join(classes[:12]) + (", …" if len(classes) > 12 else "")
