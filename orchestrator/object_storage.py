"""Object storage by URL: Amazon S3 and compatible servers, Google Cloud Storage, Azure.

An object is complete or absent, and can be created on the condition that its name is new. The store itself refuses a
second one, which is what fences the journal's writers. Credentials are found as by each cloud's own tools: from the
environment, or the role of the machine or pod; for S3 also from ``~/.aws`` if boto3 is installed.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import ObjectStoreError, UsageError
from orchestrator.extras import require

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Store

T = TypeVar("T")
SCHEMES = ("s3", "gs", "az", "abfs", "abfss")
_RETRIES: Any = {
    "max_retries": 100,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"max_backoff": timedelta(seconds=2)},
}
_TIMES: Any = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=60)}
_CONCURRENT_READS = 32


def is_url(place: object) -> bool:
    """Return whether a place is in object storage rather than a folder. Raises UsageError for another kind of URL."""
    scheme, separator, path = str(place).partition("://")
    if not separator or isinstance(place, Path):
        return False
    if scheme not in SCHEMES:
        supported = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UsageError(f"{place}: runs cannot be kept in {scheme}://", hint=f"use a folder, or one of {supported}")
    if not path.strip("/"):
        raise UsageError(f"{place} names no bucket", hint="name one: s3://bucket/runs")
    return True


@dataclass(frozen=True)
class Listed:
    """An object in a listing: its size in bytes, and when it was last written on the store's clock."""

    name: str
    size: int
    changed: datetime


class Objects:
    """The objects below a URL, by names relative to it. Errors are OSErrors, as with files.

    Requests that fail are repeated for 10 s; then ObjectStoreError is raised, which `storage_fault` recognises.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._store = _store(self.url)

    def get(self, name: str) -> bytes:
        """Return an object's content. Raises FileNotFoundError if there is no such object."""
        import obstore

        return self._request(name, lambda: bytes(obstore.get(self._store, name).bytes()))

    def get_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the contents of several objects, read concurrently, in the order of ``names``. Raises as `get`."""
        if len(names) < 2:
            yield from map(self.get, names)
            return
        with ThreadPoolExecutor(min(_CONCURRENT_READS, len(names))) as pool:
            yield from pool.map(self.get, names)

    def put(self, name: str, content: bytes | memoryview) -> None:
        """Write an object, or replace it."""
        import obstore

        self._request(name, lambda: obstore.put(self._store, name, content))

    def create(self, name: str, content: bytes) -> None:
        """Write an object in one step if its name is new. Raises FileExistsError if it is not."""
        import obstore

        self._request(name, lambda: obstore.put(self._store, name, content, mode="create", use_multipart=False))

    def enforces_create(self) -> bool:
        """Return whether `create` refuses an existing name: a store may ignore the condition.

        Creates an object, and removes it.
        """
        name = f".probe-{uuid.uuid4().hex}"
        self.create(name, b"1")
        try:
            self.create(name, b"2")
        except FileExistsError:
            return True
        finally:
            self.remove([name])
        return False

    def fetch(self, name: str, path: Path) -> None:
        """Copy an object to a file, completely or not at all. Raises FileNotFoundError if there is no such object."""
        import obstore

        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")  # unique, since hosts may share a home

        def read() -> None:
            with temporary.open("wb") as file:
                for chunk in obstore.get(self._store, name):
                    file.write(chunk)

        try:
            self._request(name, read)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def list_objects(self, folder: str = "", after: str = "") -> list[Listed]:
        """Return the objects in a folder and below, sorted by name; with ``after``, only those after that name."""
        import obstore

        def listed() -> list[Listed]:
            pages = obstore.list(self._store, prefix=folder or None, offset=after or None)
            return [Listed(item["path"], item["size"], item["last_modified"]) for page in pages for item in page]

        return sorted(self._request(folder, listed), key=lambda item: item.name)

    def names(self, folder: str = "", after: str = "") -> list[str]:
        """Return the names of the objects that `list_objects` returns."""
        return [item.name for item in self.list_objects(folder, after)]

    def folders(self) -> list[str]:
        """Return the folders directly below the URL."""
        import obstore

        return sorted(self._request("", lambda: list(obstore.list_with_delimiter(self._store)["common_prefixes"])))

    def stat(self, name: str) -> Listed | None:
        """Return one object's entry, as a listing has it; None if there is no such object."""
        import obstore

        try:
            head = self._request(name, lambda: obstore.head(self._store, name))
        except FileNotFoundError:
            return None
        return Listed(name, head["size"], head["last_modified"])

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes; None if there is no such object."""
        entry = self.stat(name)
        return entry.size if entry else None

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; names without an object are ignored."""
        import obstore

        for name in names:
            try:
                self._request(name, lambda name=name: obstore.delete(self._store, name))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def _request(self, name: str, step: Callable[[], T]) -> T:
        from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

        place = f"{self.url}/{name}" if name else self.url
        try:
            return step()
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", place) from error
        except AlreadyExistsError as error:
            raise FileExistsError(errno.EEXIST, "there is such an object already", place) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise ObjectStoreError(errno.EACCES, f"the object store refuses: {_first_line(error)}", place) from error
        except BaseError as error:
            raise ObjectStoreError(errno.EIO, f"the object store fails: {_first_line(error)}", place) from error


@lru_cache(maxsize=64)
def objects(url: str) -> Objects:
    """Return the objects below a URL, cached with their connections. Raises UsageError for an invalid URL."""
    return Objects(url)


def _store(url: str) -> Store:
    require("obstore", purpose="a run directory in object storage")
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    is_url(url)
    options: dict[str, Any] = {}
    client = _TIMES
    if url.startswith("s3://"):
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        options = {"checksum_algorithm": "sha256", **({"endpoint": endpoint} if endpoint else {}), **_profile()}
        client = {**_TIMES, "allow_http": endpoint.startswith("http://")}
    try:
        return from_url(url, client_options=client, retry_config=_RETRIES, **options)
    except (BaseError, ValueError) as error:
        raise UsageError(f"{url}: {_first_line(error)}", hint="e.g. s3://bucket/runs or gs://bucket/runs") from error


def _profile() -> dict[str, Any]:
    """Return the options that boto3 reads from ``~/.aws``, if it is installed and the environment has none."""
    credentials = {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"}
    profile = {"AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"}
    if credentials & os.environ.keys() or not (profile & os.environ.keys() or Path("~/.aws").expanduser().is_dir()):
        return {}
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return {}
    session = boto3.Session()
    if session.get_credentials() is None:
        return {}
    region = {"region": session.region_name} if session.region_name else {}
    return {**region, "credential_provider": Boto3CredentialProvider(session)}


def _first_line(error: Exception) -> str:
    """Return the first line of the library's message, without the chain of causes that follows."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
