"""Run a script in this process as Python would run it: as ``__main__``, with its own command line."""

from __future__ import annotations

import ast
import atexit
import json
import os
import re
import runpy
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.rundir import data_folder
from orchestrator.spec.command_line import STANDARD, Invocation, flat, invocation, nested
from orchestrator.training.class_loading.import_paths import import_object
from orchestrator.training.job import Job
from orchestrator.training.trial_files import own_place

_SYNTAX = re.compile(r"[,=()\[\]{}'\"#]|^\s|\s$|^$")
_PLAIN = ("${interpreter}", "${program}", "${args_no_hyphens}")


def invocation_of(job: Job, macros: dict[str, str]) -> Invocation:
    """Return what the job's command runs, the script by its absolute path. Raises UsageError if there is none."""
    json_file = Path(job.folder) / "args.json"
    code = job.model
    path = find_script(code["program"]) if code.get("program") else None
    is_hydra = path is not None and _uses_hydra(path)
    is_plain = not is_hydra and path is not None and b"OmegaConf.from_cli(" in path.read_bytes()
    if is_hydra:
        code = {**code, "args": {name: _as_hydra_text(value) for name, value in flat(code["args"]).items()}}
    found = invocation(code, macros, json_file=str(json_file), standard=_PLAIN if is_hydra or is_plain else STANDARD)
    if any("${args_json_file}" in word for word in code.get("command") or ()):
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(nested(job.model["args"])))
    if not found.program:
        return found
    words = [*found.words, *(_hydra_words(job, found.words) if is_hydra else ())]
    return Invocation(str(find_script(found.program)), "", words, found.environment)


def _uses_hydra(script: Path) -> bool:
    """Return whether a script takes its command line by ``hydra.main``, under whatever name it imports that."""
    try:
        nodes = list(ast.walk(ast.parse(script.read_bytes())))
    except (SyntaxError, ValueError):  # reported where the script is checked
        return False
    names = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "hydra"
    }
    return any(
        (isinstance(node, ast.ImportFrom) and node.module == "hydra" and any(a.name == "main" for a in node.names))
        or (isinstance(node, ast.Attribute) and node.attr == "main" and getattr(node.value, "id", "") in names)
        for node in nodes
    )


def _hydra_words(job: Job, words: Sequence[str]) -> Iterator[str]:
    """Yield the words that let Hydra run the trial once and write into its folder.

    By default trials of one second share one; a config that says ``hydra.mode: MULTIRUN`` would start a sweep of its
    own.
    """
    if not any(word.startswith(("hydra.run.dir", "hydra.sweep", "-m", "--multirun")) for word in words):
        yield f"hydra.run.dir={_quoted(own_place(job, Path('outputs').absolute()))}"
        if not any(word.startswith("hydra.mode") for word in words) and _knows_mode():
            yield "hydra.mode=RUN"


def _knows_mode() -> bool:
    """Return whether the installed Hydra has ``hydra.mode``, as it has from 1.2 on."""
    try:
        return tuple(int(part) for part in version("hydra-core").split(".")[:2]) >= (1, 2)
    except (PackageNotFoundError, ValueError):
        return False


