"""File systems in memory: a local disk that can lose power, and NFS with its caches and handles.

What is modelled, and after what:

- data and names are durable once synced, and a power cut keeps any part of the rest (see `tests.chaos.operations`);
- a failed fsync forgets what it should have written ("fsyncgate", 2018);
- a client of NFS asks the server when it opens a file or lists a folder (close-to-open), and may answer a lookup from
  what it knew up to a minute ago; it keeps writes to itself until a sync or close, and appends at the size that it
  knows; it repeats a request whose answer was lost; and the handle of a file that another client has removed is stale
  (RFC 1813; Linux's fs/nfs).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.chaos.simulated.scheduler import Machine, Process, World

DEVICE = 0x5EED
_CACHE_SECONDS = 60.0  # Linux's acdirmax and acregmax


@dataclass(eq=False)
class Node:
    """A file or a folder.

    Attributes:
        content: a file's bytes, as readers find them.
        disk: those that are durable.
        dirty: the offset from which ``content`` is not durable; None if all is.
        names: a folder's entries.
        disk_names: those that are durable.
        pending: the changes of names that are not, in order.
        links: how many names it has.
        changed: modification time in Unix seconds.
    """

    number: int
    folder: bool = False
    content: bytearray = field(default_factory=bytearray)
    disk: bytearray = field(default_factory=bytearray)
    dirty: int | None = None
    names: dict[str, Node] = field(default_factory=dict)
    disk_names: dict[str, Node] = field(default_factory=dict)
    pending: list[dict[str, Node | None]] = field(default_factory=list)
    links: int = 1
    changed: float = 0.0

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes, after zeros if they are beyond the end."""
        self.content.extend(bytes(max(0, offset - len(self.content))))
        self.content[offset : offset + len(data)] = data
        self.dirty = offset if self.dirty is None else min(offset, self.dirty)

    def truncate(self, size: int) -> None:
        """Cut the file off, or extend it with zeros."""
        del self.content[size:]
        self.content.extend(bytes(size - len(self.content)))
        self.dirty = size if self.dirty is None else min(size, self.dirty)

    def sync(self) -> None:
        """Make content and names durable."""
        if self.dirty is not None:
            self.disk[self.dirty :] = self.content[self.dirty :]
            self.dirty = None
        self.disk_names = dict(self.names)
        self.pending.clear()

    def forget(self) -> None:
        """Count as synced what is not on the disk."""
        self.dirty = None

    def rename_entries(self, change: dict[str, Node | None]) -> None:
        """Change entries of a folder, all at once."""
        _apply(self.names, change)
        self.pending.append(change)

    def lose_power(self, rng: Random) -> None:
        """Keep what is durable, and any part of the rest."""
        kept = self.disk
        if self.dirty is not None:
            rest = self.content[self.dirty :]
            kept = self.disk[: self.dirty] + rest[: rng.randint(0, len(rest))] if rng.random() < 0.8 else self.disk
        self.content, self.disk, self.dirty = bytearray(kept), bytearray(kept), None
        some, names = rng.random(), dict(self.disk_names)
        for change in self.pending:
            if rng.random() < some:
                _apply(names, change)
        self.names, self.disk_names, self.pending = names, dict(names), []


def _apply(names: dict[str, Node], change: dict[str, Node | None]) -> None:
    for name, node in change.items():
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


@dataclass(eq=False)
class OpenFile:
    """What a descriptor leads to."""

    node: Node
    path: str
    flags: int
    process: Process
    position: int = 0


