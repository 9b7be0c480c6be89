"""Tell words, names and numbers, which occur in ordinary text, from keys and passwords."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"[-+\d.,:/ ]{1,15}(?:e[-+]?\d{1,3})?", re.IGNORECASE)
_DIGITS = re.compile(r"[-+\d.,:/_ ]*(?:e[-+\d.,:/_ ]*)?", re.IGNORECASE)
_PASSPHRASE = re.compile(r"[A-Za-z]+(?:[-_. ][A-Za-z]+)*")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_UNPRONOUNCEABLE = re.compile(r"[^aeiouy]{5}|^[^aeiouy]+$", re.IGNORECASE)
_WITHOUT_DIGITS = re.compile(r"[A-Za-z\W_]+")
_THRICE = re.compile(r"([A-Za-z])\1\1")  # no word has a letter three times in a row
_LETTERS = re.compile(r"[A-Za-z]+")
_ONE_CASE = re.compile(r"[A-Z]?[a-z]*(?:[A-Z][a-z]+)?|[A-Z]+[a-z]*|[a-z]+[A-Z]+")
_NAME_PART = re.compile(r"[A-Za-z]{0,20}(?:\d{1,4}[A-Za-z]?|\d{1,3}x\d{1,3})|[A-Za-z]{1,20}")
_SEPARATOR = re.compile(r"[-_./: ]+")
_RANDOM = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w+/=.~:@!$%^*#-]{10,}", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]?[\d:.+Zz-]*")
# The 250 most frequent pairs of letters in the words of this project's, Python's and PyTorch's documentation: the first
# letter of each group, then those that follow it. They are 90 % of the pairs in words and 37 % of those in random text.
_FOLLOWERS = (
    "abcdgiklmnprstuvy baeilorsu cacdehiklorstu dacdefilorsu eabcdefgilmnopqrstvwxy faefilortu gaehilnrsu haeiot "
    "iabcdefglmnoprstvz keis lacdeilopstuy mabeilmopsu nacdefgiklnostuv oabcdfgilmnoprstuvw paehiloprstuy qu "
    "racdegiklmnoprstuy sacefhilopstuy tacdefhilmoprstuy uabceilmnprst vaei waeir xpt yps ze"
)
_PAIRS = frozenset(group[0] + follower for group in _FOLLOWERS.split() for follower in group[1:])
_FEWEST = 4  # pairs; a text of fewer is mostly signs
_SHARE = 5 / 7  # of a word's pairs that are frequent: 98 % of eight letters of words have it, 11 % of random ones


def is_plain(value: str) -> bool:
    """Return whether a value is a number, or up to three pronounceable words (``adamw_torch``, ``ReduceOnPlateau``).

    Masking those would blank out ordinary text, parameter values and metric names.
    """
    if _NUMBER.fullmatch(value):
        return True
    if not _PASSPHRASE.fullmatch(value):
        return False
    words = _WORD.findall(value)
    letters = sum(map(len, words))
    return (
        len(words) <= 3
        and letters >= 3 * len(words)
        and all(len(word) <= 12 and not _UNPRONOUNCEABLE.search(word) for word in words)
    )


def is_number(text: str) -> bool:
    """Return whether a text of any length has the characters of numbers, dates and lists of them alone."""
    return bool(_DIGITS.fullmatch(text))


def is_wordlike(text: str) -> bool:
    """Return whether a text has no digit, and its letters follow one another as in words: ``-product``."""
    if not _WITHOUT_DIGITS.fullmatch(text) or _THRICE.search(text):
        return False
    pairs = frequent = 0
    for letters in _LETTERS.findall(text):
        if not _ONE_CASE.fullmatch(letters):
            return False
        lower = letters.lower()
        pairs += len(lower) - 1
        frequent += sum(lower[place : place + 2] in _PAIRS for place in range(len(lower) - 1))
    return pairs >= _FEWEST and frequent >= _SHARE * pairs


def is_name(value: str) -> bool:
    """Return whether a value has the form of a name: words with short numbers, as in ``resnet50-v2`` and ``val/f1``."""
    parts = [part for part in _SEPARATOR.split(value) if part]
    return bool(parts) and all(_is_name_part(part) for part in parts)


def _is_name_part(part: str) -> bool:
    if not _NAME_PART.fullmatch(part):
        return False
    return all(len(word) < 5 or is_wordlike(word) for word in _LETTERS.findall(part))


def is_random(value: str) -> bool:
    """Return whether a value may be a generated key: letters and digits, and neither a name, nor a number or date."""
    return bool(_RANDOM.fullmatch(value)) and not (is_number(value) or _DATE.fullmatch(value) or is_name(value))
