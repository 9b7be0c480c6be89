"""Answers the journal's calls to the system from a simulated world. All other calls go where they went before."""

from __future__ import annotations

import contextlib
import io
import os
import types
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import obstore

from orchestrator import durable_files, object_storage
from orchestrator.journal import lease, object_lease, single_thread, steady_time
from tests.chaos.simulated import scheduler
from tests.chaos.simulated.file_systems import Disk, OpenFile
from tests.chaos.simulated.object_stores import SimulatedStore
from tests.chaos.simulated.scheduler import Killed, World

ROOT = "/simulated"
URL = "s3://simulated/run/journal"
_FIRST_DESCRIPTOR = 1 << 24


class System:
    """What the code under test reaches by `os` and `open`.

    Attributes:
        disk: answers for all paths below `ROOT`.
        store: answers for `URL`.
    """

    def __init__(self) -> None:
        self.disk: Disk | None = None
        self.store: SimulatedStore | None = None
        self._descriptors = _FIRST_DESCRIPTOR
        self._real = {name: getattr(os, name) for name in (*_PATHS, *_FILES, "open", "readlink", "scandir")}
        self._open, self._getpid = io.open, os.getpid
        self._real_store = object_storage._store

    def enter(self, world: World, disk: Disk | None = None, store: SimulatedStore | None = None) -> None:
        """Answer from this world from now on."""
        scheduler.enter(world)
        self.disk, self.store = disk, store
        object_storage.objects.cache_clear()

    @contextmanager
    def installed(self) -> Iterator[System]:
        """While entered, the journal's calls are answered here."""
        with ExitStack() as patches:
            for name in _PATHS:
                patches.enter_context(mock.patch.object(os, name, self._by_path(name)))
            for name in _FILES:
                patches.enter_context(mock.patch.object(os, name, self._by_descriptor(name)))
            for name in ("open", "readlink", "getpid", "scandir"):
                patches.enter_context(mock.patch.object(os, name, getattr(self, f"_{name}_")))
            patches.enter_context(mock.patch.object(io, "open", self._open_file))
            for module, names in _modules().items():
                for name, value in names.items():
                    patches.enter_context(mock.patch.object(module, name, value))
            for name in ("put", "get", "head", "list", "delete"):
                patches.enter_context(mock.patch.object(obstore, name, _of_store(name, getattr(obstore, name))))
            patches.enter_context(mock.patch.object(object_storage, "_store", self._store_at))
            try:
                yield self
            finally:
                object_storage.objects.cache_clear()

    def _store_at(self, url: str) -> Any:
        assert self.store is not None
        return self.store if url == URL else self._real_store(url)

    def _inside(self, path: Any) -> str | None:
        """Return a path relative to the root, which is itself empty; None if it is elsewhere."""
        if isinstance(path, (int, bytes)):
            return None
        text: str = os.fspath(path)
        if not text.startswith(ROOT):
            return None
        return text[len(ROOT) + 1 :].rstrip("/")

    def _by_path(self, name: str) -> Callable[..., Any]:
        real, method = self._real[name], _PATHS[name]

        def call(path: Any, *rest: Any, **named: Any) -> Any:
            if isinstance(path, int):
                return self._by_number(name, real, path, *rest, **named)
            inside = self._inside(path)
            if inside is None or self.disk is None:
                return real(path, *rest, **named)
            answer = getattr(self.disk, method)
            if name in ("rename", "replace", "link"):
                return answer(inside, self._inside(rest[0]))
            return answer(inside)

        return call

    def _by_number(self, name: str, real: Callable[..., Any], descriptor: int, *rest: Any, **named: Any) -> Any:
        file = self._file(descriptor) if name == "stat" else None
        return self._disk.fstat(file) if file else real(descriptor, *rest, **named)

    def _by_descriptor(self, name: str) -> Callable[..., Any]:
        real, method = self._real[name], _FILES[name]

        def call(descriptor: Any, *rest: Any) -> Any:
            file = self._file(descriptor)
            return getattr(self._disk, method)(file, *rest) if file else real(descriptor, *rest)

        def close(descriptor: int) -> None:
            file = self._file(descriptor)
            if not file:
                real(descriptor)
                return
            del file.process.memory["files"][descriptor]
            self._disk.close(file)

        return close if name == "close" else call

    @property
    def _disk(self) -> Disk:
        assert self.disk is not None
        return self.disk

    def _file(self, descriptor: Any) -> OpenFile | None:
        if not isinstance(descriptor, int) or descriptor < _FIRST_DESCRIPTOR:
            return None
        process = scheduler.world().process
        if process.dead:
            raise Killed
        file: OpenFile | None = process.memory.get("files", {}).get(descriptor)
        if file is None:
            raise OSError(9, "a descriptor that is closed")
        return file

    def opened(self, path: str, flags: int) -> int:
        """Open a path of the simulated disk; return the descriptor."""
        file = self._disk.open(path, flags)
        self._descriptors += 1
        file.process.memory.setdefault("files", {})[self._descriptors] = file
        return self._descriptors

    def _open_(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        inside = self._inside(path)
        if inside is None or self.disk is None:
            return self._real["open"](path, flags, *rest, **named)  # type: ignore[no-any-return]
        return self.opened(inside, flags)

    def _scandir_(self, path: Any = ".") -> Any:
        inside = self._inside(path)
        if inside is None or self.disk is None:
            return self._real["scandir"](path)
        return _Entries([_Entry(name, os.path.join(path, name)) for name in self.disk.listdir(inside)])  # noqa: PTH118

    def _getpid_(self) -> int:
        process = _process()
        return process.pid if process else self._getpid()

    def _readlink_(self, path: Any, *rest: Any, **named: Any) -> Any:
        process = _process()
        if process and os.fspath(path) == "/proc/self/ns/pid":
            return f"pid:[{process.machine.number}]"
        return self._real["readlink"](path, *rest, **named)

    def _open_file(self, file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        process = _process()
        if process and str(file).startswith("/proc/"):
            return io.StringIO(_proc(process, str(file)))
        inside = self._inside(file)
        if inside is None or self.disk is None:
            return self._open(file, mode, *rest, **named)
        flags = {"rb": os.O_RDONLY, "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC}[mode]
        raw = _RawFile(self, self.opened(inside, flags), mode)
        return io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)


class _RawFile(io.RawIOBase):
    """What ``open`` returns, below its buffer."""

    def __init__(self, system: System, descriptor: int, mode: str) -> None:
        self._system, self._descriptor, self._mode = system, descriptor, mode
        self._process = scheduler.world().process

    def readable(self) -> bool:
        return self._mode == "rb"

    def writable(self) -> bool:
        return self._mode == "wb"

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    @property
    def _file(self) -> OpenFile:
        file: OpenFile = self._process.memory["files"][self._descriptor]
        return file

    def readinto(self, buffer: Any) -> int:
        data = self._system._disk.read(self._file, len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: Any) -> int:
        if self._process.dead:  # a buffer that Python empties when it removes the object
            return len(data)
        return self._system._disk.write(self._file, bytes(data))

    def seek(self, offset: int, whence: int = 0) -> int:
        begin = {0: 0, 1: self._file.position, 2: len(self._file.node.content)}[whence]
        self._file.position = begin + offset
        return self._file.position

    def tell(self) -> int:
        return self._file.position

    def close(self) -> None:
        if not self.closed:
            super().close()
            if not self._process.dead and self._descriptor in self._process.memory["files"]:
                # Python closes the file of a generator that it removes and lets no exception out. The next call raises.
                with contextlib.suppress(Killed) if self._mode == "rb" else contextlib.nullcontext():
                    os.close(self._descriptor)


class _Entry:
    """What ``scandir`` yields, as far as ``glob`` uses it."""

    def __init__(self, name: str, path: str) -> None:
        self.name, self.path = name, path

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return False


class _Entries(list[_Entry]):
    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def close(self) -> None:
        return


class _PerProcess:
    """A dict or set of a module that each process has of its own."""

    def __init__(self, name: str, kind: type) -> None:
        self._name, self._kind = name, kind

    @property
    def _own(self) -> Any:
        return scheduler.world().process.memory.setdefault(self._name, self._kind())

    def __contains__(self, item: object) -> bool:
        return item in self._own

    def __setitem__(self, key: Any, value: Any) -> None:
        self._own[key] = value

    def get(self, key: Any, default: Any) -> Any:
        return self._own.get(key, default)

    def add(self, item: Any) -> None:
        self._own.add(item)


class _InOrder:
    """`ThreadPoolExecutor`, without threads."""

    def __init__(self, workers: int) -> None:
        pass

    def __enter__(self) -> _InOrder:
        return self

    def __exit__(self, *error: object) -> None:
        return

    def map(self, call: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
        return map(call, items)


def _process() -> scheduler.Process | None:
    """Return the simulated process that runs now."""
    worlds = scheduler._worlds
    return worlds[-1].process if worlds and worlds[-1].current else None


def _proc(process: scheduler.Process, path: str) -> str:
    if path == "/proc/sys/kernel/random/boot_id":
        kernel = 0 if scheduler.world().one_box else process.machine.number
        return f"boot {kernel}.{process.machine.boots}\n"
    other = process.machine.running.get(int(path.split("/")[2]))
    scheduler.world().call()
    if other is None or (other.dead and not other.lingers):
        raise FileNotFoundError(2, "no such process", path)
    state, threads = ("Z", 2) if other.dead else ("S", 3)
    return f"{other.pid} (python) {state} 1 " + "0 " * 15 + f"{threads} 0 {other.started} 0"


def _of_store(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(store: Any, *args: Any, **named: Any) -> Any:
        if not isinstance(store, SimulatedStore):
            return real(store, *args, **named)
        named.pop("use_multipart", None)
        return getattr(store, name)(*args, **named)

    return call


def _modules() -> dict[Any, dict[str, Any]]:
    """Return what the journal's modules find instead of what they import."""
    now = scheduler.world
    time = types.SimpleNamespace(
        time=lambda: now().wall,
        monotonic=lambda: now().monotonic,
        sleep=lambda seconds: now().sleep(seconds),
        clock_gettime=lambda which: now().now,
        CLOCK_BOOTTIME=7,
    )
    threading = types.SimpleNamespace(
        Thread=scheduler.Thread, Event=scheduler.Event, Lock=scheduler.Lock, get_ident=lambda: now().identity
    )
    unique = types.SimpleNamespace(uuid4=lambda: uuid.UUID(int=now().rng.getrandbits(128)))
    host = types.SimpleNamespace(gethostname=lambda: "localhost")
    return {
        lease: {
            "time": time, "threading": threading, "socket": host, "_discarded": _PerProcess("discarded", dict),
        },
        object_lease: {"time": time, "threading": threading, "uuid": unique},
        single_thread: {"threading": threading, "SimpleQueue": scheduler.SimpleQueue},
        steady_time: {"time": time, "monotonic": time.monotonic},
        durable_files: {"_synced": _PerProcess("synced", set), "uuid": unique},
        object_storage: {"ThreadPoolExecutor": _InOrder},
    }  # fmt: skip


_PATHS = {
    "stat": "stat", "lstat": "stat", "listdir": "listdir", "mkdir": "mkdir", "rmdir": "rmdir", "unlink": "unlink",
    "remove": "unlink", "rename": "rename", "replace": "rename", "link": "link", "utime": "utime",
}  # fmt: skip
_FILES = {
    "close": "close", "write": "write", "fsync": "sync", "fdatasync": "sync", "ftruncate": "truncate", "fstat": "fstat",
}  # fmt: skip
