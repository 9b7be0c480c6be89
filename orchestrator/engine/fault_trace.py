"""Where Python was when native code ended the process: written by `faulthandler`, read by who records the loss."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from orchestrator.durable_files import out_of_reach

_FIRST_DESCRIPTOR = 384
_FRAME = re.compile(r'^ *File "([^"]+)", line (\d+) in (\S+)$', re.MULTILINE)
_TITLE = re.compile(r"^Fatal Python error: (.+)$", re.MULTILINE)
_BYTES = 100_000
_LIBRARIES = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")} | {
    str(Path(__file__).resolve().parents[1])
}


def trace_faults(descriptor: int) -> int:
    """Write Python's stack to an open file if a fault ends this process.

    Returns:
        The file's number; ``descriptor`` itself is closed.
    """
    number = out_of_reach(descriptor, _FIRST_DESCRIPTOR)
    faulthandler.enable(number, all_threads=False)
    return number


@contextlib.contextmanager
def faults_traced(file: Path) -> Iterator[None]:
    """Append Python's stack to ``file`` if a fault ends this process meanwhile. An empty file is removed."""
    number = -1
    with contextlib.suppress(OSError):  # a full disk, say
        file.parent.mkdir(parents=True, exist_ok=True)
        number = trace_faults(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
    try:
        yield
    finally:
        if number >= 0:
            faulthandler.disable()
            with contextlib.suppress(OSError):
                os.close(number)
            with contextlib.suppress(OSError):
                if not file.stat().st_size:
                    file.unlink()


def read_trace(file: Path) -> str:
    """Return the stack of a fault; empty if there was none, or the file is out of reach."""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        text = opened.read(_BYTES).decode(errors="replace")
        return text if _TITLE.search(text) else ""
    return ""


def fault_in_words(trace: str) -> str:
    """Return what the stack shows, as the end of a sentence: the fault, and the place in the user's code."""
    title = _TITLE.search(trace)
    if not title:
        return ""
    places = (
        f", called in {name} ({Path(file).name}:{line})"
        for file, line, name in _FRAME.findall(trace)
        if not any(file.startswith(f"{folder}{os.sep}") for folder in _LIBRARIES)
    )
    return f"by a fault in native code ({title[1].lower()}){next(places, '')}"
