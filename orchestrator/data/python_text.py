"""PythonText: the reference of the Python language, as a text to learn. It comes with Python; no download."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from torch import Tensor

from orchestrator.data.batch_loader import BatchOrder, base_seed

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
"""The characters of the vocabulary, by their tokens; the last token stands for every other character."""

VOCABULARY = len(CHARACTERS) + 1
_TOKENS = {character: token for token, character in enumerate(CHARACTERS)}


def encode(text: str) -> Tensor:
    """Return the tokens of a text, (characters,) int64."""
    return torch.tensor([_TOKENS.get(character, len(CHARACTERS)) for character in text], dtype=torch.int64)


@functools.cache
def _text() -> Tensor:
    from pydoc_data.topics import topics

    return encode("\n".join(topics[name] for name in sorted(topics)))


class TokenBatches:
    """Batches of windows of a text, each window once a pass, in a seeded order: an iterable with a length and a place.

    A batch is (inputs (N, context), targets (N, context)), both int64; the last of a pass may be smaller. In a group of
    processes each gets every world-size-th window, and all get the same number.

    Args:
        text: (characters,) int64, longer than ``context``.
        batch_size: windows in a batch.
        context: characters in an input.
        seed: of the order, with the number of the pass; None keeps the order of the text.
    """

    def __init__(self, text: Tensor, *, batch_size: int, context: int, seed: int | None = None) -> None:
        self.text, self.context = text, context
        windows = torch.arange((len(text) - 1) // context)
        self.order = BatchOrder(windows, batch_size=batch_size, seed=seed)
        self._begin = self._next = 0  # batches of a pass: where the next one begins, and how many this one has given

    def set_epoch(self, epoch: int) -> None:
        """Set the number of finished passes; Lightning calls this before each."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Return the batches of a whole pass, or of the rest of the one that `load_state_dict` named."""
        first, self._begin = self._begin, 0
        self._next = first
        return self._batches_from(first)

    def _batches_from(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield them. A loop that knows the length never asks for what comes after the last one."""
        offsets, count = torch.arange(self.context), len(self)
        for number, windows in enumerate(self.order):
            if number < first:
                continue
            places = windows[:, None] * self.context + offsets
            self._next = (number + 1) % count
            yield self.text[places], self.text[places + 1]

    def state_dict(self) -> dict[str, Any]:
        """Return the place: the number of batches of this pass so far; 0 after the last one."""
        return {"batches": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass begin at a place."""
        self._begin = self._next = state["batches"]


class PythonTextDataModule(L.LightningDataModule):
    """The reference of the Python language: some 465,000 characters, a tenth each for validation and for the test.

    Batches are (inputs (N, context), targets (N, context)), both int64: tokens of characters, and those that follow
    them. The text is that of the running Python, so it differs a little from version to version.

    Attributes:
        characters: the vocabulary, in the order of its tokens.

    Source: ``pydoc_data.topics`` of the standard library, under the licence of Python (PSF-2.0).

    Args:
        batch_size: windows in a batch.
        context: characters in an input.
        seed: of the order of windows; None uses the seed of ``lightning.seed_everything``.

    Raises:
        ValueError: a size is out of range.

    Example:
        >>> from orchestrator.data import PythonTextDataModule
        >>> data = PythonTextDataModule(batch_size=8, context=64)
        >>> data.setup("fit")
        >>> inputs, targets = next(iter(data.train_dataloader()))
        >>> tuple(inputs.shape), bool((inputs[:, 1:] == targets[:, :-1]).all())
        ((8, 64), True)
    """

    characters = CHARACTERS

    def __init__(self, batch_size: int = 16, context: int = 128, seed: int | None = None) -> None:
        super().__init__()
        if batch_size < 1 or not 1 <= context <= 4096:
            raise ValueError(
                f"`batch_size >= 1` and `1 <= context <= 4096` must hold, but got {batch_size} and {context}"
            )
        self.batch_size, self.context, self.seed = batch_size, context, seed

    def train_dataloader(self) -> TokenBatches:
        """Return the training windows, in a seeded order."""
        return self._batches(slice(0, 8), base_seed(self.seed))

    def val_dataloader(self) -> TokenBatches:
        """Return the validation windows, in the order of the text."""
        return self._batches(slice(8, 9))

    def predict_dataloader(self) -> TokenBatches:
        """Return the validation windows."""
        return self.val_dataloader()

    def test_dataloader(self) -> TokenBatches:
        """Return the test windows, in the order of the text."""
        return self._batches(slice(9, 10))

    def _batches(self, tenths: slice, seed: int | None = None) -> TokenBatches:
        tenth = len(_text()) // 10
        part = _text()[tenths.start * tenth : tenths.stop * tenth]
        return TokenBatches(part, batch_size=self.batch_size, context=self.context, seed=seed)
