"""The benchmarks of scale: what they read out of a journal, and the commands of docs/scale.md on a small scale."""

from __future__ import annotations

import heapq
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scale import evaluate, nodes
from orchestrator.journal import Event
from tests.support.doc_blocks import blocks_of, words
from tests.support.paths import ROOT

PAGE = "docs/scale.md"
SMALL = {"--trials": "60", "--simulated": "40", "--only": "journal,cluster"}


def journal(hosts: int, trials: int, gap: float) -> list[Event]:
    """Whichever host is free takes the next trial, for ``gap`` seconds; each begins a minute after the one before."""
    told: list[tuple[float, str, dict[str, object]]] = []
    free = [(60.0 * host, host) for host in range(hosts)]
    for trial in range(trials):
        began, host = heapq.heappop(free)
        heapq.heappush(free, (began + gap, host))
        told.append((began, "trial.suggested", {"trial": trial}))
        told.append((began, "segment.started", {"trial": trial, "segment": 0, "node": "driver"}))
        told.append((began + gap, "segment.reported", {"trial": trial, "segment": 0, "epoch": 1, "node": f"w{host}"}))
    told.sort(key=lambda one: one[0])
    return [Event(seq, 1, time, type, fields) for seq, (time, type, fields) in enumerate(told)]


def test_the_rate_counts_from_when_all_hosts_work_until_there_is_no_more_to_start() -> None:
    found = evaluate(journal(hosts=4, trials=4000, gap=1.25), 4, {})
    assert found.rate == pytest.approx(4 * 60 / 1.25, rel=0.05)
    assert found.overhead == pytest.approx(0.25)
    assert 3000 < found.counted < 4000, "neither what ran before the last host worked, nor the end"
    assert found.overall < found.rate


def test_hosts_are_those_that_reports_name() -> None:
    assert set(nodes(journal(3, 300, 1.0))) == {"w0", "w1", "w2"}
    with pytest.raises(ValueError, match="3 of 4 hosts"):
        evaluate(journal(3, 300, 1.0), 4, {})


@pytest.mark.slow
def test_the_commands_of_the_page_say_what_the_page_says(tmp_path: Path) -> None:
    """Each with fewer trials; but for the hosts, and the decisions, whose trials are what is measured."""
    commands = [words(line) for block in blocks_of(ROOT / PAGE, ROOT) for line in block.commands()]
    assert [command[:3] for command in commands] == [
        ["make", "bench-scale"],
        ["python", "-m", "benchmarks.ceiling"],
        ["python", "-m", "tests.chaos.scale"],
        ["python", "-m", "benchmarks.decisions"],
    ]
    said = {}
    for command in commands[1:3]:
        small = [word for option, value in SMALL.items() for word in (option, value)]
        chosen = small if command[2] == "benchmarks.ceiling" else small[:2]
        # A busy machine may be above a limit, which is no fault of the page.
        ended = subprocess.run(
            [sys.executable, "-m", command[2], *chosen], cwd=ROOT, capture_output=True, text=True, check=False
        )
        said[command[2]] = ended.stdout
    for what in (r"waits for the disk: median [\d.]+ ms", r"random and asha on 1000 slots: \d+ reports and \d+ events"):
        assert re.search(what, said["benchmarks.ceiling"]), said
    assert re.search(r"60 no-op trials: journal bytes a trial [\d.]+ ", said["tests.chaos.scale"])
