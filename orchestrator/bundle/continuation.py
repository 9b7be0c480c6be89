"""Continue a text with an exported model of characters, for ``sweep predict``."""

from __future__ import annotations

import numpy as np

from orchestrator.bundle.loading import Bundle
from orchestrator.errors import UsageError

TEMPERATURE = 0.8
"""Scores are divided by it before characters are drawn: below 1, probable ones become more so."""


def continue_text(bundle: Bundle, text: str, length: int, *, seed: int = 0) -> str:
    """Return a text and what the model writes after it.

    The model sees the last characters that fit into its input. A shorter text is filled up at its end, which a model
    that looks back only does not see.

    Args:
        bundle: of a model of characters.
        text: how it begins; at least one character.
        length: how many characters to add.
        seed: of the draws: the same text and seed give the same continuation.

    Raises:
        UsageError: the model is not one of characters, or the text is empty.
    """
    characters = _characters(bundle)
    if not text:
        raise UsageError("there is no text to continue", hint="give at least one character")
    context = int(bundle.preprocessing.input_shape[1] or 0)
    unknown = len(characters)
    token_of = {character: token for token, character in enumerate(characters)}
    known = (bundle.preprocessing.output_shape[2] or 0) > unknown
    if not known and (strange := sorted(set(text) - set(characters))):
        raise UsageError(f"the model does not know the character {strange[0]!r}")
    tokens = [token_of.get(character, unknown) for character in text]
    random = np.random.default_rng(seed)
    for _ in range(length):
        seen = tokens[-context:]
        inputs = np.zeros((1, context), np.dtype(bundle.preprocessing.input_type))
        inputs[0, : len(seen)] = seen
        scores = bundle.outputs(inputs)[0, len(seen) - 1, :unknown].astype(np.float64) / TEMPERATURE
        weights = np.exp(scores - scores.max())
        tokens.append(int(random.choice(unknown, p=weights / weights.sum())))
    return text + "".join(characters[token] for token in tokens[len(text) :])


def _characters(bundle: Bundle) -> str:
    characters = bundle.preprocessing.characters
    if characters is None:
        raise UsageError(
            f"the model in {bundle.folder} does not write text",
            hint="give the DataModule `characters`, a string whose n-th character is token n, and export again",
        )
    return characters
