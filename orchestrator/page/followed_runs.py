"""The runs that pages show, read from their journals by this process and kept up to date while somebody looks."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import JournalError, SweepError, UsageError
from orchestrator.results.log_reader import read_log
from orchestrator.results.ranked_rows import Rows
from orchestrator.results.run_overview import RunSummary, summary_of
from orchestrator.results.run_state import without_garbage_collection
from orchestrator.rundir import RunDirectory, is_run_name, list_runs, run_at, runs_root
from orchestrator.rundir.labels import read_labels
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.state import SweepState
from orchestrator.watch.watched_sweep import Watched

_Result = TypeVar("_Result")
_SECONDS = 0.5  # between two reads of a journal
_REMOTE_SECONDS = 10.0  # in object storage, where each is a request that costs money
_LOG_SECONDS = 1.0  # between two reads of a log
_LOGS = 4  # logs whose lines are kept
_SHARE = 10  # a read or a drawing takes at most one part in so many of the time
_KEPT = 24  # runs whose journals stay read
_LIST_SECONDS = 2.0  # between two looks at the folder of runs
_SUMMARIES = 1  # read at once; more would only share the interpreter
PART_SEPARATOR = ":"


class FollowedRun:
    """One run, as its journal was read last.

    Its journal is read by one thread at a time. Others see what was read before, and wait for the first read only.

    Attributes:
        run: Its directory.
        key: Its name on the pages: of finals ``search:finals``.
        version: How often what it shows has changed.
        watched: The journal, followed.
        rows: Its trials as rows.
    """

    def __init__(self, run: RunDirectory, key: str) -> None:
        self.run, self.key, self.version = run, key, 0
        self.watched, self.rows = Watched(run), Rows()
        self._lock = _ReadWriteLock()
        self._refreshing = threading.Lock()
        self._next = 0.0
        self._cache: OrderedDict[object, tuple[object, object]] = OrderedDict()
        self._logs: OrderedDict[LogFile, tuple[float, list[tuple[int, str]]]] = OrderedDict()
        self._reading_logs = threading.Lock()
        self._first: Future[None] = Future()
        threading.Thread(target=self._read_first, name=f"journal of {key}", daemon=True).start()

    @property
    def state(self) -> SweepState:
        """The sweep's state as last read."""
        return self.watched.state

    @property
    def begun(self) -> bool:
        """Whether the journal was read and holds a sweep."""
        return bool(self.version and self.state.spec)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the first read, for so long at most; return whether it is done. Raises as `refresh`."""
        with contextlib.suppress(TimeoutError):
            self._first.result(seconds)
        return self._first.done()

    def refresh(self) -> int:
        """Read what is new, unless that was done a moment ago or another thread does it; return the version.

        Raises:
            SweepError: The journal's first record lacks a part of the spec.
        """
        self.wait()
        if self._refreshing.acquire(blocking=False):
            try:
                if time.monotonic() >= self._next:
                    self._read()
            finally:
                self._refreshing.release()
        return self.version

    def _read_first(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._first.set_exception(error)
        else:
            self._first.set_result(None)

    def _read(self) -> None:
        began = time.monotonic()
        with self._lock.writing(), without_garbage_collection():
            if self.watched.refresh() or not self.version:
                self.rows.update(self.state, self.watched.changed_trials if self.version else None)
                self.version += 1
        least = _REMOTE_SECONDS if self.run.url else _SECONDS
        self._next = time.monotonic() + max(least, _SHARE * (time.monotonic() - began) if self.live else 0.0)

    @property
    def live(self) -> bool:
        """Whether a process runs the sweep."""
        return self.state.status == "running"

    def shown(self, name: object, compute: Callable[[FollowedRun], _Result], *, of: object = None) -> _Result:
        """Return ``compute`` of this run, once for each version, or for each value of ``of`` if that is given.

        The run does not change meanwhile.
        """
        with self._lock.reading():
            stamp = self.version if of is None else of
            known = self._cache.get(name)
            if known is None or known[0] != stamp:
                known = self._cache[name] = (stamp, compute(self))
                while len(self._cache) > 200:
                    with contextlib.suppress(KeyError):
                        self._cache.popitem(last=False)
            return known[1]  # type: ignore[return-value]

    def log(self, log: LogFile) -> list[tuple[int, str]]:
        """Return the numbered lines of a log, which is read again after a while. Raises OSError as `read_log`."""
        now = time.monotonic()
        with self._reading_logs:
            at, lines = self._logs.pop(log, (-math.inf, []))
            if now - at > (_REMOTE_SECONDS if self.run.url else _LOG_SECONDS):
                at, lines = now, list(read_log(self.run, log).numbered())
            self._logs[log] = at, lines
            while len(self._logs) > _LOGS:
                self._logs.popitem(last=False)
        return lines

    def unchanged(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which nothing new is read."""
        return self._lock.reading()

    @property
    def recorded(self) -> tuple[int, str]:
        """Identify what the journal says, however far the running trials are between two reports."""
        return self.state.seq, self.state.status


