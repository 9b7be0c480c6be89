"""Notifications: what is said when, to real servers and real commands, and that no sweep suffers for it."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.engine import stop_requests
from orchestrator.engine.simulator import simulate
from orchestrator.errors import SpecError
from orchestrator.journal import read
from orchestrator.notify import Notifier, delivery, messages, notifier
from orchestrator.notify.delivery import DeliveryThread
from orchestrator.notify.messages import Note, note
from orchestrator.notify.notifiers import command as command_notifier
from orchestrator.notify.notifiers import webhook
from orchestrator.notify.target import UndeliveredError, deliver, title
from orchestrator.rundir import run_at
from orchestrator.spec import OCCASIONS, Finalists, Notification, from_mapping
from orchestrator.state import SweepState
from orchestrator.sweep import Sweep, confirm, launch, resume
from tests.chaos.simulate import spec as simulated_spec
from tests.support.page_blocks import blocks
from tests.support.paths import ROOT
from tests.support.small_sweeps import request, spec, story

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

NEVER = threading.Event()
HOOK = Notification.model_validate({"webhook": "$HOOK", "on": ["finished", "failed", "paused", "new_best"]})
# Writes what it was given: its arguments, its standard input, and its variables.
TELLER = """
import json, os, sys
said = {name: value for name, value in os.environ.items() if name.startswith("SWEEP_") and name != "SWEEP_RUNS"}
with open(sys.argv[1], "a") as file:
    file.write(json.dumps({"argv": sys.argv[2:], "stdin": sys.stdin.read(), "env": said}) + "\\n")
"""


class Hook:
    """A server that answers with one of ``answers`` after another, the last for good: a status, or what it does."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.got: list[dict[str, Any]] = []
        self.tries = 0
        self.released = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.tries += 1
                answer = hook.answers.pop(0) if len(hook.answers) > 1 else hook.answers[0]
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if answer == "hang":
                    hook.released.wait(30)
                elif answer == "drop":
                    self.wfile.write(b"HTT")
                elif answer == "nonsense":
                    self.wfile.write(b"\x00\xff hello\r\n\r\n")
                else:
                    if answer == 200:
                        hook.got.append(json.loads(body))
                    self.send_response(int(answer))
                    self.send_header("Location", f"{hook.address}/elsewhere")
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/services/T0KEN"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def texts(self) -> list[str]:
        return [said["text"] for said in self.got]

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hook]]:
    """Starts a server, whose address is in $HOOK; the times are those of a test."""
    begun: list[Hook] = []
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("SWEEP_WEBHOOK_HOSTS", "127.0.0.1")
    monkeypatch.setattr(webhook, "TRY_SECONDS", 0.3)
    monkeypatch.setattr(command_notifier, "COMMAND_SECONDS", 1.0)
    monkeypatch.setattr(webhook, "BACKOFF_SECONDS", 0.01)

    def begin(*answers: int | str) -> Hook:
        begun.append(Hook(*answers))
        monkeypatch.setenv("HOOK", begun[-1].address)
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


