"""Fuzzed sweep files against the reader: a SweepSpec or an error for people, soon, and with nothing imported.

    python -m tests.chaos.fuzz_specs --count 50000 --seed 0 --processes 2
    python -m tests.chaos.fuzz_specs --seed 0 --replay 4711

What each case is held to: ``load`` (or ``import_file``) returns a spec, or raises SpecError or UsageError with a
message, within two seconds of computing; it imports nothing, writes no file, starts no process, opens no socket; an
accepted spec, written back and read again, is equal; its space draws values that it contains; what was imported from
another tool's file can be read. Prints figures; exit code 1 where anything else happened.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.spec_cases import Case, case
from tests.chaos.spread import processes_of

LIMIT = 2.0
"""Seconds of computing that one case may take."""
CHUNK = 250
MEMORY = 4 << 30
"""Bytes of address space of a fuzzing process: whoever wants more gets a MemoryError."""

_FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.", "pickle.", "ctypes.")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_MESSAGE_LIMIT = 200_000


class TooSlowError(BaseException):
    """Not an Exception, so that nothing catches it on the way."""


@dataclass
class Figures:
    """What came of some cases; added up over processes."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, -1)
    violations: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        self.outcomes += other.outcomes
        self.slowest = max(self.slowest, other.slowest)
        self.violations += other.violations


