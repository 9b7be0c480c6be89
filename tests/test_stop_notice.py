"""How a running segment learns that it is to stop: a file of its trial, in a folder or in object storage."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.rundir import run_of
from orchestrator.training import stop_notice
from orchestrator.training.stop_notice import StopNotice
from tests.support.cut_runs import draw, job


@pytest.fixture(autouse=True)
def polled_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_notice, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(stop_notice, "_REMOTE_POLL_SECONDS", 0.05)


def test_only_the_segment_that_is_named_stops(tmp_path: Path) -> None:
    each = job(tmp_path, draw(4), segment=3)
    with StopNotice(each) as stop:
        assert not stop()
        assert each.stop_notice.exists(), "on NFS a new name may stay unknown for a minute"
        each.run.tell_to_stop(each.trial, 2)
        assert not stop()
        each.run.tell_to_stop(each.trial, 3)
        assert stop()
        assert stop()
        assert stop.is_told
    assert not each.stop_notice.exists()


def test_a_segment_that_is_told_before_it_starts_stops_at_once(tmp_path: Path) -> None:
    each = job(tmp_path, draw(4))
    each.run.tell_to_stop(each.trial, each.segment)
    with StopNotice(each) as stop:
        assert stop()


def test_nothing_is_read_between_two_polls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_notice, "_POLL_SECONDS", 3600.0)
    each = job(tmp_path, draw(4))
    with StopNotice(each) as stop:
        assert not stop()
        each.run.tell_to_stop(each.trial, each.segment)
        assert not stop()
    assert not stop.is_told


def test_a_segment_in_object_storage_is_told(s3: str) -> None:
    run = run_of(f"{s3}/runs/told")
    each = replace(job(Path("/nowhere"), draw(4)), folder=str(run.trial(0)), url=run.url)
    with StopNotice(each) as stop:
        assert not stop()
        run.tell_to_stop(0, 1)
        time.sleep(0.3)
        assert not stop()
        run.tell_to_stop(0, 0)
        until = time.monotonic() + 20
        while not stop() and time.monotonic() < until:
            time.sleep(0.05)
        assert stop.is_told
