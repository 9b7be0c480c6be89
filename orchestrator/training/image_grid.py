"""A grid of pictures with captions. Needs Pillow alone, so that it costs no import of torch."""

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
_INK, _FAINT, _RIGHT, _WRONG, _PAPER = "#1f2328", "#6e7781", "#1a7f37", "#cf222e", "#ffffff"


def draw_grid(
    pictures: Sequence[Image.Image], truths: Sequence[str], guesses: Sequence[str | None], *, title: str
) -> Image.Image:
    """One picture of all, each with its prediction (green where right, red where wrong, then the true label below)."""
    columns = min(8, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    scale = max(1, round(_TILE / max(pictures[0].size)))
    width, height = (side * scale for side in pictures[0].size)
    cell = (max(width, _TILE) + _GAP, height + _CAPTION + _GAP)
    headline, font = _headline(title, truths, guesses), ImageFont.load_default(18)
    across = max(columns * cell[0] - _GAP, math.ceil(font.getlength(headline)))
    size = (2 * _MARGIN + across, 2 * _MARGIN - _GAP + _TITLE + rows * cell[1])
    grid = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(grid)
    draw.text((_MARGIN, _MARGIN), headline, _INK, font=font)
    for number, (picture, truth, guess) in enumerate(zip(pictures, truths, guesses, strict=True)):
        left = _MARGIN + number % columns * cell[0]
        top = _MARGIN + _TITLE + number // columns * cell[1]
        grid.paste(picture.resize((width, height), Image.Resampling.NEAREST), (left, top))
        _write_caption(draw, (left, top + height + 3), truth, guess, room=cell[0] - _GAP)
    return grid


def _write_caption(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], truth: str, guess: str | None, *, room: int
) -> None:
    font = ImageFont.load_default(13)
    right = guess is None or guess == truth
    first = truth if guess is None else guess
    colour = _INK if guess is None else _RIGHT if right else _WRONG
    draw.text(place, _fitted(draw, first, font, room), colour, font=font)
    if not right:
        draw.text((place[0], place[1] + 15), _fitted(draw, f"is {truth}", font, room), _FAINT, font=font)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Any, room: int) -> str:
    if draw.textlength(text, font=font) <= room:
        return text
    while text and draw.textlength(f"{text}…", font=font) > room:
        text = text[:-1]
    return f"{text}…"


def _headline(title: str, truths: Sequence[str], guesses: Sequence[str | None]) -> str:
    if any(guess is None for guess in guesses):
        return title
    right = sum(truth == guess for truth, guess in zip(truths, guesses, strict=True))
    return f"{title}: {right} of {len(truths)} right"
