"""The page is for those who have its token: no other user of the machine, and no page of another site."""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from orchestrator.errors import UsageError
from orchestrator.journal import Journal
from orchestrator.page import access, event_stream
from orchestrator.page import server as page_server
from orchestrator.page.followed_runs import FollowedRuns
from orchestrator.page.page_token import PageToken, opened_in_browser
from orchestrator.page.server import Server
from orchestrator.rundir import run_at
from tests.support.small_sweeps import spec

PATHS = ("/", "/runs/tiny", "/runs/tiny/table", "/runs/tiny/events", "/events", "/compare?run=tiny&run=b", "/templates",
         "/assets/0/plotly.js", "/favicon.ico")  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")

KNOCK = """
import encodings.idna, http.client, json, os, sys  # before the other user may read nothing here
os.setgroups([]); os.setgid(65534); os.setuid(65534)
port, paths, methods = json.loads(sys.argv[1])
found = []
for path in paths:
    for method in methods:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, body=b"{}" if method in ("POST", "PUT") else None)
        answer = connection.getresponse()
        found.append([answer.status, len(answer.read()), answer.getheader("Set-Cookie")])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    runs = tmp_path_factory.mktemp("runs")
    journal = Journal.create(run_at("tiny", runs).journal)
    created = spec().model_dump(mode="json")
    journal.append("sweep.created", format=1, spec=created, seed=0, versions={}, git=None, roots=[])
    journal.close()
    with Server(FollowedRuns(runs)) as running:
        yield running


def asked(server: Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def bearer(server: Server) -> dict[str, str]:
    return {"Authorization": f"Bearer {server.tokens.value}"}


def entrance(server: Server, path: str = "/") -> str:
    """An address with a token that no browser has used."""
    return server.tokens.url(path)


def cookie_of(server: Server) -> str:
    return asked(server, entrance(server))[1]["set-cookie"].partition(";")[0]


def test_another_user_of_this_machine_can_open_nothing(server: Server) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    answer = subprocess.run(
        [sys.executable, "-c", KNOCK, json.dumps([server.port, PATHS, METHODS])],
        cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    outcomes = json.loads(answer.stdout)
    assert len(outcomes) == len(PATHS) * len(METHODS)
    assert [outcome for outcome in outcomes if outcome[0] != 403 or outcome[1] > 200 or outcome[2]] == []


def test_the_address_with_the_token_sets_a_cookie_that_opens_the_rest(server: Server) -> None:
    address = f"{entrance(server, '/runs/tiny')}&rows=50"
    token = address.partition("token=")[2].partition("&")[0]
    status, headers, content = asked(server, address)
    assert status == 200
    assert b"url=/runs/tiny?rows=50" in content
    assert token.encode() not in content
    cookie, *attributes = headers["set-cookie"].split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict"]
    assert token not in cookie
    assert (headers["referrer-policy"], headers["cache-control"]) == ("no-referrer", "no-store")
    assert asked(server, "/runs/tiny", Cookie=f"other=1; {cookie}")[0] == 200
    assert asked(server, "/runs/tiny", **bearer(server))[0] == 200


def test_an_address_opens_the_page_in_one_browser_only(server: Server) -> None:
    address = entrance(server, "/runs/tiny")
    assert asked(server, address, "HEAD")[0] == 403, "a look at the head takes nothing from the browser"
    cookie = asked(server, address)[1]["set-cookie"].partition(";")[0]
    status, headers, content = asked(server, address)
    assert (status, headers.get("set-cookie")) == (403, None)
    assert b"works only once" in content
    assert b"run: sweep open" in content
    status, headers, content = asked(server, address, Cookie=cookie)  # the same browser goes back to it
    assert (status, headers.get("set-cookie")) == (200, None)
    assert b"url=/runs/tiny" in content
    token = address.partition("token=")[2]
    assert asked(server, "/runs/tiny", Authorization=f"Bearer {token}")[0] == 403
    assert asked(server, f"/?token={server.tokens.value}")[0] == 403, "the token of programs opens no browser"


def test_what_is_nearly_the_token_opens_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_GUESS_SECONDS", 0.0)
    token, name = server.tokens.value, PageToken(server.port)._cookie
    for wrong in ("", token[:-1], token + "x", token.swapcase(), "x" * len(token), "\xff" * len(token), "None", token):
        assert asked(server, "/runs/tiny", Cookie=f"{name}={wrong}")[0] == 403
        if wrong != token:
            assert asked(server, "/runs/tiny", Authorization=f"Bearer {wrong}")[0] == 403
    for query in ("token=", f"token={token[:-1]}", f"Token={token}", f"{token}", "token=%00", "token=%ff"):
        assert asked(server, f"/runs/tiny?{query}")[0] == 403
    assert asked(server, "/runs/tiny", Cookie=cookie_of(server).replace("=", "-1=", 1))[0] == 403
    assert asked(server, "/runs/tiny", Cookie='"; \x01=')[0] == 403


def test_guesses_are_slow_and_do_not_lock_the_owner_out(server: Server) -> None:
    answers: list[int] = []
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: answers.append(asked(server, "/?token=guess")[0])) for _ in range(16)]
    for thread in threads:
        thread.start()
    while answers.count(429) < 4 and time.monotonic() - began < 10:
        time.sleep(0.01)
    assert asked(server, "/", **bearer(server))[0] == 200
    for thread in threads:
        thread.join()
    assert sorted(set(answers)) == [403, 429]
    assert answers.count(403) <= access._GUESSES * 2
    assert time.monotonic() - began >= access._GUESS_SECONDS


def test_another_site_cannot_use_the_token_under_its_own_name(server: Server) -> None:
    """DNS rebinding: the name of a foreign page leads to this machine for a moment."""
    for host in ("evil.com", f"evil.com:{server.port}", "127.0.0.1.evil.com:80", "evil.com:localhost", "", "127.0.0.2"):
        assert asked(server, "/runs/tiny", Host=host, **bearer(server))[0] == 403
        status, headers, _ = asked(server, entrance(server), Host=host)
        assert (status, headers.get("set-cookie")) == (403, None)
    for host in ("localhost:9", "[::1]:80", "127.0.0.1", "localhost"):
        assert asked(server, "/runs/tiny", Host=host, **bearer(server))[0] == 200


def test_a_page_of_another_origin_is_refused_whatever_its_cookies(server: Server) -> None:
    cookie = cookie_of(server)
    foreign = [
        {"Origin": "http://evil.com"}, {"Origin": "null"}, {"Origin": f"https://127.0.0.1:{server.port}"},
        {"Origin": f"http://127.0.0.1:{server.port + 1}"}, {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # another port of this machine
    ]  # fmt: skip
    for headers in foreign:
        assert asked(server, "/runs/tiny", Cookie=cookie, **headers)[0] == 403
        assert asked(server, "/runs/tiny/events", Cookie=cookie, **headers)[0] == 403
    assert asked(server, "/runs/tiny", Cookie=cookie, Origin=f"http://127.0.0.1:{server.port}")[0] == 200
    assert asked(server, "/runs/tiny", Cookie=cookie, Sec_Fetch_Site="same-origin")[0] == 200
    framed = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}
    address = entrance(server)
    assert asked(server, address, **framed)[0] == 403
    assert asked(server, address, **framed | {"Sec_Fetch_Dest": "document"})[0] == 200


def test_no_method_writes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_GUESS_SECONDS", 0.0)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        for path in ("/", "/runs/tiny", "/compare", "/nothing"):
            assert asked(server, path, method, **bearer(server))[0] == 405
        assert asked(server, entrance(server), method)[0] == 403


@pytest.mark.parametrize("path", ["//evil.com/", "/%5Cevil.com/", "//evil.com%0d%0aX-Evil:1/", "/%22%3E%3Cscript%3E"])
def test_the_address_leads_to_no_other_host_and_runs_nothing(server: Server, path: str) -> None:
    status, headers, content = asked(server, entrance(server, path))
    assert (status, headers.get("X-Evil")) == (200, None)
    target = content.partition(b"url=")[2]
    assert target[:1] == b"/"
    assert target[1:2] not in (b"/", b"\\")
    assert b"<script" not in content


@pytest.mark.parametrize(
    "path",
    ["/runs/..", "/runs/%2e%2e", "/runs/..%2f..%2fetc", "/runs/.hidden", "/runs/tiny:..", "/runs/tiny%00", "/runs/-rf",
     "/runs/tiny/trials/..", "/runs/tiny/trials/-1", "/runs/tiny/trials/0x1", "/runs/tiny/trials/1e9",
     "/runs/tiny/trials/99999999999999999999", "/runs/tiny/trials/0/log?segment=../../..&rank=-1",
     "/runs/tiny/figures/../../x", "/runs/tiny/figures/__init__", "/assets/0/../page.py", "/assets/0/live.css",
     "/compare?run=tiny&run=..", "/compare?run=tiny", pytest.param("/runs/" + "a" * 5000, id="long")],
)  # fmt: skip
def test_an_address_leads_to_nothing_but_runs_and_trials(server: Server, path: str) -> None:
    status, _, content = asked(server, path, **bearer(server))
    assert status == 404
    assert b"root:" not in content


def test_every_answer_says_what_a_browser_may_do_with_it(server: Server) -> None:
    for path, headers in (
        ("/", bearer(server)),
        ("/", {}),
        ("/nothing", bearer(server)),
        ("/runs/tiny", bearer(server)),
    ):
        found = asked(server, path, **headers)[1]
        policy = found["content-security-policy"]
        assert "default-src 'none'; script-src 'self';" in policy
        assert "unsafe-inline" not in policy.partition("style-src")[0]
        assert "frame-ancestors 'none'" in policy
        assert found["x-content-type-options"] == "nosniff"
        assert found["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in found


def test_clients_that_are_slow_or_silent_are_left_and_harm_nobody(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server, "REQUEST_SECONDS", 0.3)
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for number, client in enumerate(slow):
        client.settimeout(10)
        if number % 2:
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    assert asked(server, "/", **bearer(server))[0] == 200
    began = time.monotonic()
    assert [client.recv(1) for client in slow] == [b""] * len(slow)
    for client in slow:
        client.close()
    assert time.monotonic() - began < 5
    with socket.create_connection(("127.0.0.1", server.port)) as large:
        large.settimeout(10)
        large.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000)
        assert large.recv(100).startswith(b"HTTP/1.1 400")


def test_a_browser_that_takes_no_events_is_left(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "_ALIVE_SECONDS", 0.0)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/runs/tiny/events", headers=bearer(server))
    answer = connection.getresponse()
    assert answer.getheader("content-type") == "text/event-stream; charset=utf-8"
    message = json.loads(answer.readline().removeprefix(b"data: "))
    assert message["version"] == 1
    assert "created" in message["parts"]["part-status"]
    assert answer.readline() == b"\n"
    assert answer.readline() == b": alive\n"
    connection.close()


def test_two_servers_have_different_tokens(server: Server, tmp_path: Path) -> None:
    with Server(FollowedRuns(tmp_path)) as other:
        assert other.tokens.value != server.tokens.value
        assert asked(other, "/", **bearer(server))[0] == 403
        with pytest.raises(UsageError, match="cannot listen on"):
            Server(FollowedRuns(tmp_path), port=other.port)
    assert urlsplit(server.url).hostname == "127.0.0.1"


def test_the_token_is_printed_nowhere_else(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    asked(server, entrance(server))
    asked(server, entrance(server, "/runs/.."), "POST")
    asked(server, "/runs/nothing", **bearer(server))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"GET {entrance(server)} NONSENSE\r\n\r\n".encode())
        client.recv(100)
    assert capfd.readouterr() == ("", "")


def test_the_browser_gets_the_token_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments of its process can be listed by every user of the machine."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with opened_in_browser("http://127.0.0.1:1/runs/a?token=secret&a=1"):
        (address,) = opened
        page = Path(url2pathname(urlsplit(address).path))
        assert "secret" not in address
        assert 'content="0; url=http://127.0.0.1:1/runs/a?token=secret&amp;a=1"' in page.read_text()
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert not page.exists()
