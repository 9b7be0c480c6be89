"""What is noticed while nobody looks, and e-mail through an SMTP server on this machine."""

from __future__ import annotations

import contextlib
import re
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.journal import read
from orchestrator.notify.messages import note
from orchestrator.notify.notifiers.email import Email, EmailOptions
from orchestrator.notify.sweep_health import STUCK_SECONDS, SweepHealth
from orchestrator.notify.target import UndeliveredError
from orchestrator.plan.time_left import Forecast
from orchestrator.spec import Notification
from orchestrator.state import SweepState
from tests.support.synthetic_runs import invent

OPTIONS = EmailOptions(to=["me@example.com", "you@example.com"], sender="sweep@example.com", server="$MAIL")
NOTE = note("stuck", "tiny", "is stuck: no report for 40 minutes\nBcc: all@example.com")


@dataclass
class Watched:
    """A sweep's health, at a time and with a disk that a test sets."""

    health: SweepHealth
    state: SweepState
    now: list[float] = field(default_factory=lambda: [0.0])
    free: list[int] = field(default_factory=lambda: [10**12])

    def due(self, live: bytes = b"") -> dict[str, str]:
        return {each.occasion: each.text for each in self.health.notes(live)}


def watched(folder: Path, trials: int = 6, **budget: object) -> Watched:
    """A sweep whose events have all come within a minute."""
    run, _ = invent(folder, trials, budget={"trials": trials, **budget})
    state, now, free = SweepState(()), [0.0], [10**12]
    health = SweepHealth(run, clock=lambda: now[0], free=lambda run: free[0])
    for event in read(run.journal):
        if event.type == "sweep.completed":
            break
        state.apply(event)
        health.observe(state, event)
        now[0] += 0.1
    return Watched(health, state, now, free)


def test_a_sound_sweep_causes_no_notice(tmp_path: Path) -> None:
    assert watched(tmp_path).due() == {}


def test_silence_is_noticed_once_and_live_progress_breaks_it(tmp_path: Path) -> None:
    sweep = watched(tmp_path)
    sweep.now[0] += STUCK_SECONDS - 60
    assert sweep.due(b"batch 1") == {}
    sweep.now[0] += STUCK_SECONDS - 60
    assert sweep.due(b"batch 2") == {}, "a long epoch is no fault"
    sweep.now[0] += STUCK_SECONDS + 60
    assert "is stuck" in sweep.due(b"batch 2")["stuck"]
    assert sweep.due(b"batch 2") == {}


def test_a_full_disk_is_noticed_and_again_after_there_was_room(tmp_path: Path) -> None:
    sweep = watched(tmp_path)
    sweep.free[0] = 10**8
    assert "0.1 GB are free" in sweep.due()["disk"]
    assert sweep.due() == {}
    sweep.free[0] = 10**12
    assert sweep.due() == {}
    sweep.free[0] = 10**8
    assert "disk" in sweep.due()


def test_many_failures_and_a_late_sweep_are_noticed(tmp_path: Path) -> None:
    sweep = watched(tmp_path, wall_clock="1h")
    sweep.health._numbers |= {"failed": 3, "ended": 5, "limit": 60}
    sweep.now[0] += 1800
    due = sweep.due(b"x")
    assert due["many_failures"] == "sweep invented loses many trials: 3 of the 5 that have ended failed"
    assert re.search(r"about 3\d\d minutes more than budget.wall_clock allows; 5 of 60", due["behind_plan"])


@pytest.mark.parametrize(("left", "is_late"), [(2000.0, False), (2600.0, False), (2800.0, True), (None, False)])
def test_late_is_what_the_time_left_says(tmp_path: Path, left: float | None, is_late: bool) -> None:
    sweep = watched(tmp_path, wall_clock="1h")
    sweep.health.until_trials_end = lambda state: left
    assert "behind_plan" not in sweep.due()
    sweep.now[0] += 1800
    assert ("behind_plan" in sweep.due(b"x")) is is_late


def test_the_time_until_the_trials_end_ignores_the_budget_of_time(tmp_path: Path) -> None:
    sweep = watched(tmp_path, 12, wall_clock="1h")
    sweep.state.spec["budget"] |= {"trials": 24}
    forecast = Forecast(sweep.health.run.journal)
    until_end = forecast.until_trials_end(sweep.state)
    assert until_end is not None
    assert until_end > 0
    assert Forecast(None).until_trials_end(SweepState(())) is None


def test_each_day_has_a_digest(tmp_path: Path) -> None:
    sweep = watched(tmp_path)
    texts = []
    for day in range(3):
        sweep.now[0] += 86_400
        texts.append(sweep.due(str(day).encode())["daily"])
    assert "6 of 6 trials ended, 6 in the last day" in texts[0]
    assert "after 3 days: 6 of 6 trials ended, 0 in the last day" in texts[2]


@contextlib.contextmanager
def smtp_server(refuse: bool = False) -> Iterator[tuple[int, list[str]]]:
    """A server that speaks SMTP without TLS: its port, and all lines it was sent."""
    got: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            data = False
            for line in self.rfile:
                got.append(text := line.decode().rstrip("\r\n"))
                if text.upper() == "QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                if data:
                    data = text != "."
                    answer = "" if data else "250 taken"
                else:
                    data = text.upper() == "DATA"
                    refused = refuse and text.upper().startswith("RCPT")
                    answer = "354 go on" if data else "550 no such user" if refused else "250 fine"
                if answer:
                    self.wfile.write(answer.encode() + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server.server_address[1], got
        server.shutdown()


def test_an_email_reaches_its_recipients_and_a_note_adds_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    with smtp_server() as (port, got):
        monkeypatch.setenv("MAIL", f"smtp://127.0.0.1:{port}")
        Email.deliver(OPTIONS, NOTE, threading.Event())
    assert "mail FROM:<sweep@example.com>" in [line.split(" size=")[0] for line in got]
    assert {line for line in got if line.startswith("rcpt")} == {
        "rcpt TO:<me@example.com>", "rcpt TO:<you@example.com>"
    }  # fmt: skip
    assert "Subject: sweep tiny: stuck" in got
    assert not any(line.startswith("Bcc") for line in got)


def test_a_password_is_not_sent_without_tls_and_no_message_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with smtp_server() as (port, got):
        monkeypatch.setenv("MAIL", f"smtp://me:hidden-word@127.0.0.1:{port}")
        with pytest.raises(UndeliveredError, match="no TLS") as error:
            Email.deliver(OPTIONS, NOTE, threading.Event())
    assert "hidden-word" not in str(error.value) + "".join(got)


def test_what_cannot_be_delivered_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL", "smtp://127.0.0.1:1")
    with pytest.raises(UndeliveredError, match="Connection refused"):
        Email.deliver(OPTIONS, NOTE, threading.Event())
    monkeypatch.setenv("MAIL", "mail.example.com")
    assert [problem.message for problem in Email.problems(OPTIONS)] == [
        "the environment variable $MAIL names no SMTP server"
    ]


def test_a_sweep_file_names_the_variable_and_notices_are_on_by_default() -> None:
    target = Notification.model_validate({"email": {"to": ["me@example.com"]}})
    assert target.notifier == "email"
    assert {"stuck", "many_failures", "disk", "behind_plan"} < set(target.on)
    assert "daily" not in target.on
