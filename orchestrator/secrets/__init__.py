"""Every secret that this process can reach, and text without them.

Secrets come from environment variables, netrc files, files of AWS, W&B and others, token files, and the webhooks of a
sweep file. They are found in every form in which programs write them, also in pieces of eight characters or more;
so are keys of a known form that this process does not hold. `masked` is called where text leaves the process: by the
journal, `safe_text.visible`, `write_masked`, the standard streams (`guard_streams`), Ray jobs and trackers. Other code
has no need to call it.
"""

from __future__ import annotations

import contextlib
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.secrets import masked_stream
from orchestrator.secrets.known_secrets import allow, is_allowed, known, register_file, register_variable, spared
from orchestrator.secrets.masked_stream import MaskedStream
from orchestrator.secrets.plain_words import is_plain
from orchestrator.secrets.secret_forms import UNIT, has_units
from orchestrator.secrets.secret_names import is_password_name
from orchestrator.secrets.secret_pieces import SHORTEST, PieceSearch, Span, pieces
from orchestrator.secrets.secret_shapes import assigned, known_forms
from orchestrator.secrets.secret_sources import VARIABLES, Secret
from orchestrator.secrets.wandb_account import wandb_key, wandb_mode, wandb_url

__all__ = [
    "HIDDEN",
    "SHORTEST",
    "VARIABLES",
    "MaskedStream",
    "Secret",
    "allow",
    "guard_streams",
    "guarded_streams",
    "holds_secret",
    "is_password_name",
    "is_plain",
    "masked",
    "masked_values",
    "redact",
    "register_file",
    "register_variable",
    "secret_in",
    "secrets",
    "spared",
    "wandb_key",
    "wandb_mode",
    "wandb_url",
    "write_masked",
]

HIDDEN = "***"
_BETWEEN = "\x1e"  # ASCII's record separator, between the texts of a list that are searched as one
_REFUSED = 16
"""Characters of a piece of a secret for which a sweep file is refused: a shorter one may be a name."""


def masked(text: str, *, held_only: bool = False) -> str:
    """Return ``text`` with ``***`` in place of every secret, and of user and password in a URL. Never raises.

    What stays are the quotes, brackets and line ends between the parts of a secret: JSON stays JSON. With ``held_only``
    the secrets of this process are masked, and not what has the form of one: for a page with a library's code.
    """
    spans = known().search.spans(text) if held_only else _spans(text)
    return _replaced(text, spans, 0) if spans else text


redact = masked
"""The name of `masked` in version 0.1.0."""


def holds_secret(text: str) -> bool:
    """Return whether `masked` would change ``text``."""
    return bool(_spans(text))


def masked_values(value: Any, keep: frozenset[str] = frozenset()) -> Any:
    """Return a JSON-like value with its texts and names masked, but for what lies under the names in ``keep``."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {
            masked(key) if isinstance(key, str) else key: item if key in keep else _masked_field(key, item, keep)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return _masked_texts(value) or [masked_values(item, keep) for item in value]
    return value


def write_masked(path: Path, text: str, *, append: bool = False) -> None:
    """Write text without secrets to a file, making its folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(masked(text))


def guard_streams() -> None:
    """Mask whatever this process prints from now on: messages, warnings, logs, tracebacks, a module's own prints."""
    masked_stream.guard(_masked_from)


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Mask what this process prints meanwhile."""
    streams = (sys.stdout, sys.stderr)
    guard_streams()
    try:
        yield
    finally:
        masked_stream.restore(streams)


def secrets() -> tuple[Secret, ...]:
    """Return every secret, the longest first. Cached; O(1) unless the environment or a file has changed.

    Values shorter than eight characters, numbers and plain words are no secrets: see `is_plain`.
    """
    return known().secrets


def secret_in(text: str) -> str | None:
    """Return where the secret in ``text`` comes from, if it is there whole or by 16 characters; None without one."""
    if len(text) < SHORTEST or not known().search.spans(text):
        return None
    for secret in secrets():
        enough = min(_REFUSED, len(secret.value))
        own = PieceSearch([pieces(secret.value, whole=secret.whole)]).spans(text)
        if any(last - first >= enough for first, last in own):
            return secret.source
    return None


def _spans(text: str) -> list[Span]:
    if len(text) < SHORTEST:
        return []
    return [*known().search.spans(text), *known_forms(text), *assigned(text, is_allowed)]


def _masked_from(text: str, start: int) -> str:
    """Return ``text`` from ``start`` on, masked."""
    spans = [(max(first, start), last) for first, last in _spans(text) if last > start]
    return _replaced(text, spans, start) if spans else text[start:]


def _replaced(text: str, spans: Iterable[Span], start: int) -> str:
    parts, place = [], start
    for first, last in _joined(_whole_units(text, spans)):
        parts += [text[place : max(first, place)], HIDDEN]
        place = max(last, place)
    return "".join([*parts, text[place:]])


def _whole_units(text: str, spans: Iterable[Span]) -> Iterator[Span]:
    """Yield each span with the whole of the escapes and entities in which it begins or ends."""
    units = [match.span() for match in UNIT.finditer(text)] if has_units(text) else []
    starts = [unit[0] for unit in units]
    for first, last in spans:
        before, after = bisect_right(starts, first) - 1, bisect_right(starts, last - 1) - 1
        if before >= 0 and units[before][0] < first < units[before][1]:
            first = units[before][0]
        if after >= 0 and units[after][0] < last < units[after][1]:
            last = units[after][1]
        yield first, last


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the spans in order, those that touch as one."""
    begin, end = -1, -1
    for first, last in sorted(spans):
        if first > end:
            if end > begin:
                yield begin, end
            begin, end = first, last
        end = max(end, last)
    if end > begin:
        yield begin, end


def _masked_field(name: Any, item: Any, keep: frozenset[str]) -> Any:
    """Return a field's value, masked also for what its name says of it."""
    if isinstance(name, str) and isinstance(item, str):
        before = f'"{name}": "'
        if (len(before), len(before) + len(item)) in assigned(f'{before}{item}"', is_allowed):
            return HIDDEN
    return masked_values(item, keep)


def _masked_texts(texts: Sequence[Any]) -> list[str] | None:
    """Return texts masked as one, since a secret may be split over several; None if that is not possible."""
    if not texts or not all(isinstance(text, str) and _BETWEEN not in text for text in texts):
        return None
    together = masked(_BETWEEN.join(texts)).split(_BETWEEN)
    return together if len(together) == len(texts) else None
