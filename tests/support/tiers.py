"""The tiers of the tests: what is fast, what is sampled, and which tests share one process. A pytest plug-in.

=========  ==============================================================================  ====================
marker     meaning                                                                         run by
=========  ==============================================================================  ====================
(none)     takes at most 5 s; starts no Ray                                                ``make test``
``ray``    starts a real Ray, one test after another                                       ``make test``
``slow``   takes longer; with ``ray``, too, if it starts one                               ``make test-full``
cluster    runs on throw-away hosts                                                        ``make test-cluster``
=========  ==============================================================================  ====================

A test without a marker that takes longer than the limit fails the run. What counts is the processor's time, of the
test and of the processes that it has waited for, or half of the clock's, since other tests run beside it.
PYTEST_DONT_REWRITE: fixtures import this module before pytest loads it as a plug-in, which is a warning otherwise.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence

import pytest

LIMIT_SECONDS = 5.0
MARKERS = {"slow", "ray", "cluster"}
_PROCESSOR = "processor seconds"
_began = time.monotonic()
_reports: list[tuple[float, str]] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tiers")
    group.addoption("--sample", type=float, default=1.0, metavar="SHARE", help="run this share of the slow tests")
    group.addoption("--sample-seed", default="", metavar="TEXT", help="which of the slow tests, for example a commit")
    group.addoption("--minutes", type=float, default=None, metavar="N", help="skip slow tests that would begin later")
    group.addoption("--time-limit", type=float, default=LIMIT_SECONDS, metavar="SECONDS", help="of an unmarked test")


def drawn(name: str, seed: str) -> float:
    """Return a number in [0, 1) that is fixed by a test's name and a seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8]) / 2**64


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    share, seed = config.getoption("--sample"), config.getoption("--sample-seed")
    excluded = [
        item for item in items if share < 1.0 and item.get_closest_marker("slow") and drawn(item.nodeid, seed) >= share
    ]
    if excluded:
        config.hook.pytest_deselected(items=excluded)
        left_out = set(excluded)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        # Two Rays at once would compete for the machine's slots; a file's fixtures are made once.
        group = "ray" if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)  # stable; the longest group begins first


def too_long(reports: Sequence[tuple[float, str]], limit: float) -> list[tuple[float, str]]:
    """Return the tests that took longer than the limit, the longest first."""
    return sorted((report for report in reports if report[0] > limit), reverse=True)


@pytest.hookimpl(tryfirst=True)  # before fixtures are made
def pytest_runtest_setup(item: pytest.Item) -> None:
    minutes = item.config.getoption("--minutes")
    if minutes is not None and item.get_closest_marker("slow") and time.monotonic() - _began > 60 * minutes:
        pytest.skip(f"it would begin after --minutes {minutes:g}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    began = sum(os.times()[:4])
    try:
        return (yield)
    finally:
        item.user_properties.append((_PROCESSOR, sum(os.times()[:4]) - began))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and not MARKERS & set(report.keywords):
        seconds = [float(str(value)) for name, value in report.user_properties if name == _PROCESSOR]
        _reports.append((max([report.duration / 2, *seconds]), report.nodeid))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and too_long(_reports, session.config.getoption("--time-limit")):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    limit = config.getoption("--time-limit")
    if slow := too_long(_reports, limit):
        terminalreporter.section("tests over the time limit", red=True)
        for seconds, name in slow:
            terminalreporter.line(f"{seconds:6.1f} s  {name}")
        terminalreporter.line(f"Speed them up, or mark them slow or ray: an unmarked test takes at most {limit:g} s.")