class Disk:
    """A local file system, which all processes of all machines see as it is.

    Paths are relative to its root, without a leading separator.
    """

    def __init__(self, world: World) -> None:
        self.world, self._numbers = world, 1
        self.root = Node(1, folder=True)
        world.on_power = self.lose_power

    # Names

    def find(self, path: str) -> Node:
        """Return what a path leads to. Raises FileNotFoundError or NotADirectoryError."""
        node = self.root
        for part in path.split("/") if path else ():
            if not node.folder:
                raise _error(errno.ENOTDIR, path)
            if part not in node.names:
                raise _error(errno.ENOENT, path)
            node = node.names[part]
        return node

    def parent(self, path: str) -> tuple[Node, str]:
        """Return the folder that holds a name, and the name."""
        folder, _, name = path.rpartition("/")
        node = self.find(folder)
        if not node.folder:
            raise _error(errno.ENOTDIR, path)
        return node, name

    def stat(self, path: str) -> os.stat_result:
        """Return what is known of a path."""
        self.world.call()
        return status(self.find(path))

    def listdir(self, path: str) -> list[str]:
        """Return the names in a folder, in any order."""
        self.world.call()
        node = self.find(path)
        if not node.folder:
            raise _error(errno.ENOTDIR, path)
        return list(node.names)

    def mkdir(self, path: str) -> None:
        """Create a folder."""
        self.world.call()
        with self.repeated(path, errno.EEXIST):
            folder, name = self.parent(path)
            if name in folder.names:
                raise _error(errno.EEXIST, path)
            folder.rename_entries({name: self._new(folder=True)})

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""
        self.world.call()
        with self.repeated(path, errno.ENOENT):
            node = self.find(path)
            if not node.folder:
                raise _error(errno.ENOTDIR, path)
            if node.names:
                raise _error(errno.ENOTEMPTY, path)
            folder, name = self.parent(path)
            node.links = 0
            folder.rename_entries({name: None})

    def unlink(self, path: str) -> None:
        """Remove a name of a file."""
        self.world.call()
        with self.repeated(path, errno.ENOENT):
            node = self.find(path)
            if node.folder:
                raise _error(errno.EISDIR, path)
            folder, name = self.parent(path)
            self._drop(node)
            folder.rename_entries({name: None})

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, instead of what has that name."""
        self.world.call()
        with self.repeated(old, errno.ENOENT, new):
            (folder, name), (other, target), node = self.parent(old), self.parent(new), self.find(old)
            replaced = other.names.get(target)
            if replaced is node:
                return
            if replaced is not None:
                if replaced.folder:
                    raise _error(errno.ENOTEMPTY if replaced is folder else errno.EISDIR, old)
                self._drop(replaced)
            if folder is other:
                folder.rename_entries({name: None, target: node})
            else:
                other.rename_entries({target: node})
                folder.rename_entries({name: None})

    def link(self, old: str, new: str) -> None:
        """Give a file a second name."""
        self.world.call()
        with self.repeated(new, errno.EEXIST):
            node, (folder, name) = self.find(old), self.parent(new)
            if name in folder.names:
                raise _error(errno.EEXIST, new)
            node.links += 1
            folder.rename_entries({name: node})

    def utime(self, path: str) -> None:
        """Set a file's modification time to now."""
        self.world.call()
        self.find(path).changed = self.clock()

    # Files

    def open(self, path: str, flags: int) -> OpenFile:
        """Open a file or a folder, or create a file."""
        self.world.call()
        folder, name = self.parent(path) if path else (self.root, "")
        node = folder.names.get(name) if path else self.root
        if node is None:
            if not flags & os.O_CREAT:
                raise _error(errno.ENOENT, path)
            node = self._new()
            folder.rename_entries({name: node})
        elif node.folder and flags & (os.O_WRONLY | os.O_RDWR):
            raise _error(errno.EISDIR, path)
        opened = OpenFile(node, path, flags, self.world.process)
        if flags & os.O_TRUNC:
            self._truncate(opened, 0)
        return opened

    def read(self, file: OpenFile, size: int) -> bytes:
        """Read from the file's position on."""
        self.world.call()
        content = self._content(file)
        data = bytes(content[file.position : file.position + size])
        file.position += len(data)
        return data

    def write(self, file: OpenFile, data: bytes) -> int:
        """Write at the file's position, or at its end; return how many bytes were."""
        world = self.world
        world.call("write")
        _require_writable(file, errno.EBADF)
        if world.chance("full"):
            part = len(data) // 2 if world.rng.random() < 0.5 else 0
            if not part:
                raise _error(errno.ENOSPC, file.path)
            data = data[:part]
        torn = world.chance("torn")
        if torn:
            data = data[: world.rng.randint(0, len(data))]
        self._write(file, data)
        if torn:
            world.end(world.process)
            world.call()
        return len(data)

    def sync(self, file: OpenFile) -> None:
        """Make a file's content, or a folder's names, durable."""
        self.world.call("write")
        if not file.node.folder and self.world.chance("broken"):
            file.node.forget()
            raise _error(errno.EIO, file.path)
        file.node.sync()

    def truncate(self, file: OpenFile, size: int) -> None:
        """Cut a file off."""
        self.world.call()
        _require_writable(file, errno.EINVAL)
        self._truncate(file, size)

    def fstat(self, file: OpenFile) -> os.stat_result:
        """Return what is known of an open file."""
        self.world.call()
        return status(file.node)

    def close(self, file: OpenFile) -> None:
        """Close a file."""
        self.world.call()

    def lose_power(self, machine: Machine) -> None:
        """Forget what is not durable."""
        nodes, waiting = dict[Node, None](), [self.root]  # in order: what is kept is drawn for each
        while waiting:
            node = waiting.pop()
            if node not in nodes:
                nodes[node] = None
                waiting.extend([*node.names.values(), *node.disk_names.values()])
                waiting.extend(other for change in node.pending for other in change.values() if other)
        for node in nodes:
            node.lose_power(self.world.rng)
        for node in nodes:
            node.links = sum(other is node for folder in nodes for other in folder.names.values())

    def replace_by_copy(self, path: str) -> None:
        """Put a durable copy in a file's place, as another program may."""
        node, (folder, name) = self.find(path), self.parent(path)
        copy = self._new()
        copy.write(0, bytes(node.content))
        copy.sync()
        node.links -= 1
        folder.rename_entries({name: copy})
        folder.sync()

    # What NFS does in another way

    def clock(self) -> float:
        """Return the time that files get, in Unix seconds."""
        return self.world.wall

    @contextmanager
    def repeated(self, path: str, answer: int, *also: str) -> Iterator[None]:
        """Do what a request asks for."""
        yield

    def _drop(self, node: Node) -> None:
        node.links -= 1

    def _content(self, file: OpenFile) -> bytearray:
        return file.node.content

    def _write(self, file: OpenFile, data: bytes) -> None:
        node = file.node
        offset = len(node.content) if file.flags & os.O_APPEND else file.position
        node.write(offset, data)
        node.changed, file.position = self.clock(), offset + len(data)

    def _truncate(self, file: OpenFile, size: int) -> None:
        file.node.truncate(size)
        file.node.changed = self.clock()

    def _new(self, *, folder: bool = False) -> Node:
        self._numbers += 1
        return Node(self._numbers, folder, changed=self.clock())


