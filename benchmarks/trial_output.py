"""Measure what logging the output of trials costs: a printed line, a segment without output, a gigabyte.

Usage: python -m benchmarks.trial_output [--rounds 5]

A line is printed to a file and to a trial's log in turn, 20,000 times a round, by this process's processor time; the
least of the rounds counts, so that other programs on the machine matter little. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from orchestrator.engine.output_capture import OutputCapture
from orchestrator.secrets import guarded_streams
from orchestrator.training import Job

LINES = 20_000
SEGMENTS = 30


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = [_seconds_a_line(None) for _ in range(rounds)]
        log = [_seconds_a_line(_job(folder, number)) for number in range(rounds)]
        empty = min(_empty(_job(folder, 100 + number)) for number in range(SEGMENTS))
        seconds, size = _gigabyte(_job(folder, 1000))
    figures = {
        "line_to_file_us": round(min(file) * 1e6, 2),
        "line_to_log_us": round(min(log) * 1e6, 2),
        "segment_ms": round(empty * 1e3, 3),
        "gigabyte_seconds": round(seconds, 1),
        "gigabyte_log_bytes": size,
        "python": platform.python_version(),
    }
    print(json.dumps(figures))


def _job(folder: Path, trial: int) -> Job:
    own = folder / "trials" / f"{trial:04d}"
    own.mkdir(parents=True)
    return Job(trial, 0, 0, "val_loss", {"class_path": "m.M"}, None, {}, str(own))


def _seconds_a_line(job: Job | None) -> float:
    """Return the seconds that a line takes, to a file or to the job's log."""
    out = sys.stdout
    with ExitStack() as stack:
        sys.stdout = stack.enter_context(Path(os.devnull).open("w", buffering=1))
        stack.callback(setattr, sys, "stdout", out)
        if job:
            sys.stdout = out
        stack.enter_context(guarded_streams())
        if job:
            stack.enter_context(OutputCapture(job))
        began = time.process_time()
        for number in range(LINES):
            print(f"step {number}: loss {number / 7:.4f}, accuracy {number / 9:.3f}")
        return (time.process_time() - began) / LINES


def _empty(job: Job) -> float:
    began = time.process_time()
    with OutputCapture(job):
        pass
    return time.process_time() - began


def _gigabyte(job: Job) -> tuple[float, int]:
    """Return the seconds that a gigabyte of output takes, and the size of its log."""
    lines = (b"x" * 99 + b"\n") * 10_000
    began = time.perf_counter()
    with OutputCapture(job):
        for _ in range(1000):
            os.write(1, lines)
    return time.perf_counter() - began, (Path(job.folder) / "logs" / "segment_0.log").stat().st_size


if __name__ == "__main__":
    main()
