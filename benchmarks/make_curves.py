"""Make the tables of learning curves in ``benchmarks/curves``: real trainings of small networks, one process a core.

    python -m benchmarks.make_curves [TASK ...] [--rows 512] [--seed 0] [--data-dir ./data] [--out benchmarks/curves]

Configurations are the points of a scrambled Sobol sequence of the seed, in the task's space (`benchmarks.curve_tasks`).
The seed determines everything, so the same versions on the same kind of processor make the same table. Configurations
of equal sizes are trained together; each process uses one thread.

Every finished group is kept in ``--work`` at once. Interrupt the program in any way; the same command continues. A
table is written when all of its rows are there: ``TASK/valid`` (rows × reports, validation loss, NaN from where it
diverged), ``TASK/params`` (rows × hyperparameters, places in [0, 1]) and ``TASK/param_names``.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import platform
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc

from benchmarks.curve_data import Data
from benchmarks.curve_tables import Table, arrays
from benchmarks.curve_tasks import TASKS, Task, group, train
from orchestrator.space import Space

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Design:
    """Which trainings make a table, and the file that keeps its finished rows."""

    task: Task
    rows: int
    reports: int
    seed: int
    work: Path

    @property
    def file(self) -> Path:
        return self.work / f"{self.task.name}.jsonl"

    @property
    def header(self) -> dict[str, Any]:
        """What rows of one file have in common."""
        return {
            "task": self.task.name,
            "rows": self.rows,
            "reports": self.reports,
            "seed": self.seed,
            "space": self.task.space,
        }

    def points(self) -> NDArray[np.float64]:
        """Return the configurations' places, shape (rows, hyperparameters)."""
        sequence = qmc.Sobol(len(self.task.space), rng=np.random.default_rng(self.seed))
        places: NDArray[np.float64] = sequence.random_base2(max(0, math.ceil(math.log2(self.rows))))
        return places[: self.rows]

    def configurations(self) -> list[dict[str, Any]]:
        """Return the hyperparameters of each row."""
        space = Space(self.task.space)
        return [space.at(point) for point in self.points()]


def finished(design: Design) -> dict[int, dict[str, Any]]:
    """Return the kept rows by their number. A line that an interruption cut off is left out.

    Raises:
        SystemExit: the file is of another design.
    """
    if not design.file.exists():
        design.work.mkdir(parents=True, exist_ok=True)
        append(design.file, design.header)
    kept = [record for line in design.file.read_text().splitlines() if (record := _parsed(line))]
    if not kept or kept[0] != json.loads(json.dumps(design.header)):
        raise SystemExit(f"error: {design.file} has rows of another design\nhint: remove it, or name another --work")
    return {row["row"]: row for row in kept[1:]}


def _parsed(line: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
    except ValueError:
        return {}
    return record


def append(file: Path, *records: dict[str, Any]) -> None:
    """Append lines by one write, so that those of several processes do not mix; begin after a torn line."""
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT)
    size = os.fstat(descriptor).st_size
    torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    os.write(descriptor, b"\n" * torn + b"".join(json.dumps(record).encode() + b"\n" for record in records))
    os.close(descriptor)


def train_group(design: Design, rows: list[int], data: Data) -> list[dict[str, Any]]:
    """Return a record of each row: its number, its part of the seconds of a core, and its losses, None for NaN."""
    configurations = design.configurations()
    rows = sorted(rows, key=lambda row: (configurations[row]["optimizer"], row))
    start = time.process_time()
    members = [configurations[row] for row in rows]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        curves = train(design.task, data, members, design.seed * 1_000_003 + rows[0], design.reports)
    finally:  # whatever else runs in this process has denormal numbers
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
    seconds = round((time.process_time() - start) / len(rows), 3)
    kept = [[None if math.isnan(loss) else loss for loss in losses] for losses in curves]
    return [{"row": row, "seconds": seconds, "losses": losses} for row, losses in zip(rows, kept, strict=True)]


