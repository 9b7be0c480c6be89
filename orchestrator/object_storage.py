"""Object storage: Amazon S3 (and what speaks its protocol), Google Cloud Storage and Azure, by their URLs.

An object is there whole or not at all, and may be made on the condition that there is none of its name: the stores
themselves refuse a second one, which is what the journal's fence is made of. Credentials are found as each cloud's own
tools find them: the environment, the machine's or the pod's role; for S3 also ``~/.aws``, where boto3 is installed.
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
_AT_ONCE = 32  # requests, where many objects are read


def is_url(place: object) -> bool:
    """Whether a place is in object storage, and not a folder. Raises UsageError for a URL of another kind."""
    scheme, found, _ = str(place).partition("://")
    if not found or isinstance(place, Path):
        return False
    if scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise UsageError(f"{place}: nothing is kept in {scheme}://", hint=f"a folder, or one of {known}")
    if not str(place).partition("://")[2].strip("/"):
        raise UsageError(f"{place} names no bucket", hint="s3://bucket/runs")
    return True


@dataclass(frozen=True)
class Found:
    """An object in a listing: its size in bytes, and when it was last written by the store's clock."""

    name: str
    size: int
    changed: datetime


class Objects:
    """What lies below a URL, by names relative to it. What goes wrong is an OSError, as with files.

    A store that does not answer is asked again for 10 s; then ObjectStoreError is raised, which `storage_fault` knows.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._store = _store(self.url)

    def get(self, name: str) -> bytes:
        """The whole of it. Raises FileNotFoundError where it is not there."""
        import obstore

        return self._asked(name, lambda: bytes(obstore.get(self._store, name).bytes()))

    def get_all(self, names: Sequence[str]) -> Iterator[bytes]:
        """As `get`, of many at once, in the order of their names."""
        if len(names) < 2:
            yield from map(self.get, names)
            return
        with ThreadPoolExecutor(min(_AT_ONCE, len(names))) as pool:
            yield from pool.map(self.get, names)

    def put(self, name: str, content: bytes | memoryview) -> None:
        """Write it, in the place of what was there."""
        import obstore

        self._asked(name, lambda: obstore.put(self._store, name, content))

    def create(self, name: str, content: bytes) -> None:
        """Write it if there is none of that name, in one step. Raises FileExistsError."""
        import obstore

        self._asked(name, lambda: obstore.put(self._store, name, content, mode="create", use_multipart=False))

    def refuses_a_second(self) -> bool:
        """Whether `create` is what it says: a store may pass over the condition. Makes an object, and removes it."""
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
        """Write it into a file, whole or not at all. Raises FileNotFoundError where it is not there."""
        import obstore

        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")  # hosts may share a home

        def read() -> None:
            with beside.open("wb") as file:
                for chunk in obstore.get(self._store, name):
                    file.write(chunk)

        try:
            self._asked(name, read)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def find(self, folder: str = "", after: str = "") -> list[Found]:
        """What lies in a folder and those below it, by name; with ``after`` what comes after that name."""
        import obstore

        def listed() -> list[Found]:
            pages = obstore.list(self._store, prefix=folder or None, offset=after or None)
            return [Found(one["path"], one["size"], one["last_modified"]) for page in pages for one in page]

        return sorted(self._asked(folder, listed), key=lambda found: found.name)

    def names(self, folder: str = "", after: str = "") -> list[str]:
        """The names of what `find` finds."""
        return [found.name for found in self.find(folder, after)]

    def folders(self) -> list[str]:
        """The folders right below the URL."""
        import obstore

        return sorted(self._asked("", lambda: list(obstore.list_with_delimiter(self._store)["common_prefixes"])))

    def look(self, name: str) -> Found | None:
        """What a listing would say of it; None where there is no such object."""
        import obstore

        try:
            found = self._asked(name, lambda: obstore.head(self._store, name))
        except FileNotFoundError:
            return None
        return Found(name, found["size"], found["last_modified"])

    def size(self, name: str) -> int | None:
        """Bytes; None where there is no such object."""
        found = self.look(name)
        return found.size if found else None

    def remove(self, names: Iterable[str]) -> None:
        """Remove them; what is not there stays so."""
        import obstore

        for name in names:
            try:
                self._asked(name, lambda name=name: obstore.delete(self._store, name))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def _asked(self, name: str, step: Callable[[], T]) -> T:
        from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError

        place = f"{self.url}/{name}" if name else self.url
        try:
            return step()
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", place) from error
        except AlreadyExistsError as error:
            raise FileExistsError(errno.EEXIST, "there is such an object already", place) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise ObjectStoreError(errno.EACCES, f"the object store refuses: {_said(error)}", place) from error
        except BaseError as error:
            raise ObjectStoreError(errno.EIO, f"the object store fails: {_said(error)}", place) from error


@lru_cache(maxsize=64)
def objects(url: str) -> Objects:
    """What lies below a URL; one and the same for each URL, with its connections. Raises UsageError for a wrong one."""
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
        raise UsageError(f"{url}: {_said(error)}", hint="s3://bucket/runs, gs://bucket/runs") from error


def _profile() -> dict[str, Any]:
    """What boto3 knows of ``~/.aws``, where it is installed and the environment says nothing."""
    told = {"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"}
    named = {"AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"}
    if told & os.environ.keys() or not (named & os.environ.keys() or Path("~/.aws").expanduser().is_dir()):
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


def _said(error: Exception) -> str:
    """The first line of what the store's library says, which goes on with how it came to it."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
