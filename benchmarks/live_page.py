"""Measure the page of `sweep open` on a large sweep: the time until it is painted, its bytes, and many open tabs.

Usage: python benchmarks/live_page.py [--trials 10000] [--tabs 100] [--chromium PROGRAM]

A sweep of so many trials is simulated as in benchmarks/report.py. `sweep open` runs in a process of its own. A headless
Chromium opens pages of its table that the server has not drawn yet: painted is when verdict and table are, counted from
the start of the navigation, median of five. Then so many connections wait for events, as that many visible tabs would:
what the server's process takes of a core is measured over ten seconds, and a page is timed meanwhile. The process that
runs a sweep takes no part in any of this. Prints a line for people and one of JSON; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.report import SPEC, simulated

PAINT_SECONDS, KILOBYTES = 1.0, 300
_OPENINGS = 5
_TAB_SECONDS = 10.0
_PAINTED = """() => new Promise((resolve) => {
  const look = () => {
    const marks = [...performance.getEntriesByType('paint'), ...performance.getEntriesByName('report:verdict')];
    const has = (name) => marks.some((mark) => mark.name === name);
    const is_painted = has('first-contentful-paint') && has('report:verdict');
    if (is_painted && document.querySelector('#table tbody tr')) {
      resolve(Math.max(...marks.map((mark) => mark.startTime)) / 1000);
    }
    else requestAnimationFrame(look);
  };
  look();
})"""


def get(port: int, path: str, token: str) -> tuple[float, bytes]:
    """Return the seconds that an answer takes, and its content."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    content = connection.getresponse().read()
    connection.close()
    return time.perf_counter() - began, content


async def painted(program: str, url: str) -> tuple[list[float], int]:
    """Return the seconds until pages are painted, and the bytes that the first one took."""
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = await browser.new_page()
        await page.goto(url)
        await page.wait_for_url("**/runs/*")
        address, seconds, answers = page.url, [], []
        page.on("response", lambda answer: answers.append(answer))
        await page.goto("about:blank")
        for number in range(_OPENINGS):
            answers.clear()
            await page.goto(f"{address}?page={number + 2}", wait_until="commit")
            seconds.append(float(await page.evaluate(_PAINTED)))
            if not number:
                files = [answer for answer in answers if "/events" not in answer.url]
                size = sum([len(await answer.body()) for answer in files])
            await page.goto("about:blank")
        await browser.close()
        return seconds, size


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def many_tabs(port: int, token: str, pid: int, tabs: int) -> dict[str, float]:
    """Hold so many event streams open; return the server's share of a core, and the time of a page meanwhile."""
    head = f"GET /runs/{SPEC['name']}/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(tabs)]
    for reader, writer in streams:
        writer.write(head.encode())
        await reader.readuntil(b"\n\n")
    before = cpu_seconds(pid)
    await asyncio.sleep(_TAB_SECONDS)
    share = (cpu_seconds(pid) - before) / _TAB_SECONDS
    seconds, _ = await asyncio.to_thread(get, port, f"/runs/{SPEC['name']}/table?page=77", token)
    for _, writer in streams:
        writer.close()
    return {"core_share": share, "table_seconds": seconds}


def measure(folder: Path, trials: int, tabs: int, program: str) -> dict[str, Any]:
    records = simulated(folder, trials)
    command = [sys.executable, "-m", "orchestrator", "open", SPEC["name"], "--runs", str(folder)]
    command += ["--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        served = json.loads(process.stdout.readline())
        url, port, token = served["url"], served["port"], served["token"]
        first, _ = get(port, f"/runs/{SPEC['name']}", token)
        reading, _ = get(port, f"/runs/{SPEC['name']}/table", token)
        seconds, size = asyncio.run(painted(program, url))
        waiting = asyncio.run(many_tabs(port, token, process.pid, tabs))
    finally:
        process.terminate()
        process.wait(30)
    return {
        "trials": trials, "records": records, "first_answer_seconds": first, "reading_seconds": reading,
        "painted_seconds": statistics.median(seconds), "all_seconds": seconds, "kilobytes": size / 1000, "tabs": tabs,
        **waiting,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--tabs", type=int, default=100)
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    options = parser.parse_args()
    if not options.chromium:
        parser.error("needs Chromium or Chrome: --chromium PROGRAM")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.trials, options.tabs, options.chromium)
    where = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    print(
        f"page of {found['trials']:,} trials ({found['records']:,} records): first answer "
        f"{found['first_answer_seconds']:.2f} s, journal read {found['reading_seconds']:.1f} s after it; "
        f"painted in {found['painted_seconds']:.2f} s (target ≤ {PAINT_SECONDS:g} s, median of {_OPENINGS}) after "
        f"{found['kilobytes']:.0f} kB (target ≤ {KILOBYTES}); with {found['tabs']} tabs the server takes "
        f"{found['core_share']:.0%} of a core and draws a table in {found['table_seconds']:.2f} s; {where}"
    )
    print(json.dumps({"live_page": found}))
    return 0 if found["painted_seconds"] <= PAINT_SECONDS and found["kilobytes"] <= KILOBYTES else 1


if __name__ == "__main__":
    sys.exit(main())
