"""The watcher for the notice that a machine will be taken back, and metadata services that give it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster import preemption_watcher
from tests.support.metadata import service
from tests.support.notice_times import in_seconds


@pytest.fixture
def metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A service on this machine's loopback; ``metadata.file`` is its notice."""
    server = service(tmp_path / "notice", "127.0.0.1", 0)
    server.file = tmp_path / "notice"
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    at = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr(preemption_watcher, "_EC2", f"{at}/latest")
    monkeypatch.setattr(preemption_watcher, "_GCP", f"{at}/computeMetadata/v1/instance/preempted")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody: it must not be asked
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_ec2_says_when_the_instance_goes(metadata: Any) -> None:
    ask = preemption_watcher.Ec2()
    assert ask() is None
    metadata.file.write_text(in_seconds(120))
    assert ask() == pytest.approx(120, abs=3)
    assert set(metadata.asked) == {"/latest/meta-data/spot/instance-action"}, "a hint to rebalance is not asked for"


def test_a_token_that_has_run_out_is_renewed(metadata: Any) -> None:
    ask = preemption_watcher.Ec2()
    assert ask() is None
    metadata.tokens.clear()
    metadata.file.write_text(in_seconds(120))
    assert preemption_watcher.wait_for_notice(ask, 0.01) == pytest.approx(120, abs=3)


def test_google_cloud_gives_thirty_seconds(metadata: Any) -> None:
    ask = preemption_watcher.Gcp()
    assert ask() is None
    metadata.file.touch()
    assert ask() == 30.0


def test_a_service_that_is_silent_for_a_while_is_asked_again(metadata: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address = preemption_watcher._GCP
    monkeypatch.setattr(preemption_watcher, "_GCP", "http://127.0.0.1:9/")
    metadata.file.touch()
    threading.Timer(0.2, monkeypatch.setattr, [preemption_watcher, "_GCP", address]).start()
    began = time.monotonic()
    assert preemption_watcher.wait_for_notice(preemption_watcher.Gcp(), 0.01) == 30.0
    assert time.monotonic() - began > 0.1


@pytest.mark.slow
def test_a_head_that_is_away_until_the_end_is_not_waited_for_beyond_it() -> None:
    began = time.monotonic()
    assert preemption_watcher.main("now", "127.0.0.1:9", "1.5") == 1
    assert 1 < time.monotonic() - began < 10
