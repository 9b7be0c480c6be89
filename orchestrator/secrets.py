"""Every secret that this process can reach, and text without them.

Secrets come from environment variables, netrc files, W&B's and AWS's own files, token files, and the webhooks of a
sweep file. `masked` is called where text leaves the process: by the journal, `safe_text.visible`, `write_masked`, the
standard streams (`guard_streams`), Ray jobs and trackers. Other code has no need to call it.
"""

from __future__ import annotations

import configparser
import contextlib
import html
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import quote, urlsplit

HIDDEN = "***"
SHORTEST = 8
"""Characters of the shortest value that counts as a secret: shorter ones occur in ordinary text."""
VARIABLES = "SWEEP_SECRETS"
"""Environment variable that names further variables with secrets, separated by commas; child processes inherit it."""

_CHECK_SECONDS = 5.0  # between two checks of the files; a changed environment takes effect at once
_FILE_LIMIT = 64 * 1024
_NAME = re.compile(
    r"(?:^|_)(?:(?:API|ACCESS|SECRET|PRIVATE|ACCOUNT)?KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|PASS|PAT|BEARER|COOKIE"
    r"|CREDENTIALS?|CONNECTION_STRING|SAS|DSN|WEBHOOK(?:_URL)?)(?:_ID)?$|SECRET",
    re.IGNORECASE,
)
_FILE_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)(?:_FILE|_PATH)?$", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^\s/@:'\"]*:[^\s/@'\"]+(?=@)|(?<=://)[^\s/@:'\"]{20,}(?=@)")
_NUMBER = re.compile(r"[-+\d.,:/ ]{1,15}(?:e[-+]?\d{1,3})?", re.IGNORECASE)
_PASSPHRASE = re.compile(r"[A-Za-z]+(?:[-_. ][A-Za-z]+)*")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_UNPRONOUNCEABLE = re.compile(r"[^aeiouy]{5}|^[^aeiouy]+$", re.IGNORECASE)


class Secret(NamedTuple):
    """A secret, and where it comes from, in words: ``$WANDB_API_KEY``."""

    source: str
    value: str


class _Snapshot(NamedTuple):
    """The secrets at one time, and what they were read from."""

    secrets: tuple[Secret, ...]
    written: tuple[str, ...]  # each secret in every form that text may have it in, the longest first
    environment: Mapping[Any, Any]
    files: Mapping[Path, tuple[int, int]]
    registered: int
    checked: float


_files: dict[Path, str] = {}  # registered token files, and what each is called
_vocabulary: set[str] = set()
_registered = 0
_snapshot: _Snapshot | None = None


def masked(text: str) -> str:
    """Return ``text`` with ``***`` in place of every secret, and of user and password in a URL. Never raises."""
    for value in _current().written:
        if value in text:
            text = text.replace(value, HIDDEN)
    return _USERINFO.sub(HIDDEN, text) if "://" in text else text


def holds_secret(text: str) -> bool:
    """Return whether `masked` would change ``text``."""
    return any(value in text for value in _current().written) or ("://" in text and bool(_USERINFO.search(text)))


def masked_values(value: Any, keep: frozenset[str] = frozenset()) -> Any:
    """Return a JSON-like value with its texts and names masked, but for what lies under the names in ``keep``."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        return {
            masked(key) if isinstance(key, str) else key: item if key in keep else masked_values(item, keep)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked_values(item, keep) for item in value]
    return value


def write_masked(path: Path, text: str, *, append: bool = False) -> None:
    """Write text without secrets to a file, making its folder. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(masked(text))


