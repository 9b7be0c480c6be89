"""Real processes are killed, and nothing is lost. All of it: `python -m tests.chaos.kills --kills 1000`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.journal import Event, read
from orchestrator.journal.records import encode
from orchestrator.rundir import run_at
from tests.chaos.drivers import MARK, Life, Story, left_over, seconds_until_gone
from tests.chaos.kills import SHARES, campaign, draw, report
from tests.chaos.scale import drive
from tests.support.markers import SLOW_RAY

MINUTES = 15.0


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kills", [pytest.param(2, marks=SLOW_RAY), pytest.param(100, marks=SLOW_RAY)])
def test_kills_lose_nothing(tmp_path: Path, kills: int) -> None:
    """On a machine too slow for all of them, as many as there is time for."""
    began = time.monotonic()
    tally = campaign(kills, seed=0, parallel=2, runs=tmp_path, minutes=MINUTES)
    print("\n".join(report(tally, time.monotonic() - began)))
    assert not tally.violations, "\n".join(tally.violations)
    assert tally.lost == tally.duplicates == 0
    assert tally.kills.total() == kills or time.monotonic() > tally.until
    assert tally.sweeps >= 2


@pytest.mark.parametrize("kills", [1, 7, 100, 1000])
def test_each_victim_has_its_share(kills: int) -> None:
    drawn = draw(kills, 0, SHARES)
    assert len(drawn) == kills
    counts = Counter(kill.victim for kill in drawn)
    assert all(abs(counts[victim] - kills * share / 100) < 1 for victim, share in SHARES.items())
    assert drawn == draw(kills, 0, SHARES)
    assert drawn != draw(kills, 1, SHARES)


# Whoever looks for losses finds them


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A run of three finished trials and one that runs, as it was seen before a kill."""
    run = run_at("noop", tmp_path / "runs")
    drive(run, 4, upto=3)
    seen = Story(run)
    seen.verify()
    assert set(seen.ended) == {0, 1, 2}
    assert not seen.wrong
    return seen


def rewrite(story: Story, events: Iterable[Event]) -> None:
    lines = (Event(seq, event.lease, event.time, event.type, event.fields) for seq, event in enumerate(events))
    Path(story.run.journal).write_bytes(b"".join(map(encode, lines)))


def test_records_that_are_gone_are_noticed(story: Story) -> None:
    events = list(read(story.run.journal))
    last = max(event.seq for event in events if event.type in ("trial.finished", "trial.stopped"))
    rewrite(story, events[:last])
    story.look()
    assert story.wrong == ["records that were in the journal are gone or changed"]
    assert story.lost == {2}


def test_another_result_is_noticed(story: Story) -> None:
    events = list(read(story.run.journal))
    report = next(event for event in events if event.type == "segment.reported" and event["trial"] == 1)
    report["metrics"]["val_loss"] /= 2
    rewrite(story, events)
    story.look()
    assert story.lost == {1}


@pytest.mark.parametrize("type", ["trial.finished", "segment.started"])
def test_what_ends_or_runs_a_second_time_is_noticed(story: Story, type: str) -> None:
    events = list(read(story.run.journal))
    rewrite(story, [*events, next(event for event in events if event.type == type and event["trial"] == 1)])
    story.verify()
    assert story.again == {1}
    assert any("comes after the trial had" in sentence for sentence in story.wrong)


def test_damage_is_noticed(story: Story) -> None:
    content = bytearray(Path(story.run.journal).read_bytes())
    content[len(content) // 2] ^= 1
    Path(story.run.journal).write_bytes(content)
    story.verify()
    assert any("damaged" in sentence for sentence in story.wrong)


def test_files_that_nobody_should_have_left_are_noticed(story: Story) -> None:
    stray = story.run.trial(0) / "checkpoints" / ".epoch=0001-segment=0.ckpt.123.tmp"
    stray.parent.mkdir(parents=True)
    stray.touch()
    assert left_over(story.run) == [stray.relative_to(story.run.root).as_posix(), "no spec.yaml"]


@pytest.mark.slow
def test_a_process_that_outlives_its_driver_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.drivers.BOUND", 0.5)
    mark = f"{os.getpid()}-outlives"
    life = Life(["schema"], mark, tmp_path / "log", tmp_path)
    assert life.process.wait(60) == 0
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    child = subprocess.Popen(sleep, env={**os.environ, MARK: mark})
    try:
        time.sleep(0.2)
        with pytest.raises(TimeoutError, match=f"process {child.pid} "):
            seconds_until_gone(life)
    finally:
        child.kill()
        child.wait()
    assert seconds_until_gone(life) < 0.5