class FollowedRuns:
    """The runs of a folder, or at a URL, and one more that may be elsewhere.

    Args:
        runs: the folder or URL; by default ``SWEEP_RUNS``, else ``runs``.
        named: a run that is shown whatever the folder holds.
    """

    def __init__(self, runs: str | Path | None = None, named: RunDirectory | None = None) -> None:
        self._runs, self._named = runs, named
        self._open: OrderedDict[str, FollowedRun] = OrderedDict()
        self._lock = threading.Lock()
        self._list = _RunList(self._directories, self._open.get)

    def get(self, key: str) -> FollowedRun:
        """Return the run of that key, read up to now.

        Raises:
            UsageError: There is no such run, or it has not begun, or the key could lead out of the folder of runs.
            JournalError: Its journal holds no sweep.
        """
        followed = self.open(key)
        followed.refresh()
        if not followed.begun and followed.watched.problem:
            raise JournalError(followed.watched.problem)
        if not followed.begun:
            raise UsageError(f"the run {key!r} has not begun yet")
        return followed

    def open(self, key: str) -> FollowedRun:
        """Return the run of that key, whose journal is being read. Raises UsageError as `get`."""
        with self._lock:
            followed = self._open.get(key)
            if followed is None:
                followed = self._open[key] = FollowedRun(self._directory(key), key)
            self._open.move_to_end(key)
            while len(self._open) > _KEPT:
                self._open.popitem(last=False)
        return followed

    def summaries(self) -> tuple[int, list[RunSummary | str]]:
        """Return the runs, newest first, and a number that changes with them; one not read yet as its name alone."""
        return self._list.refresh()

    @property
    def folder(self) -> str:
        """The folder or URL of the runs."""
        return str(runs_root(self._runs))

    def _directories(self) -> list[RunDirectory]:
        listed = [run for run in list_runs(self._runs) if is_run_name(run.name)]
        if self._named and all(run.where != self._named.where for run in listed):
            listed = [run for run in listed if run.name != self._named.name] + [self._named]
        return listed

    def _directory(self, key: str) -> RunDirectory:
        name, _, part = key.partition(PART_SEPARATOR)
        if not is_run_name(name) or (part and not is_run_name(part)):
            raise UsageError("that cannot name a run")
        run = self._named if self._named and self._named.name == name else run_at(name, self._runs)
        run = run.child_run(part) if part else run
        if not run.exists():
            raise UsageError(f"there is no run {key!r} here")
        return run


class _RunList:
    """Summaries of runs, each read again when its files have changed; the first reads are made in the background."""

    def __init__(
        self, directories: Callable[[], list[RunDirectory]], opened: Callable[[str], FollowedRun | None]
    ) -> None:
        self._directories, self._opened = directories, opened
        self._known: dict[str, tuple[object, RunSummary | None]] = {}
        self._order: list[RunDirectory] = []
        self._version, self._next = 0, 0.0
        self._lock = threading.Lock()
        self._readers: ThreadPoolExecutor | None = None
        self._watched: dict[str, Watched] = {}  # running sweeps, of which only what is new is read

    def refresh(self) -> tuple[int, list[RunSummary | str]]:
        with self._lock:
            if time.monotonic() >= self._next:
                self._look()
                self._next = time.monotonic() + _LIST_SECONDS
            shown: list[RunSummary | str] = []
            for run in reversed(self._order):
                summary = self._known.get(run.where, (None, None))[1]
                if summary is None or not summary.archived:
                    shown.append(summary or run.name)
            return self._version, shown

    def _look(self) -> None:
        with contextlib.suppress(SweepError, OSError):
            order = self._directories()
            self._version += [run.where for run in order] != [run.where for run in self._order]
            self._order = order
        for run in self._order:
            stamp, summary = self._known.get(run.where, (None, None))
            changed = _stamp(run, summary)
            if changed != stamp:
                self._known[run.where] = changed, summary
                self._readers = self._readers or ThreadPoolExecutor(_SUMMARIES, "summaries")
                self._readers.submit(self._read, run, changed)

    def _read(self, run: RunDirectory, stamp: object) -> None:
        try:
            summary = self._summary(run)
        except (SweepError, OSError):
            return
        with self._lock:
            if self._known.get(run.where, (None, None))[1] != summary:
                self._known[run.where] = stamp, summary
                self._version += 1

    def _summary(self, run: RunDirectory) -> RunSummary:
        followed = self._opened(run.name)
        if followed and followed.run.where == run.where:
            followed.refresh()
            with followed.unchanged():
                if followed.begun and not followed.watched.problem:
                    return summary_of(run, followed.state)
        watched = self._watched.pop(run.where, None) or Watched(run)
        watched.refresh()
        if watched.problem or not watched.state.spec:
            return summary_of(run)
        if watched.state.status == "running":
            self._watched[run.where] = watched
        return summary_of(run, watched.state)


def _stamp(run: RunDirectory, summary: RunSummary | None) -> object:
    """Return what differs once a summary is out of date; a running sweep's is read again every ten seconds at least."""
    often = int(time.monotonic() / _REMOTE_SECONDS) if run.url or (summary and summary.status == "running") else 0
    if run.url:
        return often
    try:
        journal = (run.root / "journal.jsonl").stat()
    except OSError:
        return None
    # A long journal that grows is not read at every record.
    grown = journal.st_size if summary is None or summary.status != "running" else 0
    return grown, often, run.changed(run.labels), read_labels(run).archived


class _ReadWriteLock:
    """Many readers or one writer; readers go first, since a reader's page is waited for."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._readers, self._writing = 0, False

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._writing)
            self._readers += 1
        try:
            yield
        finally:
            with self._condition:
                self._readers -= 1
                self._condition.notify_all()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        with self._condition:
            self._condition.wait_for(lambda: not self._writing and not self._readers)
            self._writing = True
        try:
            yield
        finally:
            with self._condition:
                self._writing = False
                self._condition.notify_all()
