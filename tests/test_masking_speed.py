"""Masking is fast enough to be everywhere."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator

import pytest

from orchestrator import secrets
from orchestrator.secrets import masked
from tests.support.written_secrets import KEY, nothing_known

__all__ = ["nothing_known"]  # a fixture


def lines() -> Iterator[str]:
    yield json.dumps({"type": "segment.reported", "metrics": {f"metric_{n}": n / 7 for n in range(60)}})[:1024]
    yield ("Epoch 3: the validation loss of trial 0007 is 0.5312, throughput is fine; learning_rate=0.001 " * 12)[:1024]


@pytest.mark.parametrize("line", [*lines()], ids=["numbers", "words"])
def test_a_kilobyte_takes_a_tenth_of_a_millisecond_with_fifty_secrets(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    with_fifty(monkeypatch)
    assert masked(line) == line
    best = min(cpu_seconds(lambda: [masked(line) for _ in range(20)]) for _ in range(10)) / 20
    assert best < 400e-6, "100 microseconds on an idle core; a loaded one is slower"


def test_masking_takes_time_in_proportion_to_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with_fifty(monkeypatch)
    monkeypatch.setenv("SERVICE_KEY", KEY)
    line = 'File "/usr/lib/x.py", line 3, in f\n    raise ValueError("no key=, token=\\"x\\" ://a@b?key=1") %41 &lt;\n'
    short, long = line * 500, line * 4000 + KEY
    masked(short)
    seconds = min(cpu_seconds(lambda: masked(short)) for _ in range(3))
    assert cpu_seconds(lambda: masked(long)) < 8 * 4 * seconds
    assert masked(long).endswith("***")


def with_fifty(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        token = base64.urlsafe_b64encode((f"{number:02d}" * 20).encode() + bytes([number, 255 - number] * 4)).decode()
        monkeypatch.setenv(f"SERVICE_{number}_KEY", token[::-1])
    masked("the secrets are read")
    assert len(secrets.secrets()) >= 50


def cpu_seconds(action: Callable[[], object]) -> float:
    begin = time.process_time()
    action()
    return time.process_time() - begin


@pytest.mark.parametrize(
    "part",
    ["key=", "token=key=", "password: ", "eyJ-", "sk-", "SG.", "://a@", "?key=", "\\\\", "%25", "&lt;", "\x1b[0m",
     "\x1b]", "--token ", "Bearer ", "-----BEGIN PRIVATE KEY-----", "hf_", "'\"", KEY[:7], KEY[:8], KEY[3:12] + "-",
     "\u0130"],
)  # fmt: skip
def test_no_text_takes_time_out_of_proportion(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setenv("SERVICE_KEY", KEY)
    masked("the secrets are read")
    text = part * (200_000 // len(part))
    assert cpu_seconds(lambda: masked(text)) < 2.0


def test_a_variable_that_is_nested_deeply_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEP_TOKEN", "[" * 900 + '"q7w8e9r0t1y2"' + "]" * 900)
    monkeypatch.setenv("SERVICE_KEY", KEY)
    assert masked(KEY) == "***"