class Watch:
    """Says what the process did while it was on: modules imported, files written, processes and sockets opened."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "import":
            self.seen.append(f"import {arguments[0]}")
        elif event.startswith(_FORBIDDEN):
            self.seen.append(event)
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING:
            self.seen.append(f"write {arguments[0]!r}")

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        self.seen, self.on = [], True
        before = set(sys.modules)
        try:
            yield self.seen
        finally:
            self.on = False
            self.seen += [f"load {name}" for name in set(sys.modules) - before]  # importlib tells no hook


def outcome(wanted: Case, file: Path) -> str:
    """``accepted``, ``refused`` or ``imported``. Raises whatever else happens."""
    from orchestrator.errors import UsageError
    from orchestrator.spec import import_file, load

    try:
        if wanted.imported:
            _check_imported(import_file(file, model="my_package.Model", data="my_package.Data"))
            return "imported"
        spec = load(str(file), wanted.overrides, wanted.name)
    except UsageError as error:
        _check_message(str(error), error.message)
        return "refused"
    _check_accepted(spec)
    return "accepted"


def _check_message(whole: str, message: str) -> None:
    """There is one, of a length that can be read, and it can be printed."""
    assert message.strip(), "an error without a message"
    assert len(whole) < _MESSAGE_LIMIT, f"an error of {len(whole):,} characters"
    assert whole.replace("\n", "").isprintable(), "an error with control characters"


def _check_imported(text: str) -> None:
    """What was imported is YAML that is read without a syntax error; what else is wrong with it is for its reader."""
    from orchestrator.spec.yaml_document import read

    assert not read(text.encode(), "imported")[1]


def _check_accepted(spec: Any) -> None:
    """Written back it is equal, and its space draws values that it contains."""
    from orchestrator.spec import SweepSpec, from_mapping, to_yaml
    from orchestrator.spec.yaml_document import read

    data = read(to_yaml(spec).encode(), "written back")[0].data
    assert from_mapping(data) == spec, "written back it is another spec"
    assert SweepSpec.model_validate(spec.model_dump(mode="json")) == spec, "journaled it is another spec"
    rng = random.Random(0)
    for _ in range(3):
        params = spec.space.sample(rng)
        assert spec.space.contains(params), f"the space draws {params!r}, which it does not contain"
        for name, value in params.items():
            spec.space[name].encode(value)


def examine(number: int, wanted: Case, file: Path, watch: Watch, figures: Figures) -> None:
    """Run one case and add to the figures what came of it."""
    file.write_bytes(wanted.content)
    start = time.process_time()
    with watch.watching() as seen, _limit():
        try:
            word = outcome(wanted, file)
        except (Exception, TooSlowError) as error:
            word = "violation"
            trace = "".join(traceback.format_exception(error, limit=-4))
            figures.violations.append(f"case {number}: {type(error).__name__}\n{trace[-2500:]}")
    seconds = time.process_time() - start
    if seen:
        figures.violations.append(f"case {number}: it did {', '.join(seen[:5])[:400]}")
    if seconds > LIMIT and word != "violation":
        figures.violations.append(f"case {number}: {seconds:.1f} s")
    figures.outcomes[word] += 1
    figures.slowest = max(figures.slowest, (seconds, number))


@contextmanager
def _limit() -> Iterator[None]:
    """Interrupt what computes too long; end the process if even that does not get through."""

    def interrupt(*_: Any) -> None:
        raise TooSlowError

    before = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, 2 * LIMIT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def warm(watch: Watch, folder: Path) -> None:
    """Read one file of each kind, so that whatever is imported late is imported before the watch counts."""
    from orchestrator import registry
    from tests.chaos.spec_cases import LIGHTNING_CLI, RICH, WANDB

    for kind in ("searchers", "schedulers", "trackers", "notifiers"):
        registry.load_all(kind, lambda sentence: None)  # those of installed packages, too: a wrong name loads them
    pairs = [(RICH, False), (WANDB, True), (LIGHTNING_CLI, True), ("a: [\t", False), ("a: 1", False), ("\x00", False)]
    for text, imported in pairs:
        overrides = () if imported else ("seed=1", "trainer.x=a b")
        examine(-1, Case(text.encode(), overrides, None, imported), folder / "warm.yaml", watch, Figures())


_watch: Watch | None = None


def run(seed: int, numbers: range) -> Figures:
    """Figures of these cases, in this process."""
    global _watch
    figures = Figures()
    with tempfile.TemporaryDirectory() as folder:
        if _watch is None:
            _watch = Watch()
            warm(_watch, Path(folder))
        for number in numbers:
            examine(number, case(seed, number), Path(folder) / f"fuzzed-{number}.yaml", _watch, figures)
            (Path(folder) / f"fuzzed-{number}.yaml").unlink()
    return figures


def _in_a_process(seed: int, numbers: range) -> Figures:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    faulthandler.dump_traceback_later(600, exit=True)  # what hangs beyond signals ends with its process
    try:
        return run(seed, numbers)
    finally:
        faulthandler.cancel_dump_traceback_later()


def fuzz(count: int, seed: int, processes: int) -> Figures:
    """Figures of ``count`` cases; a process that dies is a violation that names its cases."""
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    figures = Figures()
    with processes_of(processes) as pool:
        waiting = {pool.submit(_in_a_process, seed, chunk): chunk for chunk in chunks}
        for future, chunk in waiting.items():
            try:
                figures.add(future.result())
            except BrokenProcessPool:
                figures.violations.append(f"cases {chunk.start} to {chunk.stop - 1}: the process died")
                break
    return figures


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.fuzz_specs", description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, metavar="CASE", help="one case alone; its content goes to stdout")
    asked = parser.parse_args(arguments)
    start = time.perf_counter()
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if asked.replay is None:
        figures = fuzz(asked.count, asked.seed, asked.processes)
    else:
        print(case(asked.seed, asked.replay))
        figures = run(asked.seed, range(asked.replay, asked.replay + 1))
    for violation in figures.violations[:40]:
        print(violation)
    counts = ", ".join(f"{word} {count:,}" for word, count in sorted(figures.outcomes.items()))
    seconds, number = figures.slowest
    print(
        f"n {figures.outcomes.total():,}: {counts}; {time.perf_counter() - start:.0f} s, {asked.processes} processes; "
        f"slowest case {number} with {seconds:.2f} s; violations {len(figures.violations)}"
    )
    if figures.violations:
        print(f"replay with: python -m tests.chaos.fuzz_specs --seed {asked.seed} --replay CASE")
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