class MaskedStream:
    """A text stream that masks what is written to it; anything else is the underlying stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write ``text`` masked. Return the length of ``text``, as the caller expects."""
        self._stream.write(masked(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line masked."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)


def guard_streams() -> None:
    """Mask whatever this process prints from now on: messages, warnings, logs, tracebacks, a module's own prints."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, MaskedStream):
            setattr(sys, name, MaskedStream(stream))


@contextlib.contextmanager
def guarded_streams() -> Iterator[None]:
    """Mask what this process prints meanwhile."""
    streams = (sys.stdout, sys.stderr)
    guard_streams()
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def secrets() -> tuple[Secret, ...]:
    """Return every secret, the longest first. Cached; O(1) unless the environment or a file has changed.

    Values shorter than eight characters, numbers and plain words are no secrets: see `is_plain`.
    """
    return _current().secrets


def secret_in(text: str) -> str | None:
    """Return where the secret in ``text`` comes from; None without one. Words that may be a setting's do not count."""
    return next((s.source for s in secrets() if s.value in text and not _PASSPHRASE.fullmatch(s.value)), None)


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


def register_variable(name: str) -> None:
    """Count an environment variable's value as a secret here and in child processes, whatever its name: a webhook."""
    names = _extra_variables()
    if name not in names:
        os.environ[VARIABLES] = ",".join([*names, name])


def register_file(path: Path, source: str) -> None:
    """Count a file's content as a secret: a token."""
    global _registered
    if _files.get(path) != source:
        _files[path] = source
        _registered += 1


def allow(value: Any) -> None:
    """Never mask a secret of letters alone that occurs in a text of this JSON-like value: a setting of a sweep."""
    global _registered
    fresh = {text for text in _texts(value) if len(text) >= SHORTEST} - _vocabulary
    if fresh:
        _vocabulary.update(fresh)
        _registered += 1


def wandb_mode(mode: str) -> str:
    """Return W&B's mode: ``auto`` is the environment's, else online if a key or an identity is configured."""
    if mode != "auto":
        return mode
    configured = wandb_key() or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    return os.environ.get("WANDB_MODE") or _wandb_setting("mode") or ("online" if configured else "offline")


def wandb_url() -> str:
    """Return the URL of W&B's server, without a trailing slash."""
    url = os.environ.get("WANDB_BASE_URL") or _wandb_setting("base_url") or "https://api.wandb.ai"
    return url.rstrip("/")


def wandb_key() -> str | None:
    """Return the key for `wandb_url`, looked up as W&B does: environment, settings files, netrc; None without one."""
    if key := os.environ.get("WANDB_API_KEY") or _wandb_setting("api_key"):
        return key
    entries = dict(_netrc_entries(_content(_netrc_file())))
    host = urlsplit(wandb_url())
    return entries.get(host.netloc) or entries.get(host.hostname or "") or entries.get("default")


def _current() -> _Snapshot:
    global _snapshot
    # The dict behind os.environ: it is compared in a microsecond, where a copy of os.environ takes twenty.
    environment: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
    now, held = time.monotonic(), _snapshot
    if held is not None and held.registered == _registered and held.environment == environment:
        if now - held.checked < _CHECK_SECONDS:
            return held
        if held.files == _stamps(held.files):
            _snapshot = held._replace(checked=now)
            return _snapshot
    _snapshot = _read(dict(environment), _registered, now)
    return _snapshot


def _read(environment: Mapping[Any, Any], registered: int, now: float) -> _Snapshot:
    sources = list(_token_files())
    files = [_netrc_file(), *_aws_files(), *_wandb_files(), *(path for path, _ in sources)]
    listed = [*_of_environment(), *_of_files(sources)]
    secrets: dict[str, Secret] = {}
    for source, value in listed:
        if len(value) >= SHORTEST and not is_plain(value) and not _is_setting(value):
            secrets.setdefault(value, Secret(source, value))
    ordered = tuple(sorted(secrets.values(), key=lambda secret: -len(secret.value)))
    written = sorted({form for secret in ordered for form in _forms(secret.value)}, key=lambda form: (-len(form), form))
    return _Snapshot(ordered, tuple(written), environment, _stamps(files), registered, now)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in (*value, *value.values()) if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _is_setting(value: str) -> bool:
    return bool(_PASSPHRASE.fullmatch(value)) and any(value in text for text in _vocabulary)


def _forms(value: str) -> set[str]:
    """Return a secret as it may be written: as it is, in JSON, in HTML, in a URL, in Python's and a log's escapes."""
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        html.escape(value),
        quote(value, safe=""),
        repr(value)[1:-1],
    }


def _stamps(files: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    stamps = {}
    for path in files:
        try:
            status = path.stat()
            stamps[path] = (status.st_mtime_ns, status.st_size)
        except (OSError, ValueError):
            stamps[path] = (0, 0)
    return stamps


def _of_environment() -> Iterator[tuple[str, str]]:
    extra = set(_extra_variables())
    for name, value in list(os.environ.items()):
        if name == VARIABLES:
            continue
        if (name in extra or _NAME.search(name)) and not _is_path(value):
            for part in _parts(value):
                yield f"${name}", part
        elif "://" in value:
            yield f"${name}", _password(value)


def _of_files(tokens: Iterable[tuple[Path, str]]) -> Iterator[tuple[str, str]]:
    for _, password in _netrc_entries(_content(_netrc_file())):
        yield "the netrc file", password
    for path in _aws_files():
        for name, value in re.findall(r"^\s*(aws_\w+)\s*=\s*(\S+)", _content(path), re.MULTILINE):
            if _NAME.search(name):
                yield str(path), value
    for path in _wandb_files():
        yield str(path), _setting(path, "api_key")
    for path, source in tokens:
        for part in _parts(_content(path).strip()):
            yield source, part


def _parts(value: str) -> Iterator[str]:
    """Yield a secret and those of its parts that are secrets by themselves: lines, a URL's words, JSON's fields."""
    yield value
    if "\n" in value:
        yield from (line.strip() for line in value.splitlines() if len(line) >= 2 * SHORTEST and "-----" not in line)
    if value.startswith("{"):
        try:
            fields = json.loads(value)
        except ValueError:
            return
        yield from (str(item) for name, item in fields.items() if _NAME.search(name))
    elif value.startswith(("http://", "https://")):
        yield _password(value)
        try:
            url = urlsplit(value)
        except ValueError:
            return
        yield url.path.strip("/")
        yield from url.path.split("/")
        yield from re.split("[=&]", url.query)


def _password(url: str) -> str:
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""


def _is_path(value: str) -> bool:
    return value.startswith(("/", "~", "./")) and os.path.exists(os.path.expanduser(value))  # noqa: PTH110, PTH111


def _extra_variables() -> list[str]:
    return [name for name in os.environ.get(VARIABLES, "").split(",") if name]


def _token_files() -> Iterator[tuple[Path, str]]:
    """Yield files whose content is a secret: Ray's tokens, files named by variables, and registered ones."""
    yield _home("~/.sweep/token"), "the cluster's token"
    yield _home("~/.ray/auth_token"), "Ray's token"
    for name, value in list(os.environ.items()):
        if _FILE_NAME.search(name) and _is_path(value):
            yield _home(value), f"the file in ${name}"
    yield from list(_files.items())


def _aws_files() -> list[Path]:
    return [
        _home(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"),
        _home(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"),
    ]


def _netrc_file() -> Path:
    return _home(os.environ.get("NETRC") or "~/.netrc")


def _netrc_entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield host and password of every entry, leniently: what a strict parser refuses holds secrets, too."""
    words = re.compile(r"""(?<!\S)(?:(machine|login|account|password)\s+("[^"]*"|'[^']*'|\S+)|default(?!\S))""")
    host = ""
    for match in words.finditer(text):
        value = (match[2] or "").strip("\"'")
        if match[1] == "password":
            yield host, value
        elif match[1] in (None, "machine"):
            host = value or "default"


def _wandb_files() -> list[Path]:
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    return [Path(os.environ.get("WANDB_DIR") or ".").absolute() / "wandb/settings", _home(folder) / "settings"]


def _wandb_setting(name: str) -> str:
    return next((value for path in _wandb_files() if (value := _setting(path, name))), "")


def _setting(path: Path, name: str) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_content(path))
    except configparser.Error:
        return ""
    return parser.get("default", name, fallback="").strip()


def _home(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path.expanduser raises without a home)


def _content(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT).decode(errors="replace")
    except (OSError, ValueError):
        return ""