@pytest.fixture
def teller(tmp_path: Path) -> tuple[list[str], Callable[[], list[dict[str, Any]]]]:
    """A command, and what it was told."""
    file = tmp_path / "told"
    (tmp_path / "teller.py").write_text(TELLER)
    command = [sys.executable, str(tmp_path / "teller.py"), str(file), "$SWEEP_TEXT; `id`"]
    return command, lambda: [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_sweep_that_ends_tells_its_winner_and_the_journal_never_has_the_address(
    hook: Callable[..., Hook], teller: tuple[list[str], Callable[[], list[dict[str, Any]]]], tmp_path: Path
) -> None:
    server, (command, told) = hook(200), teller
    notify = [{"webhook": "$HOOK"}, {"command": command, "on": ["finished"]}]
    outcome = launch(spec(notify=notify, resources={"price": 3600.0}), tmp_path, local=True)
    won = outcome.state.winner()
    assert won
    best = outcome.state.objective.best(won)
    assert best
    assert len(server.texts) == 1
    assert re.fullmatch(
        rf"sweep tiny finished: trial {won.number} with val_loss {best.value:.6g} at epoch {best.progress}, "
        r"of 6 trials in 0:\d\d:\d\d, at a cost of [\d.]+",
        server.texts[0],
    )
    (said,) = told()
    assert said["argv"] == ["$SWEEP_TEXT; `id`"]
    assert said["stdin"] == server.texts[0] + "\n" == said["env"].pop("SWEEP_TEXT") + "\n"
    assert {name: value for name, value in said["env"].items() if name not in os.environ} == {
        "SWEEP_EVENT": "finished",
        "SWEEP_NAME": "tiny",
        "SWEEP_REASON": "all trials ended",
        "SWEEP_METRIC": "val_loss",
        "SWEEP_VALUE": str(best.value),
        "SWEEP_TRIAL": str(won.number),
        "SWEEP_EPOCH": str(won.reports[best.progress].epoch),
        "SWEEP_PROGRESS": str(best.progress),
    }
    for file in (outcome.run.journal, outcome.run.spec):
        text = Path(file).read_text()
        assert "T0KEN" not in text
        assert "$HOOK" in text
    before = server.tries
    resume("tiny", tmp_path, local=True)
    assert server.tries == before  # a completed sweep that is left as it is has nothing to tell


@pytest.mark.parametrize(
    ("answers", "tries", "reason"),
    [
        ((200,), 1, None),
        ((500, 500, 200), 3, None),
        ((429, 200), 2, None),
        (("drop", 200), 2, None),
        (("nonsense", 200), 2, None),
        (("hang", 200), 2, None),
        ((503,), 3, "it answered 503"),
        ((404,), 1, "it answered 404"),
        ((302,), 1, "it answered 302"),
        (("hang",), 3, "no answer within 0.3 s"),
        (("drop",), 3, "BadStatusLine"),
    ],
)
def test_a_webhook_is_tried_again_where_that_may_help(
    hook: Callable[..., Hook], answers: tuple[int | str, ...], tries: int, reason: str | None
) -> None:
    server = hook(*answers)
    if reason is None:
        deliver(HOOK, note("finished", "tiny", "finished"), NEVER)
        assert server.texts == ["sweep tiny finished"]
    else:
        with pytest.raises(UndeliveredError, match=f"^({reason})$"):
            deliver(HOOK, note("finished", "tiny", "finished"), NEVER)
    assert server.tries == tries


def test_a_webhook_that_refuses_is_named_without_its_address(
    hook: Callable[..., Hook], capfd: pytest.CaptureFixture[str]
) -> None:
    hook(200).close()
    carrier = DeliveryThread(HOOK)
    carrier.put(note("failed", "tiny", "failed"))
    carrier.close(time.monotonic() + 5)
    assert capfd.readouterr().err == "notify: no delivery to $HOOK (failed): Connection refused\n"


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/\u202eT0KEN", "http://127.0.0.1:1/a T0KEN", "gopher://T0KEN"])
def test_an_address_that_none_can_be_told_at_is_never_shown(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HOOK", address)
    monkeypatch.setattr(webhook, "BACKOFF_SECONDS", 0.01)
    with pytest.raises(UndeliveredError) as caught:
        deliver(HOOK, note("finished", "tiny", "finished"), NEVER)
    assert "T0KEN" not in str(caught.value)


def test_text_of_others_rings_no_bell_and_runs_nothing(
    hook: Callable[..., Hook], teller: tuple[list[str], Callable[[], list[dict[str, Any]]]], tmp_path: Path
) -> None:
    server, (command, told) = hook(200), teller
    bait = tmp_path / "bait"
    evil = f"<!channel> @everyone & $(touch {bait}) `touch {bait}`; touch {bait}\n\0\x1b[31m\u202e\ud800"
    said = note("failed", "tiny", f"failed: {evil}", metric=evil)
    deliver(HOOK, said, NEVER)
    deliver(Notification.model_validate({"command": command}), said, NEVER)
    assert not bait.exists()
    assert server.texts[0].startswith("sweep tiny failed: &lt;!channel&gt; @\u200beveryone &amp; $(touch")
    assert server.texts[0].endswith(r"\n\x00\x1b[31m\u202e\ud800")
    (got,) = told()
    assert got["env"]["SWEEP_METRIC"] == evil[: evil.index("\n")] + r"\n\x00\x1b[31m\u202e\ud800"
    assert got["stdin"] == said.text + "\n"


def test_secrets_of_the_environment_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("TEAM_WEBHOOK", "https://hooks.example.com/T0KEN")
    found = note("failed", "tiny", "failed: 401 for 0123456789abcdef at https://hooks.example.com/T0KEN", metric="m")
    assert found.text == "sweep tiny failed: 401 for *** at ***"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["false"], "it ended with exit code 1"),
        (["sleep", "60"], "it had not ended after 1 s"),
        (["sh", "-c", "sleep 60 & sleep 60"], "it had not ended after 1 s"),
        (["/nowhere/at/all"], "it cannot be run: No such file or directory"),
    ],
)
def test_a_command_that_fails_or_hangs_is_said(hook: Callable[..., Hook], command: list[str], reason: str) -> None:
    began = time.monotonic()
    with pytest.raises(UndeliveredError, match=f"^{reason}$"):
        deliver(Notification.model_validate({"command": command}), note("finished", "tiny", "finished"), NEVER)
    assert time.monotonic() - began < 5