def _as_hydra_text(value: Any) -> Any:
    """Return a text in quotes where Hydra would read it as a list of values, a call or an assignment."""
    if isinstance(value, str) and value[:1] not in ("[", "{", "$", "'", '"') and _SYNTAX.search(value):
        return _quoted(value)
    return value


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def find_script(program: str) -> Path:
    """Return a script's path: absolute, or in the folders that modules are imported from, in their order.

    Raises:
        UsageError: It is nowhere there, or lies in a run directory or a bundle.
    """
    places = [Path(program).expanduser()] if Path(program).expanduser().is_absolute() else []
    if not places:
        places = [Path(root or ".") / program for root in (*sys.path, ".")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UsageError(
            f"there is no script {program!r}",
            hint="the path counts from the folder of the sweep file, or from the working directory",
        )
    if folder := data_folder(path.absolute()):
        raise UsageError(f"{program} lies in {folder}, but a run directory or a bundle holds no code",
                         hint="move the script to a folder of its own")  # fmt: skip
    return path.absolute()


_kept: set[str] = set()  # modules of a script that are still imported
_kept_of: list[Path] = []  # the folder of that script


class CommandLine(list[str]):
    """A ``sys.argv`` that notes whether more than the name of the program was read."""

    is_read = False

    def __getitem__(self, index: Any) -> Any:
        self.is_read |= index != 0
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[str]:
        self.is_read = True
        return super().__iter__()

    def __len__(self) -> int:
        self.is_read = True
        return super().__len__()


def run_script(
    found: Invocation, started: Callable[[CommandLine], None] = lambda words: None, *, keeps_modules: bool = False
) -> None:
    """Run the script to its end. What it raises passes through, a SystemExit included.

    Args:
        found: the script and its command line.
        started: gets the script's ``sys.argv`` before it is run.
        keeps_modules: whether modules of its own stay imported until a script of another folder runs, or one that
            keeps none. pickle needs them.
    """
    with _as_program(found) as words, _own_modules(found, keeps_modules), _exit_handlers(found), _signals_allowed():
        started(words)
        if found.function:
            sys.exit(import_object(found.function.replace(":", "."))())
        elif found.module:
            runpy.run_module(found.module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(found.program, run_name="__main__")


@contextmanager
def _as_program(found: Invocation) -> Iterator[CommandLine]:
    """Set ``sys.argv``, the environment and the first folder of ``sys.path`` as for a program."""
    argv, path = list(sys.argv), list(sys.path)
    words = CommandLine([found.program or found.module or found.function.partition(":")[0], *found.words])
    sys.argv = words
    if found.program:
        sys.path.insert(0, str(Path(found.program).parent))
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra ends the process instead of passing an error on
    os.environ.update(found.environment)  # restored with the rest of the process's state
    try:
        yield words
    finally:
        sys.argv, sys.path[:] = argv, path


@contextmanager
def _own_modules(found: Invocation, keeps: bool) -> Iterator[None]:
    """Forget the modules that the script has imported from its own folder, so that the next trial has new ones."""
    folder = _folder(found)
    if not keeps or _kept_of != [folder]:
        _forget_kept()
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str) and _is_own(Path(file), folder):
                _kept.add(name)
        _kept_of[:] = [folder]
        if not keeps:
            _forget_kept()


def _forget_kept() -> None:
    while _kept:
        sys.modules.pop(_kept.pop(), None)


@contextmanager
def _exit_handlers(found: Invocation) -> Iterator[None]:
    """Call what the script's own code registers by ``atexit`` at the script's end, the last one first, as Python does.

    What a library registers stays for the end of the process, as the library stays loaded.
    """
    register, unregister, folder = atexit.register, atexit.unregister, _folder(found)
    handlers: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def own_register(handler: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        file = sys._getframe(1).f_globals.get("__file__")
        if not (isinstance(file, str) and _is_own(Path(file).absolute(), folder)):
            return register(handler, *args, **kwargs)
        handlers.append((handler, args, kwargs))
        return handler

    def own_unregister(handler: Callable[..., Any], /) -> None:
        handlers[:] = [each for each in handlers if each[0] != handler]
        unregister(handler)

    atexit.register, atexit.unregister = own_register, own_unregister
    try:
        yield
    finally:
        atexit.register, atexit.unregister = register, unregister
        while handlers:
            handler, args, kwargs = handlers.pop()
            try:
                handler(*args, **kwargs)
            except Exception:
                traceback.print_exc()


def _folder(found: Invocation) -> Path:
    return Path(found.program).parent if found.program else Path.cwd()


def _is_own(file: Path, folder: Path) -> bool:
    return file.is_relative_to(folder) and not {"site-packages", "dist-packages"} & set(file.parts)


@contextmanager
def _signals_allowed() -> Iterator[None]:
    """Let a script set handlers of signals in a thread, where Python has none: they are not called."""
    if threading.current_thread() is threading.main_thread():
        yield
        return
    original: Any = signal.signal

    def ignore(number: Any, handler: Any) -> Any:
        return original(number, handler) if threading.current_thread() is threading.main_thread() else None

    signal.signal = ignore  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = original