def _work(wanted: list[tuple[Design, list[int]]], folder: Path, following: Any, stop: Any) -> None:
    """Train groups, in the order that all processes share, until none is left, a stop, or the end of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops its processes between two groups
    parent, data = multiprocessing.parent_process(), functools.cache(lambda task: TASKS[task].read(folder))
    while not stop.is_set() and parent is not None and parent.is_alive():
        with following.get_lock():
            place, following.value = following.value, following.value + 1
        if place >= len(wanted):
            return
        design, rows = wanted[place]
        append(design.file, *train_group(design, rows, data(design.task.name)))


def make(designs: list[Design], folder: Path, jobs: int) -> None:
    """Train the groups that are not kept yet, design by design. Ctrl-C ends it after those that are being trained.

    Raises:
        SystemExit: a process failed.
    """
    wanted = [(design, rows) for design in designs for rows in missing(design)]
    for design in {design.task.name: design for design, _ in wanted}.values():
        design.task.read(folder)  # says what data is absent, and decodes it once, before several processes need it
    context = multiprocessing.get_context("spawn")
    following, stop = context.Value("l", 0), context.Event()
    arguments = (wanted, folder, following, stop)
    processes = [context.Process(target=_work, args=arguments) for _ in range(min(jobs, len(wanted)))]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            _say(
                f"{sum(len(finished(design)) for design in designs)} of {sum(each.rows for each in designs)} trainings"
            )
            for process in processes:
                process.join(5)
    except KeyboardInterrupt:
        stop.set()
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(f"error: a training failed; finished rows are kept in {designs[0].work}")


def groups(design: Design) -> list[list[int]]:
    """Return the rows that are trained together."""
    together: dict[Any, list[int]] = {}
    for row, params in enumerate(design.configurations()):
        together.setdefault(group(params), []).append(row)
    return list(together.values())


def missing(design: Design) -> list[list[int]]:
    """Return the groups of rows of which some are not kept."""
    kept = finished(design)
    return [rows for rows in groups(design) if not kept.keys() >= set(rows)]


def _say(text: str) -> None:
    print(f"\r{text}", end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


def table(design: Design) -> Table:
    """Return the arrays of a table whose rows are all kept."""
    name, kept, space = design.task.name, finished(design), Space(design.task.space)
    losses = [kept[row]["losses"] for row in range(design.rows)]
    places = [
        [space[parameter].coordinate(params[parameter]) for parameter in space.order]
        for params in design.configurations()
    ]
    return arrays(name, losses, places, space.order)


def write(design: Design, out: Path) -> str:
    """Write a table into a folder; return what it holds, and what it cost."""
    made, file = table(design), out / f"{design.task.name}.npz"
    out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **made)  # type: ignore[arg-type]
    valid = made[f"{design.task.name}/valid"].astype(float)
    seconds = sum(row["seconds"] for row in finished(design).values())
    return (
        f"{file}: {len(valid)} rows x {valid.shape[1]} reports, {len(design.task.space)} hyperparameters, "
        f"{int(np.isnan(valid[:, -1]).sum())} diverged, {seconds:.0f} s of one core, {file.stat().st_size / 1e3:.0f} kB"
    )


def environment() -> str:
    """Return processor and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}"
    return f"{model}, {os.cpu_count()} cores; {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(TASKS)}; all if none is named")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--reports", type=int, help="fewer or more than the task has")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where Fashion-MNIST and CIFAR-10 lie")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "curves")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "curves", help="keeps finished rows")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes; one a core")
    args = parser.parse_args()
    if unknown := sorted(set(args.tasks) - set(TASKS)):
        parser.error(f"no task named {', '.join(unknown)}; known: {', '.join(TASKS)}")
    designs = [
        Design(TASKS[name], args.rows, args.reports or TASKS[name].reports, args.seed, args.work)
        for name in args.tasks or TASKS
    ]
    make(designs, args.data_dir, args.jobs)
    for design in designs:
        if lacking := sum(map(len, missing(design))):
            raise SystemExit(
                f"stopped: {design.task.name} lacks {lacking} of {design.rows} rows\n"
                f"hint: the same command continues; finished rows are kept in {design.work}"
            )
        print(write(design, args.out), flush=True)
    print(environment())


if __name__ == "__main__":
    main()
