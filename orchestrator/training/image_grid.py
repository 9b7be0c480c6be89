"""Draw a grid of images with captions. Imports Pillow alone, not torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

_TILE = 96  # pixels of one image's side, about
_CAPTION = 34  # pixels of two lines of text
_GAP = 10
_MARGIN = 14
_TITLE = 34
_INK, _FAINT, _RIGHT, _WRONG, _WHITE = "#1f2328", "#6e7781", "#1a7f37", "#cf222e", "#ffffff"


def draw_grid(
    pictures: Sequence[Image.Image], truths: Sequence[str], guesses: Sequence[str | None], *, title: str
) -> Image.Image:
    """Draw all images in one, each with its prediction: green if right; red if wrong, with the true label below.

    ``guesses`` are the predicted labels. If one is None (the model does not classify), the true label is shown alone.
    """
    columns = min(8, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    scale = max(1, round(_TILE / max(pictures[0].size)))
    width, height = (side * scale for side in pictures[0].size)
    cell = (max(width, _TILE) + _GAP, height + _CAPTION + _GAP)
    headline, font = _headline(title, truths, guesses), ImageFont.load_default(18)
    across = max(columns * cell[0] - _GAP, math.ceil(font.getlength(headline)))
    size = (2 * _MARGIN + across, 2 * _MARGIN - _GAP + _TITLE + rows * cell[1])
    grid = Image.new("RGB", size, _WHITE)
    draw = ImageDraw.Draw(grid)
    draw.text((_MARGIN, _MARGIN), headline, _INK, font=font)
    for number, (picture, truth, guess) in enumerate(zip(pictures, truths, guesses, strict=True)):
        x = _MARGIN + number % columns * cell[0]
        y = _MARGIN + _TITLE + number // columns * cell[1]
        grid.paste(picture.resize((width, height), Image.Resampling.NEAREST), (x, y))
        _write_caption(draw, (x, y + height + 3), truth, guess, width=cell[0] - _GAP)
    return grid


def _write_caption(
    draw: ImageDraw.ImageDraw, position: tuple[int, int], truth: str, guess: str | None, *, width: int
) -> None:
    font = ImageFont.load_default(13)
    is_right = guess is None or guess == truth
    first = truth if guess is None else guess
    colour = _INK if guess is None else _RIGHT if is_right else _WRONG
    draw.text(position, _shortened(draw, first, font, width), colour, font=font)
    if not is_right:
        draw.text((position[0], position[1] + 15), _shortened(draw, f"is {truth}", font, width), _FAINT, font=font)


def _shortened(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(f"{text}…", font=font) > width:
        text = text[:-1]
    return f"{text}…"


def _headline(title: str, truths: Sequence[str], guesses: Sequence[str | None]) -> str:
    if any(guess is None for guess in guesses):
        return title
    correct = sum(truth == guess for truth, guess in zip(truths, guesses, strict=True))
    return f"{title}: {correct} of {len(truths)} right"