@dataclass
class Client:
    """What a machine knows of the files of a server.

    Attributes:
        seen: until when the client answers for a path by itself, and what; None for nothing.
        own: the content of files that it has written to, and the offset from which the server does not have it.
    """

    seen: dict[str, tuple[float, os.stat_result | None]] = field(default_factory=dict)
    own: dict[Node, tuple[bytearray, int]] = field(default_factory=dict)


class Nfs(Disk):
    """A server's file system as its clients see it. What the server has is durable."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._clients: dict[int, Client] = {}
        self._offset = world.rng.choice((0.0, 1000.0, -9.0))
        world.on_end = self._end

    @property
    def client(self) -> Client:
        """What the running process's machine knows."""
        return self._clients.setdefault(self.world.process.machine.number, Client())

    def stat(self, path: str) -> os.stat_result:
        """Return what the client knows, or asks the server for."""
        self.world.call()
        seen = self.client.seen
        until, known = seen.get(path, (0.0, None))
        if self.world.now < until:
            if known is None:
                raise _error(errno.ENOENT, path)
            return known
        try:
            return self._look(path, self.find(path))
        except FileNotFoundError:
            seen[path] = self._for_a_while(), None
            raise

    def listdir(self, path: str) -> list[str]:
        """Ask the server."""
        names = super().listdir(path)
        self._forget(path)
        return names

    def utime(self, path: str) -> None:
        """Set the server's time, which the client then knows."""
        super().utime(path)
        if self.world.chance("failed"):
            raise _error(errno.EIO, path)
        self._look(path, self.find(path))

    def open(self, path: str, flags: int) -> OpenFile:
        """Ask the server, whatever is known."""
        known = self.client.seen.pop(path, None)
        try:
            opened = super().open(path, flags)
        except OSError:
            self._forget(path.rpartition("/")[0])  # the server has said that there is no such folder, or file
            raise
        node = opened.node
        if known is not None and known[1] is None:
            self._forget(path.rpartition("/")[0])
        if node in self.client.own:
            self._flush(node, path)
        if path:
            self._look(path, node)
        return opened

    def sync(self, file: OpenFile) -> None:
        """Send what was written."""
        self.world.call("write")
        if self.world.chance("broken"):
            self.client.own.pop(file.node, None)
            raise _error(errno.EIO, file.path)
        self._flush(file.node, file.path)

    def close(self, file: OpenFile) -> None:
        """Send what was written."""
        super().close(file)
        self._flush(file.node, file.path)

    def fstat(self, file: OpenFile) -> os.stat_result:
        """Return what the client knows: since the open, or what it has written itself."""
        super().fstat(file)
        self._check(file.node, file.path)
        own = self.client.own.get(file.node)
        return status(file.node, len(own[0]) if own else None)

    def lose_power(self, machine: Machine) -> None:
        """Forget what the machine has not sent, but for any part of it."""
        client = self._clients.pop(machine.number, Client())
        for node, (content, dirty) in client.own.items():
            if node.links:
                self._send(node, content[: self.world.rng.randint(dirty, len(content))], dirty)

    def _end(self, process: Process) -> None:
        """Close the files of a process that ends, as its kernel does."""
        own = self._clients.get(process.machine.number, Client()).own
        for file in process.memory.get("files", {}).values():
            if file.node in own:
                content, dirty = own.pop(file.node)
                if file.node.links:
                    self._send(file.node, content, dirty)

    def clock(self) -> float:
        """Return the server's time."""
        return self.world.wall - self.world.process.machine.offset + self._offset

    @contextmanager
    def repeated(self, path: str, answer: int, *also: str) -> Iterator[None]:
        """Do what a request asks for; if its answer is lost, the answer to the repeated one is an error."""
        yield
        for other in (path, *also):
            self._forget(other.rpartition("/")[0])
        if self.world.chance("lost"):
            raise _error(answer, path)

    def _look(self, path: str, node: Node) -> os.stat_result:
        own = self.client.own.get(node)
        found = status(node, len(own[0]) if own else None)
        self.client.seen[path] = self._for_a_while(), found
        return found

    def _for_a_while(self) -> float:
        """Return until when the client answers by itself."""
        return self.world.now + (_CACHE_SECONDS * self.world.rng.random() if self.world.chance("cached") else 0.0)

    def _forget(self, folder: str) -> None:
        """Forget a folder's names: the client has changed one, or listed them."""
        seen = self.client.seen
        for path in [path for path in seen if path.rpartition("/")[0] == folder or path == folder]:
            del seen[path]

    def _check(self, node: Node, path: str) -> None:
        """Raise ESTALE if another machine has removed the file."""
        if not node.links:
            self.client.own.pop(node, None)
            raise _error(errno.ESTALE, path)

    def _drop(self, node: Node) -> None:
        super()._drop(node)
        own = self.world.process
        for process in (own, *own.machine.running.values()):  # "silly rename": the file stays while it is open
            if not node.links and any(file.node is node for file in process.memory.get("files", {}).values()):
                node.links = 1

    def _content(self, file: OpenFile) -> bytearray:
        self._check(file.node, file.path)
        own = self.client.own.get(file.node)
        return own[0] if own else file.node.content

    def _write(self, file: OpenFile, data: bytes) -> None:
        node, client = file.node, self.client
        if not node.links:
            raise _error(errno.ESTALE, file.path)
        content, dirty = client.own.get(node) or (bytearray(node.content), len(node.content))
        offset = len(content) if file.flags & os.O_APPEND else file.position
        content[offset : offset + len(data)] = data
        client.own[node] = content, min(dirty, offset)
        file.position = offset + len(data)

    def _truncate(self, file: OpenFile, size: int) -> None:
        self._flush(file.node, file.path)
        super()._truncate(file, size)
        file.node.sync()

    def _flush(self, node: Node, path: str) -> None:
        own = self.client.own.get(node)
        if own:
            self._check(node, path)
            del self.client.own[node]
            self._send(node, own[0], own[1])

    def _send(self, node: Node, content: bytearray, dirty: int) -> None:
        node.write(dirty, bytes(content[dirty:]))
        node.sync()
        node.changed = self.clock()


def status(node: Node, size: int | None = None) -> os.stat_result:
    """Return a node's status."""
    mode = stat.S_IFDIR | 0o700 if node.folder else stat.S_IFREG | 0o600
    length = len(node.content) if size is None else size
    whole = int(node.changed)
    links = 2 if node.folder else node.links
    times = (whole, whole, whole, node.changed, node.changed, node.changed)
    return os.stat_result((mode, node.number, DEVICE, links, os.getuid(), os.getgid(), length, *times))


def _require_writable(file: OpenFile, number: int) -> None:
    if file.flags & os.O_ACCMODE == os.O_RDONLY:
        raise _error(number, file.path)


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
