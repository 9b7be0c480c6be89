"""The secrets that this process holds now, and what in its sweep only looks like one."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.secrets import secret_sources as sources
from orchestrator.secrets.plain_words import is_name, is_number, is_plain
from orchestrator.secrets.secret_pieces import SHORTEST, PieceSearch, pieces
from orchestrator.secrets.secret_sources import Secret

_CHECK_SECONDS = 5.0  # between two checks of the files; a changed environment takes effect at once


class Known(NamedTuple):
    """The secrets at one time, and what they were read from.

    Attributes:
        secrets: Every secret, the longest first.
        search: Finds the secrets in text.
        environment, files, registered: What the secrets were read from.
        checked: When that was last compared, by the monotonic clock.
    """

    secrets: tuple[Secret, ...]
    search: PieceSearch
    environment: Mapping[Any, Any]
    files: Mapping[Path, tuple[int, int]]
    registered: int
    checked: float


_files: dict[Path, str] = {}  # registered files, and what each is called
_vocabulary: set[str] = set()
_seen: set[str] = set()  # texts that `allow` has been given
_registered = 0
_known: Known | None = None


def known() -> Known:
    """Return what is known now. O(1) unless the environment, a file or the vocabulary has changed."""
    global _known
    # The dict behind os.environ: it is compared in a microsecond, where a copy of os.environ takes twenty.
    environment: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
    now, held = time.monotonic(), _known
    if held is not None and held.registered == _registered and held.environment == environment:
        if now - held.checked < _CHECK_SECONDS:
            return held
        if held.files == sources.stamps(held.files):
            _known = held._replace(checked=now)
            return _known
    _known = _read(held, dict(environment), _registered, now)
    return _known


def register_variable(name: str) -> None:
    """Count an environment variable's value as a secret here and in child processes, whatever its name: a webhook."""
    names = sources.extra_variables()
    if name not in names:
        os.environ[sources.VARIABLES] = ",".join([*names, name])


def register_file(path: Path, source: str) -> None:
    """Count a file's content as a secret: a token."""
    global _registered
    if _files.get(path) != source:
        _files[path] = source
        _registered += 1


def allow(value: Any) -> None:
    """Never mask a text of this JSON-like value that has the form of a name: a setting or a metric of a sweep."""
    global _registered
    fresh = {text for text in _texts(value) if len(text) >= SHORTEST} - _seen
    if not fresh:
        return
    _seen.update(fresh)
    names = {text for text in fresh if is_name(text)}
    _vocabulary.update(names)
    if _known is None:
        return
    if any(is_name(secret.value) and any(secret.value in name for name in names) for secret in _known.secrets):
        _registered += 1
    else:
        _known.search.leave_out(names)


def is_allowed(value: str) -> bool:
    """Return whether a value is a name in a text that was allowed."""
    return is_name(value) and any(value in text for text in _vocabulary)


def spared() -> list[str]:
    """Return a sentence for each variable that has a secret's name and a value that is not masked, but for numbers."""
    reasons = ((name, _why_spared(value)) for name, value in sources.named_secrets() if not is_number(value))
    return [f"${name} is not masked in what the sweep writes: its value {reason}" for name, reason in reasons if reason]


def _why_spared(value: str) -> str:
    """Return why a value is no secret; empty if it is one."""
    if len(value) < SHORTEST:
        return f"is shorter than {SHORTEST} characters"
    if is_number(value) and len(value) < 2 * SHORTEST:
        return "is a number"
    if is_plain(value):
        return "is made of plain words"
    return "is also a name or value of the sweep" if is_allowed(value) else ""


def _read(held: Known | None, environment: Mapping[Any, Any], registered: int, now: float) -> Known:
    tokens = list(sources.token_files(_files))
    secrets: dict[str, Secret] = {}
    for secret in (*sources.of_environment(), *sources.of_files(tokens)):
        if not _why_spared(secret.value) and (secret.value not in secrets or secrets[secret.value].whole):
            secrets[secret.value] = secret
    ordered = tuple(sorted(secrets.values(), key=lambda secret: -len(secret.value)))
    if held is not None and held.secrets == ordered:
        search = held.search
    else:
        search = PieceSearch(pieces(secret.value, whole=secret.whole) for secret in ordered)
        search.leave_out(list(_vocabulary))
    stamps = sources.stamps(sources.files(tokens))
    return Known(ordered, search, environment, stamps, registered, now)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in (*value, *value.values()) if isinstance(value, Mapping) else value:
            yield from _texts(item)
