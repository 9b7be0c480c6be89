"""Where secrets come from: environment variables, netrc files, and the files in which programs keep their keys."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from orchestrator.secrets import secret_parts
from orchestrator.secrets.secret_names import is_file_name, is_secret_name

VARIABLES = "SWEEP_SECRETS"
"""Environment variable that names further variables with secrets, separated by commas; child processes inherit it."""
_FILE_LIMIT = 64 * 1024


class Secret(NamedTuple):
    """A secret, and where it comes from, in words: ``$WANDB_API_KEY``. ``whole``: as in `secret_parts.Part`."""

    source: str
    value: str
    whole: bool = False


def of_environment() -> Iterator[Secret]:
    """Yield the values of the variables that have a secret's name, and the passwords in the URLs of the others."""
    named = dict(named_secrets())
    for name, value in named.items():
        yield from _secrets(f"${name}", secret_parts.parts(value))
    for name, value in list(os.environ.items()):
        if "://" in value and name not in named:
            yield from _secrets(f"${name}", secret_parts.login(value))


def named_secrets() -> Iterator[tuple[str, str]]:
    """Yield name and value of the variables that have a secret's name, or are registered."""
    extra = set(extra_variables())
    for name, value in list(os.environ.items()):
        if name != VARIABLES and value and (name in extra or (is_secret_name(name) and not is_file(value))):
            yield name, value


def of_files(tokens: Iterable[tuple[Path, str]]) -> Iterator[Secret]:
    """Yield the secrets in netrc, in AWS's and W&B's files, and in the files with tokens."""
    for _, password in secret_parts.netrc_entries(content(netrc_file())):
        yield Secret("the netrc file", password)
    for path in aws_files():
        for name, value in re.findall(r"^\s*(aws_\w+)\s*=\s*(\S+)", content(path), re.MULTILINE):
            if is_secret_name(name):
                yield Secret(str(path), value)
    for path in wandb_files():
        yield Secret(str(path), setting(path, "api_key"))
    for path, source in tokens:
        yield from _secrets(source, secret_parts.parts(content(path).strip()))


def token_files(registered: Mapping[Path, str]) -> Iterator[tuple[Path, str]]:
    """Yield files whose content is a secret: of Ray and Hugging Face, named by variables, and registered ones."""
    yield home("~/.sweep/token"), "the cluster's token"
    yield home("~/.ray/auth_token"), "Ray's token"
    cache = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    yield home(os.environ.get("HF_TOKEN_PATH") or f"{cache}/token"), "Hugging Face's token"
    yield home(f"{os.environ.get('KAGGLE_CONFIG_DIR') or '~/.kaggle'}/kaggle.json"), "Kaggle's file"
    for name, value in list(os.environ.items()):
        if is_file_name(name) and is_file(value):
            yield home(value), f"the file in ${name}"
    yield from list(registered.items())


def files(tokens: Iterable[tuple[Path, str]]) -> list[Path]:
    """Return every file that `of_files` reads."""
    return [netrc_file(), *aws_files(), *wandb_files(), *(path for path, _ in tokens)]


def stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Return when each file was changed, and its size."""
    found = {}
    for path in paths:
        try:
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size)
        except (OSError, ValueError):
            found[path] = (0, 0)
    return found


def extra_variables() -> list[str]:
    """Return the further variables that hold secrets, whatever their names."""
    return [name for name in os.environ.get(VARIABLES, "").split(",") if name]


def is_file(value: str) -> bool:
    """Return whether a variable's value is the path of a file rather than a secret."""
    if not value.startswith(("/", "~", "./", "../")):
        return False
    try:
        return secret_parts.is_path(value) or os.path.exists(os.path.expanduser(value))  # noqa: PTH110, PTH111
    except ValueError:
        return False


def netrc_file() -> Path:
    """Return the path of the netrc file."""
    return home(os.environ.get("NETRC") or "~/.netrc")


def aws_files() -> list[Path]:
    """Return the paths of AWS's files with profiles."""
    return [
        home(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"),
        home(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"),
    ]


def wandb_files() -> list[Path]:
    """Return the paths of W&B's settings, of this folder and of the user."""
    folder = os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb"
    return [Path(os.environ.get("WANDB_DIR") or ".").absolute() / "wandb/settings", home(folder) / "settings"]


def setting(path: Path, name: str) -> str:
    """Return a setting in one of W&B's files; empty if it is not there."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(content(path))
    except configparser.Error:
        return ""
    return parser.get("default", name, fallback="").strip()


def home(path: str) -> Path:
    """Return a path whose ``~`` is the home folder, if there is one."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path.expanduser raises without a home)


def content(path: Path) -> str:
    """Return the first 64 KiB of a file as text; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_LIMIT).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def _secrets(source: str, found: Iterable[secret_parts.Part]) -> Iterator[Secret]:
    for part in found:
        yield Secret(source, part.value, part.whole)
