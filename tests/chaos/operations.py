"""File operations: recorded as a process makes them, and replayed to every state that a crash could leave.

What a crash leaves (Pillai et al., "All file systems are not created equal", 2014; the strict reading of POSIX): data
that was fsync'd is there, other data may be absent, partly there or torn; a name that was made, changed or removed is
so for certain only once its directory was fsync'd. What is not durable comes in any order, but for the data of one
file: that comes in the order it was written, since a file's size moves on after its data (ext4, XFS and btrfs).
"""

from __future__ import annotations

import builtins
import fcntl
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Operation = tuple[Any, ...]
_NEWEST = 8  # operations that are not durable, each of which is tried as the one that is missing, or alone there


class Recorder:
    """Records what this process does to files below ``root``, in order: through ``os`` and through ``open``."""

    def __init__(self, root: Path) -> None:
        self.operations: list[Operation] = []
        self._root = f"{root}{os.sep}"
        self._handles: dict[int, int] = {}
        self._count = 0
        self._lock = threading.RLock()

    def note(self, *operation: Any) -> None:
        """Add a mark of one's own."""
        with self._lock:
            self.operations.append(operation)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While entered, every operation is recorded."""
        real = {name: getattr(os, name) for name in _CALLS}
        opened = io.open
        for name, call in real.items():
            setattr(os, name, _bind(getattr(self, f"_{name}"), call))
        io.open = builtins.open = _bind(self._python_open, opened)
        control = fcntl.fcntl
        fcntl.fcntl = _bind(self._fcntl, control)
        try:
            yield
        finally:
            io.open = builtins.open = opened
            fcntl.fcntl = control
            for name, call in real.items():
                setattr(os, name, call)

    def inside(self, path: Any) -> str:
        """The path below the root, which is itself "."; empty where it is elsewhere."""
        if isinstance(path, int):
            return ""
        absolute = os.path.abspath(os.fspath(path))  # noqa: PTH100
        if absolute + os.sep == self._root:
            return "."
        return absolute[len(self._root) :] if absolute.startswith(self._root) else ""

    def new_handle(self, path: str, *, creates: bool, empties: bool) -> int:
        """Note that a file was opened; returns what its writes go by."""
        self._count += 1
        self.note("open", self._count, path, creates, empties)
        return self._count

    def _open(self, call: Callable[..., int], path: Any, flags: int, *rest: Any, **named: Any) -> int:
        name = self.inside(path)
        with self._lock:
            creates = bool(name) and bool(flags & os.O_CREAT) and not os.path.lexists(path)
            descriptor = call(path, flags, *rest, **named)
            if name:
                self._handles[descriptor] = self.new_handle(name, creates=creates, empties=bool(flags & os.O_TRUNC))
            return descriptor

    def _close(self, call: Callable[..., None], descriptor: int) -> None:
        with self._lock:
            self._handles.pop(descriptor, None)
            call(descriptor)

    def _fcntl(self, call: Callable[..., Any], descriptor: Any, command: int, *rest: Any) -> Any:
        """A second number of the same open file."""
        with self._lock:
            returned = call(descriptor, command, *rest)
            if command in (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC) and descriptor in self._handles:
                self._handles[returned] = self._handles[descriptor]
            return returned

    def _write(self, call: Callable[..., int], descriptor: int, data: Any) -> int:
        with self._lock:
            written = call(descriptor, data)
            if descriptor in self._handles:
                self.note("write", self._handles[descriptor], bytes(data[:written]))
            return written

    def _fsync(self, call: Callable[..., None], descriptor: int) -> None:
        with self._lock:
            call(descriptor)
            if descriptor in self._handles:
                self.note("sync", self._handles[descriptor])

    _fdatasync = _fsync

    def _ftruncate(self, call: Callable[..., None], descriptor: int, size: int) -> None:
        with self._lock:
            call(descriptor, size)
            if descriptor in self._handles:
                self.note("truncate", self._handles[descriptor], size)

    def _mkdir(self, call: Callable[..., None], path: Any, *rest: Any, **named: Any) -> None:
        self._named("mkdir", call, (path,), *rest, **named)

    def _rmdir(self, call: Callable[..., None], path: Any, **named: Any) -> None:
        self._named("unlink", call, (path,), **named)

    def _unlink(self, call: Callable[..., None], path: Any, **named: Any) -> None:
        self._named("unlink", call, (path,), **named)

    _remove = _unlink

    def _rename(self, call: Callable[..., None], old: Any, new: Any, **named: Any) -> None:
        self._named("rename", call, (old, new), **named)

    _replace = _rename

    def _link(self, call: Callable[..., None], old: Any, new: Any, **named: Any) -> None:
        self._named("link", call, (old, new), **named)

    def _named(self, kind: str, call: Callable[..., None], paths: tuple[Any, ...], *rest: Any, **named: Any) -> None:
        with self._lock:
            call(*paths, *rest, **named)
            if "dir_fd" in named and named["dir_fd"] is not None:
                folder = os.readlink(f"/proc/self/fd/{named['dir_fd']}")  # noqa: PTH115
                paths = tuple(f"{folder}{os.sep}{os.fspath(path)}" for path in paths)
            names = [self.inside(path) for path in paths]
            if all(names):
                self.note(kind, *names)

    def _python_open(self, call: Callable[..., Any], file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        name = self.inside(file)
        if not name or not set(mode) & set("wax+"):
            return call(file, mode, *rest, **named)
        with self._lock:
            raw = _RecordedFile(self, file, name, mode)
        buffered = io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        return io.TextIOWrapper(
            buffered, **{key: named[key] for key in ("encoding", "errors", "newline") if key in named}
        )


_CALLS = [
    "open",
    "close",
    "write",
    "fsync",
    "fdatasync",
    "ftruncate",
    "mkdir",
    "rmdir",
    "unlink",
    "remove",
    "rename",
    "replace",
    "link",
]


class _RecordedFile(io.FileIO):
    """What ``open`` returns inside, for writing."""

    def __init__(self, recorder: Recorder, path: Any, name: str, mode: str) -> None:
        creates = not os.path.lexists(path)
        super().__init__(path, mode.replace("b", "").replace("t", ""))
        self._recorder = recorder
        self._handle = recorder.new_handle(name, creates=creates, empties="w" in mode)
        recorder._handles[self.fileno()] = self._handle

    def write(self, data: Any) -> int:
        with self._recorder._lock:
            written = super().write(data) or 0
            self._recorder.note("write", self._handle, bytes(data[:written]))
            return written

    def close(self) -> None:
        if not self.closed:
            self._recorder._handles.pop(self.fileno(), None)
        super().close()


def _bind(record: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    def recorded(*args: Any, **named: Any) -> Any:
        return record(call, *args, **named)

    return recorded


@dataclass
class Step:
    """An operation on numbered files and directories rather than paths. ``node`` is what an fsync makes durable."""

    kind: str
    node: int
    names: dict[str, int | None] = field(default_factory=dict)  # of a directory: None is a name that goes
    offset: int = 0
    data: bytes = b""
    size: int = 0


@dataclass
class Tree:
    """A file system in memory: node 0 is the root directory."""

    folders: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, bytearray] = field(default_factory=dict)

    def apply(self, step: Step) -> None:
        if step.kind == "names":
            for name, node in step.names.items():
                if node is None:
                    self.folders[step.node].pop(name, None)
                else:
                    self.folders[step.node][name] = node
        elif step.kind == "write":
            content = self.files[step.node]
            content.extend(bytes(max(0, step.offset - len(content))))
            content[step.offset : step.offset + len(step.data)] = step.data
        elif step.kind == "truncate":
            content = self.files[step.node]
            del content[step.size :]

    def contents(self, node: int = 0, under: str = "") -> Iterator[tuple[str, bytes | None]]:
        """Every path with its bytes; None for a directory."""
        for name, child in sorted(self.folders[node].items()):
            path = f"{under}{name}"
            if child in self.folders:
                yield path, None
                yield from self.contents(child, f"{path}/")
            else:
                yield path, bytes(self.files[child])

    def write_to(self, root: Path) -> None:
        """Make it so on a disk."""
        for path, content in self.contents():
            if content is None:
                (root / path).mkdir(mode=0o700)
            else:
                (root / path).write_bytes(content)

    def digest(self) -> bytes:
        found = hashlib.blake2b(digest_size=16)
        for path, content in self.contents():
            found.update(f"{path}\0{-1 if content is None else len(content)}\0".encode() + (content or b""))
        return found.digest()


class History:
    """Recorded operations as steps, with every node known from the start."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.steps: list[Step] = []
        self.marks: list[tuple[int, Operation]] = []  # each after so many steps
        self._tree = Tree()
        self._nodes = 0
        self._open: dict[int, tuple[int, int]] = {}  # handle: node, position
        for operation in operations:
            kind, *rest = operation
            if hasattr(self, f"_on_{kind}"):
                getattr(self, f"_on_{kind}")(*rest)
            else:
                self.marks.append((len(self.steps), operation))
        self._durable_from = self._sync_points()

    def final(self) -> Tree:
        """What all of it comes to."""
        return self._replayed(self.steps)

    def states(self, upto: int) -> Iterator[Tree]:
        """The states that a crash after ``upto`` steps could leave, each once."""
        pending = [index for index in range(upto) if self._durable_from[index] >= upto]
        seen: set[bytes] = set()
        for left in self._choices(pending):
            torn = {index: step for index, step in left.items() if step is not None}
            steps = [
                torn.get(index, step)
                for index, step in enumerate(self.steps[:upto])
                if index not in left or index in torn
            ]
            tree = self._replayed(steps)
            digest = tree.digest()
            if digest not in seen:
                seen.add(digest)
                yield tree

    def _choices(self, pending: list[int]) -> Iterator[dict[int, Step | None]]:
        """Which steps are missing (None) or done in part, of those that are not durable."""
        data = [index for index in pending if self.steps[index].kind != "names"]
        names = [index for index in pending if self.steps[index].kind == "names"]
        for absent in (pending, [], data, names, pending[len(pending) // 2 :]):
            yield self._in_order(absent, data)
        newest = pending[-_NEWEST:]
        for index in newest:
            yield self._in_order([index], data)
            yield self._in_order([other for other in pending if other != index], data)
        for index in newest:
            step = self.steps[index]
            if step.kind == "write":
                for length in sorted({1, len(step.data) // 2, len(step.data) - 1}):
                    torn = Step("write", step.node, offset=step.offset, data=step.data[:length])
                    yield {**self._in_order([index], data), index: torn}

    def _in_order(self, absent: list[int], data: list[int]) -> dict[int, Step | None]:
        """Those steps, and what was written to the same files after them."""
        first: dict[int, int] = {}
        for index in sorted(set(absent) & set(data)):
            first.setdefault(self.steps[index].node, index)
        later = [index for index in data if index > first.get(self.steps[index].node, index)]
        return dict.fromkeys([*absent, *later])

    def _sync_points(self) -> list[int]:
        """After how many steps each of them is durable; more than there are where it never is."""
        never = len(self.steps) + 1
        synced: dict[int, int] = {}
        points = [never] * len(self.steps)
        for index in range(len(self.steps) - 1, -1, -1):
            step = self.steps[index]
            if step.kind == "sync":
                synced[step.node] = points[index] = index
            else:
                points[index] = synced.get(step.node, never)
        return points

    def _replayed(self, steps: Iterable[Step]) -> Tree:
        tree = Tree({node: {} for node in self._tree.folders}, {node: bytearray() for node in self._tree.files})
        for step in steps:
            tree.apply(step)
        return tree

    def _find(self, path: str) -> tuple[int, str, int | None]:
        """The directory that holds a name, the name, and what it stands for now."""
        if path == ".":
            return 0, ".", 0
        *folders, name = path.split("/")
        node = 0
        for folder in folders:
            node = self._tree.folders[node][folder]
        return node, name, self._tree.folders[node].get(name)

    def _do(self, step: Step) -> None:
        self.steps.append(step)
        self._tree.apply(step)

    def _on_open(self, handle: int, path: str, creates: bool, empties: bool) -> None:
        folder, name, node = self._find(path)
        if creates:
            self._nodes += 1
            node = self._nodes
            self._tree.files[node] = bytearray()
            self._do(Step("names", folder, {name: node}))
        assert node is not None, path
        if empties and not creates:
            self._do(Step("truncate", node))
        self._open[handle] = node, len(self._tree.files.get(node, b""))

    def _on_write(self, handle: int, data: bytes) -> None:
        node, offset = self._open[handle]
        self._do(Step("write", node, offset=offset, data=data))
        self._open[handle] = node, offset + len(data)

    def _on_truncate(self, handle: int, size: int) -> None:
        node, _ = self._open[handle]
        self._do(Step("truncate", node, size=size))
        self._open[handle] = node, size  # the journal's file: it is opened to append

    def _on_sync(self, handle: int) -> None:
        self.steps.append(Step("sync", self._open[handle][0]))

    def _on_mkdir(self, path: str) -> None:
        folder, name, _ = self._find(path)
        self._nodes += 1
        self._tree.folders[self._nodes] = {}
        self._do(Step("names", folder, {name: self._nodes}))

    def _on_unlink(self, path: str) -> None:
        folder, name, _ = self._find(path)
        self._do(Step("names", folder, {name: None}))

    def _on_rename(self, old: str, new: str) -> None:
        folder, name, node = self._find(old)
        other, target, _ = self._find(new)
        if folder == other:
            self._do(Step("names", folder, {name: None, target: node}))
        else:
            self._do(Step("names", other, {target: node}))
            self._do(Step("names", folder, {name: None}))

    def _on_link(self, old: str, new: str) -> None:
        _, _, node = self._find(old)
        folder, name, _ = self._find(new)
        self._do(Step("names", folder, {name: node}))