def test_of_new_bests_the_first_is_told_and_then_the_last_now_and_then(
    hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "NEW_BEST_SECONDS", 0.5)
    server, carrier = hook(200), DeliveryThread(HOOK)

    def count(until: int) -> None:
        deadline = time.monotonic() + 10
        while len(server.got) < until and time.monotonic() < deadline:
            time.sleep(0.01)

    carrier.put(note("new_best", "tiny", "0"))
    count(1)
    for number in range(1, 100):
        carrier.put(note("new_best", "tiny", str(number)))
    count(2)
    carrier.put(note("new_best", "tiny", "100"))
    carrier.put(note("finished", "tiny", "finished"))
    carrier.close(time.monotonic() + 5)
    assert server.texts == ["sweep tiny 0", "sweep tiny 99", "sweep tiny finished"]


def seen(events: Any, monkeypatch: pytest.MonkeyPatch) -> list[Note]:
    """What is told of a sweep with these events."""
    told: list[Note] = []
    monkeypatch.setattr(Notifier, "notify", lambda self, note: told.append(note))
    observer, state = Notifier([HOOK], "simulated"), SweepState()
    for event in events:
        state.apply(event)
        observer(state, event)
    observer.close()
    return told


def test_what_is_told_of_a_simulated_sweep_is_what_its_events_say(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = simulate(simulated_spec("random", "asha 3", 8, 9))
    told, state, lowest = seen(ran.events, monkeypatch), ran.state, float("inf")
    expected = []
    for event in ran.events:
        if event.type == "segment.reported" and -float(event["metrics"]["val_acc"]) < lowest:
            lowest = -float(event["metrics"]["val_acc"])
            expected.append((str(event["trial"]), str(event["epoch"]), str(-lowest)))
    bests = [one.parts for one in told if one.occasion == "new_best"]
    assert [(parts["TRIAL"], parts["EPOCH"], parts["VALUE"]) for parts in bests] == expected
    won = state.winner()
    assert won
    assert [one.occasion for one in told if one.occasion != "new_best"] == ["finished"]
    assert (told[-1].parts["TRIAL"], bests[-1]["TRIAL"]) == (str(won.number),) * 2


def test_a_launch_after_another_tells_only_of_what_is_better_than_before(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = simulate(simulated_spec("random", "fifo", 8, 9))
    at = next(n for n, event in enumerate(ran.events) if event.type == "sweep.launched")
    again = [*ran.events, ran.events[at]]
    once, twice = (
        seen(ran.events, monkeypatch),
        seen([*again, *[e for e in ran.events if "reported" in e.type]], monkeypatch),
    )
    assert [one.text for one in twice][: len(once)] == [one.text for one in once]
    assert {one.occasion for one in twice[len(once) :]} == {"failed"}  # the second launch has no end on record


@pytest.mark.parametrize("answer", ["hang", 500, "drop"])
def test_a_sweep_is_the_same_whatever_the_webhook_does(
    hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch, answer: str | int, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notifier, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr(webhook, "TRY_SECONDS", 5.0)
    monkeypatch.setattr(webhook, "BACKOFF_SECONDS", 5.0)
    hook(answer)
    wanted = simulated_spec("random", "asha 3", 8, 9)
    plain = simulate(wanted)
    observer = Notifier([HOOK, HOOK], "simulated")
    began = time.monotonic()
    assert simulate(wanted, observer=observer).journal == plain.journal
    ran = time.monotonic() - began
    observer.close()
    assert ran < 2.5  # half of one try
    assert time.monotonic() - began - ran < 2.0
    assert capfd.readouterr().err.count("notify: no delivery to $HOOK (") == 2


@pytest.mark.slow
def test_a_real_sweep_with_a_hanging_webhook_ends_as_without(
    hook: Callable[..., Hook], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(notifier, "CLOSE_SECONDS", 0.5)
    monkeypatch.setattr(webhook, "TRY_SECONDS", 60.0)
    hook("hang")
    plain = launch(spec(budget={"trials": 3}), tmp_path / "plain", local=True)
    outcome = launch(spec(budget={"trials": 3}, notify=[{"webhook": "$HOOK"}]), tmp_path / "told", local=True)
    assert (outcome.exit_code, outcome.state.status) == (0, "completed")
    assert story(outcome.run) == story(plain.run)
    assert "notify: no delivery to $HOOK (finished): the time was up" in capfd.readouterr().err


def test_a_pause_is_told_and_the_end_after_the_resume(
    hook: Callable[..., Hook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = hook(200)
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)

    def stop(state: Any, event: Any) -> None:
        if event.type == "segment.reported":
            request(run_at("tiny", tmp_path))

    wanted = spec(notify=[{"webhook": "$HOOK"}], budget={"trials": 2})
    launch(wanted, tmp_path, local=True, observer=stop)
    resume("tiny", tmp_path, local=True)
    assert len(server.texts) == 2
    assert server.texts[0].startswith("sweep tiny is paused (sweep stop): ")
    assert " with val_loss " in server.texts[0]
    assert server.texts[1].startswith("sweep tiny finished: ")


def test_a_sweep_whose_trials_fail_alike_or_that_breaks_has_failed(hook: Callable[..., Hook], tmp_path: Path) -> None:
    server = hook(200)
    notify = [{"webhook": "$HOOK"}]
    failing = {"class_path": "tests.support.tiny.Tiny", "init_args": {"fault": "raise"}}
    never_validated = {"max_epochs": 3, "check_val_every_n_epoch": 3}
    launch(spec(notify=notify, model=failing, trainer=never_validated, budget={"trials": 50}), tmp_path, local=True)

    def breaks(state: Any, event: Any) -> None:
        if event.type == "trial.suggested":
            raise RuntimeError("a fault <of ours>")

    with pytest.raises(RuntimeError, match="a fault"):
        launch(spec(notify=notify, name="broken"), tmp_path, local=True, observer=breaks)
    assert re.match(r"sweep tiny failed: \d+ trials in a row failed alike: ", server.texts[0])
    assert server.texts[1].startswith("sweep broken failed: RuntimeError: a fault &lt;of ours&gt;; 0 of 1 trial ended")
    assert len(server.texts) == 2


@pytest.mark.slow
def test_finals_are_told_once(hook: Callable[..., Hook], tmp_path: Path) -> None:
    server = hook(200)
    launch(spec(notify=[{"webhook": "$HOOK"}], budget={"trials": 2}), tmp_path, local=True)
    wanted = Finalists(top=2, trials=6)
    confirm("tiny", tmp_path, finalists=wanted, local=True)
    confirm("tiny", tmp_path, finalists=wanted, local=True)
    assert len(server.texts) == 2
    assert re.match(
        r"sweep tiny finished its finals: trial \d (is confirmed|leads, but it is not clear) \(", server.texts[1]
    )


@pytest.mark.parametrize(
    ("notify", "value", "said"),
    [
        ({"webhook": "$HOOK"}, "", r"the environment variable \$HOOK is not set"),
        ({"webhook": "$HOOK"}, "hooks.slack.com/T0KEN", r"the environment variable \$HOOK holds no http"),
        ({"webhook": "$HOOK"}, "http://[T0KEN", r"the environment variable \$HOOK holds no http"),
        ({"command": ["notify-sent"]}, "", "there is no program 'notify-sent'"),
    ],
)
def test_who_cannot_be_told_is_named_before_the_start_and_before_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notify: dict[str, Any], value: str, said: str
) -> None:
    monkeypatch.setenv("HOOK", value)
    file = tmp_path / "sweep.yaml"
    written = spec().model_dump(mode="json") | {"notify": [notify]}
    file.write_text(json.dumps(written, indent=1))
    with pytest.raises(SpecError, match=said) as caught:
        launch(orchestrator.load_spec(str(file)), tmp_path / "runs", local=True)
    (problem,) = caught.value.problems
    assert problem.line > 1
    assert problem.hint
    assert "T0KEN" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_resume_wants_the_variable_too(hook: Callable[..., Hook], tmp_path: Path) -> None:
    hook(200)
    launch(spec(notify=[{"webhook": "$HOOK"}], budget={"trials": 1}), tmp_path, local=True)
    del os.environ["HOOK"]
    length = len(list(read(run_at("tiny", tmp_path).journal)))
    with pytest.raises(SpecError, match="HOOK is not set"):
        orchestrator.sweep.extend("tiny", tmp_path, trials=1, local=True)
    assert len(list(read(run_at("tiny", tmp_path).journal))) == length


def test_in_python_it_is_the_same_spec() -> None:
    given = {"webhook": "$HOOK", "on": ["new_best"]}
    made = Sweep(model="tests.support.tiny.Tiny", objective=("val_loss", "min"), notify=[given])
    assert made.spec.notify == [Notification.model_validate({"webhook": "$HOOK", "on": ["new_best"]})]
    assert from_mapping(made.spec.model_dump(mode="json")) == made.spec
    assert set(messages.Note("paused", "x").variables) == {"SWEEP_EVENT", "SWEEP_TEXT"}


def test_the_page_tells_what_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, command, email = blocks("docs/notify.md", "yaml")
    (tmp_path / "tuned.yaml").write_text(first)
    loaded = orchestrator.load_spec(str(tmp_path / "tuned.yaml"))
    assert [title(found) for found in loaded.notify] == ["$SLACK_WEBHOOK", "mail"]
    (tmp_path / "sweep.yaml").write_text(first.split("notify:")[0] + command)
    (target,) = orchestrator.load_spec(str(tmp_path / "sweep.yaml")).notify
    (tmp_path / "email.yaml").write_text(first.split("notify:")[0] + email)
    assert [title(found) for found in orchestrator.load_spec(str(tmp_path / "email.yaml")).notify] == [
        "email by $SWEEP_SMTP"
    ]
    (tmp_path / "notify-send").write_text(f'#!/bin/sh\nprintf "%s|" "$@" > {tmp_path}/sent\n')
    (tmp_path / "notify-send").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    deliver(target, note("finished", "tuned", "finished: $(id)"), NEVER)
    assert (tmp_path / "sent").read_text() == "tuned|sweep tuned finished: $(id)|"
    page = (ROOT / "docs/notify.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.MULTILINE)) >= set(OCCASIONS)
