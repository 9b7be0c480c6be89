"""Data without a DataModule: DataLoaders, Datasets, or a mapping of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset

from orchestrator.errors import UsageError

_STAGES = ("train", "val", "test", "predict")


class LoadersData(LightningDataModule):
    """A DataModule around a DataLoader or Dataset for each stage.

    Args:
        train: a DataLoader or Dataset, or several of them.
        val: likewise, for validation.
        test: likewise, for the test.
        predict: likewise, for predictions.
        batch_size: of the loaders that are made around Datasets.
        num_workers: likewise.
        shuffle: whether the training loader made around a Dataset shuffles.
    """

    def __init__(
        self,
        train: Any,
        val: Any = None,
        test: Any = None,
        predict: Any = None,
        *,
        batch_size: int = 1,
        num_workers: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self._options: dict[str, Any] = {"num_workers": num_workers}
        self._shuffle = shuffle
        self._sources = {"train": train, "val": val, "test": test, "predict": predict}
        for stage, source in self._sources.items():
            if source is None:  # as in a DataModule that does not define it
                setattr(self, f"{stage}_dataloader", getattr(super(), f"{stage}_dataloader"))

    def train_dataloader(self) -> Any:
        """Return the loaders for training."""
        return self._loaders("train", shuffle=self._shuffle)

    def val_dataloader(self) -> Any:
        """Return the loaders for validation."""
        return self._loaders("val")

    def test_dataloader(self) -> Any:
        """Return the loaders for the test."""
        return self._loaders("test")

    def predict_dataloader(self) -> Any:
        """Return the loaders for predictions."""
        return self._loaders("predict")

    def _loaders(self, stage: str, *, shuffle: bool = False) -> Any:
        return self._loader(self._sources[stage], shuffle=shuffle)

    def _loader(self, source: Any, *, shuffle: bool) -> Any:
        if isinstance(source, list | tuple):
            return [self._loader(each, shuffle=shuffle) for each in source]
        if isinstance(source, Mapping):
            return {name: self._loader(each, shuffle=shuffle) for name, each in source.items()}
        if not isinstance(source, Dataset):
            return source
        shuffle = shuffle and not isinstance(source, IterableDataset)
        return DataLoader(source, self.batch_size, shuffle=shuffle, **self._options)


def as_datamodule(value: Any, path: str) -> LightningDataModule:
    """Return data as a DataModule: one stays, loaders and Datasets get one around them.

    Args:
        value: a DataModule, a DataLoader, a Dataset, a tuple of up to four for train, val, test and predict, or a
            mapping with these names.
        path: where it comes from, for the error.

    Raises:
        UsageError: It is none of these.
    """
    if isinstance(value, LightningDataModule):
        return value
    if isinstance(value, tuple) and 0 < len(value) <= len(_STAGES) and all(map(_is_source, value)):
        return LoadersData(*value)
    if isinstance(value, Mapping) and "train" in value and value.keys() <= {*_STAGES, "batch_size", "num_workers"}:
        return LoadersData(**value)
    if _is_source(value):
        return LoadersData(value)
    raise UsageError(
        f"{path} returned {type(value).__name__}, which is no data",
        hint="return a LightningDataModule, a DataLoader, a Dataset, or {'train': …, 'val': …} of these",
    )


def _is_source(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_is_source, value))
    return isinstance(value, DataLoader | Dataset) or (hasattr(value, "__iter__") and hasattr(value, "dataset"))
