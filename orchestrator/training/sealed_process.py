"""Seal a process off, so that a user's code that runs in it leaves nothing behind."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate")
_MOST_LINKS = 10_000
_LEVELS = 2  # of folders above
_CONNECTIONS = ("socket.connect", "socket.getaddrinfo")


class SealedWriteError(PermissionError):
    """The user's code writes where the check may not: a trial does so without an error."""


def sealed_off(folders: list[str], scratch: str) -> None:
    """From now on, refuse to write into the folders and to open connections, in this process for good.

    ``scratch`` may be written, even inside one of the folders.
    """
    closed = tuple(f"{os.path.realpath(folder)}/" for folder in folders)
    own = f"{os.path.realpath(scratch)}/"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CONNECTIONS:
            host = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
            _refuse_connection(host[0] if isinstance(host, tuple) else host)
        elif isinstance(arguments[0] if arguments else None, str | bytes) and _changes_a_file(event, arguments):
            _refuse_write(os.fsdecode(arguments[0]), closed, own)

    sys.addaudithook(hook)


def work_beside(scratch: str) -> None:
    """Go on in a new folder with a link to each entry of the working directory, and so for two folders above it.

    So a script reads its files by relative paths, ``../data`` included, and what it writes by them goes into
    ``scratch``.
    """
    here = Path.cwd()
    chain = [here, *itertools.takewhile(_is_a_projects, here.parents)][: 1 + _LEVELS]
    folder = Path(scratch) / "work"
    for place, below in zip(reversed(chain), [*reversed(chain[:-1]), None], strict=True):
        folder.mkdir(parents=True)
        with suppress(OSError):  # a folder above that may not be read
            for entry in itertools.islice(place.iterdir(), _MOST_LINKS):
                if entry != below:
                    (folder / entry.name).symlink_to(entry)
        folder = folder / below.name if below else folder
    os.chdir(folder)


def _is_a_projects(folder: Path) -> bool:
    """Return whether a folder above the working directory may belong to the project: not the home folder, say."""
    return len(folder.parts) > 2 and folder != Path.home()


def _changes_a_file(event: str, arguments: tuple[Any, ...]) -> bool:
    return event in _CHANGES or (event == "open" and bool((arguments[2] or 0) & _WRITING))


def _refuse_write(path: str, closed: tuple[str, ...], own: str) -> None:
    place = f"{os.path.realpath(path)}/"
    is_linked = os.path.normpath(Path(path).absolute()).startswith(own)  # from the folder of `work_beside`
    if (place.startswith(closed) or is_linked) and not place.startswith(own):
        raise SealedWriteError(errno.EACCES, "the check before the start writes no file here", path)


def _refuse_connection(host: Any) -> None:
    if isinstance(host, str) and "." in host.rstrip(".") and not host.startswith(("127.", "/")):
        raise ConnectionRefusedError(errno.ECONNREFUSED, f"the check before the start opens no connection to {host}")


def load_in_process() -> None:
    """Let every DataLoader of this process read in the process itself."""
    import functools
    import inspect

    from torch.utils.data import DataLoader

    from orchestrator.training.data_position import PROCESSES

    original: Any = DataLoader.__init__
    parameters = inspect.signature(original)
    single = {"num_workers": 0, "prefetch_factor": None, "persistent_workers": False, "timeout": 0}

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        given = parameters.bind(self, *args, **kwargs)
        processes = given.arguments.get("num_workers", 0)
        given.arguments.update({**single, "multiprocessing_context": None})
        original(*given.args, **given.kwargs)
        setattr(self, PROCESSES, processes)

    DataLoader.__init__ = init  # type: ignore[method-assign]


def leave_out_preparation(class_path: str) -> bool:
    """Leave out the class's ``prepare_data``; return whether it has one of its own."""
    from lightning.pytorch.core.hooks import DataHooks

    from orchestrator.training.class_loading.import_paths import import_object

    cls: Any = import_object(class_path)
    cls = cls if isinstance(cls, type) else getattr(cls, "__self__", None)
    if not isinstance(cls, type) or not hasattr(cls, "prepare_data"):  # a function: only calling it would tell
        return False
    has_own = cls.prepare_data is not DataHooks.prepare_data
    cls.prepare_data = DataHooks.prepare_data
    return has_own
