"""Measure the report of a large sweep: the time to write it, and to open it in a browser.

Usage: python benchmarks/report.py [--trials 10000] [--chromium PROGRAM] [--keep FOLDER]

A sweep of so many trials under ASHA, of up to 50 epochs, is simulated and its journal written to the disk. Then
`sweep report` builds the page, a process of its own, imports included; and a headless Chromium opens it from the file
three times, a fresh one each. The page itself marks when verdict, table and first figure are drawn, counted from the
start of the navigation; the slowest of the three marks counts, and of the three openings the median. Prints a line for
people and one of JSON; exits with 1 if time or size exceed their targets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.engine.simulator import simulate
from orchestrator.spec import from_mapping

BUILD_SECONDS, OPEN_SECONDS, MEGABYTES = 10.0, 3.0, 12.0
OPENINGS = 3
MARKS = ("report:verdict", "report:table", "report:figure")
SPEC: dict[str, Any] = {
    "name": "large",
    "seed": 3,
    "objective": {"metric": "val_acc", "mode": "max"},
    "model": "orchestrator.models.LitModel",
    "trainer": {"max_epochs": 50},
    "space": {
        "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
        "model.dropout": {"uniform": [0.0, 0.5]},
        "model.optimizer": {"choice": ["sgd", "adam"]},
        "model.momentum": {"uniform": [0.0, 0.99], "when": {"model.optimizer": "sgd"}},
    },
    "searcher": "random",
    "scheduler": {"name": "asha", "grace_epochs": 2, "reduction_factor": 3},
}


def simulated(folder: Path, trials: int) -> int:
    """Write the simulated sweep as a run in the folder; return the number of its records."""
    ran = simulate(from_mapping({**SPEC, "budget": {"trials": trials}}), slots=8)
    run = folder / SPEC["name"]
    run.mkdir(parents=True)
    (run / "journal.jsonl").write_bytes(ran.journal)
    return len(ran.events)


def build(folder: Path) -> tuple[float, Path]:
    """Return the seconds that the command takes, and the page."""
    command = [sys.executable, "-m", "orchestrator", "report", SPEC["name"], "--runs", str(folder)]
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return time.perf_counter() - began, Path(done.stdout.strip())


async def opened(file: Path, program: str) -> dict[str, float]:
    """Return the seconds from the start of the navigation to each of the page's marks."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = await browser.new_page()
            await page.goto(file.as_uri())
            while True:
                marks = await page.evaluate(
                    "Object.fromEntries(performance.getEntriesByType('mark').map(mark => [mark.name, mark.startTime]))"
                )
                if all(name in marks for name in MARKS):
                    return {name: marks[name] / 1000 for name in MARKS}
                await asyncio.sleep(0.1)
        finally:
            await browser.close()


def measure(folder: Path, trials: int, program: str) -> dict[str, Any]:
    records = simulated(folder, trials)
    seconds, file = build(folder)
    marks = [asyncio.run(opened(file, program)) for _ in range(OPENINGS)]
    return {
        "trials": trials,
        "records": records,
        "build_seconds": seconds,
        "megabytes": file.stat().st_size / 1e6,
        "open_seconds": statistics.median(max(mark.values()) for mark in marks),
        "all_marks": marks,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--keep", type=Path, help="Where run and page stay.")
    options = parser.parse_args()
    if not options.chromium:
        parser.error("needs Chromium or Chrome: --chromium PROGRAM")
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure(options.keep or Path(temporary), options.trials, options.chromium)
    browser = subprocess.run(
        [options.chromium, "--version"], stdout=subprocess.PIPE, text=True, check=False
    ).stdout.split()
    import plotly

    where = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    print(
        f"report of {figures['trials']:,} trials ({figures['records']:,} records), {figures['megabytes']:.1f} MB: "
        f"built in {figures['build_seconds']:.1f} s (target ≤ {BUILD_SECONDS:.0f} s, n = 1), "
        f"opened in {figures['open_seconds']:.2f} s (target ≤ {OPEN_SECONDS:.0f} s, median of {OPENINGS}); "
        f"{where}, plotly {plotly.__version__}, {' '.join(browser)}"
    )
    print(json.dumps({"report": figures}))
    within = figures["build_seconds"] <= BUILD_SECONDS and figures["open_seconds"] <= OPEN_SECONDS
    return 0 if within and figures["megabytes"] <= MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
