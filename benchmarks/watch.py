"""Measure `sweep watch` at 1,000 trials: the time of a redraw, and the share of a core while a sweep runs.

Usage: python -m benchmarks.watch [--seconds 60] [--events 5]

A redraw is timed in the app itself under Textual's own test driver: from the look at a journal that has a few more
events (reading, folding, ranking, comparing) until Textual has put the changed lines on the screen. The share of a core
is that of a real `sweep watch` in a real terminal (tmux), by the processor time that the kernel counts for it, while
the rest of the sweep is written into its journal at so many events a second. The sweep is simulated: 1,000 trials of
ASHA, up to 27 epochs each, eight at once; the watch begins after four fifths of its events. Prints a line for
each size of the screen; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from orchestrator.journal import Event
from orchestrator.journal.lease import acquire
from orchestrator.rundir import RunDirectory
from orchestrator.watch.screen import WatchApp
from tests.support.watched_runs import thousand, write, written

REDRAW_MS, SHARE = 50.0, 0.02
REDRAWS = 60
SIZES = ((80, 24), (160, 50))


@contextmanager
def held(events: list[Event]) -> Iterator[RunDirectory]:
    """Yield a run with those events, whose lease this process holds."""
    with tempfile.TemporaryDirectory() as folder:
        run = written(Path(folder), events)
        lease = acquire(run.root / "lease", after=events[-1].lease)
        try:
            yield run
        finally:
            lease.release()


async def redraws(run: RunDirectory, later: list[Event], size: tuple[int, int], each: int) -> list[float]:
    """Return the milliseconds of redraws, each after ``each`` more events."""
    app, times = WatchApp(run), []
    async with app.run_test(size=size) as pilot:
        await pilot.pause(1.0)
        for begin in range(0, REDRAWS * each, each):
            write(run, later[begin : begin + each], "ab")
            drawn = asyncio.Event()
            began = time.perf_counter()
            app.poll()
            app.call_after_refresh(drawn.set)
            await drawn.wait()
            times.append((time.perf_counter() - began) * 1e3)
            await pilot.pause(0.05)
    return times


def share(run: RunDirectory, later: list[Event], size: tuple[int, int], seconds: float, rate: float) -> float:
    """Return the share of one core that a real `sweep watch` uses at ``rate`` events a second."""
    socket = f"bench-watch-{os.getpid()}"
    command = f"exec {sys.executable} -m orchestrator watch {run.name} --runs {run.root.parent}"
    tmux = ["tmux", "-L", socket]
    width, height = map(str, size)
    subprocess.run([*tmux, "new-session", "-d", "-x", width, "-y", height, command], check=True)
    try:
        pid = int(subprocess.check_output([*tmux, "list-panes", "-F", "#{pane_pid}"]))
        time.sleep(8.0)
        shown = subprocess.check_output([*tmux, "capture-pane", "-p"], text=True)
        assert "rank" in shown, shown
        before, began, written = _cpu_seconds(pid), time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            due = min(len(later), int(passed * rate))
            write(run, later[written:due], "ab")
            written = due
            time.sleep(1 / rate)
        used = _cpu_seconds(pid) - before
        assert subprocess.check_output([*tmux, "capture-pane", "-p"], text=True) != shown, "nothing has moved"
        return used / (time.monotonic() - began)
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)


def _cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the share of a core is measured")
    parser.add_argument("--events", type=int, default=5, help="events a second, and between two redraws")
    options = parser.parse_args()
    events = thousand()
    first, later = events[: len(events) * 4 // 5], events[len(events) * 4 // 5 :]
    versions = ", ".join(f"{name} {version(name)}" for name in ("textual", "rich"))
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{len(events)} events; {machine}, {versions}")
    within = True
    for size in SIZES:
        with held(first) as run:
            times = asyncio.run(redraws(run, later, size, options.events))
        with held(first) as run:
            used = share(run, later, size, options.seconds, options.events)
        late = statistics.quantiles(times, n=20)[-1]
        print(
            f"{size[0]}x{size[1]}: redraw {statistics.median(times):.1f} ms, 95 % within {late:.1f} ms, all within "
            f"{max(times):.1f} ms (n = {len(times)}, target {REDRAW_MS:g} ms); {used:.2%} of a core over "
            f"{options.seconds:g} s at {options.events} events/s (target {SHARE:.0%})",
            flush=True,
        )
        within = within and late <= REDRAW_MS and used <= SHARE
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
