"""The page is for those who have its token: no other user of the machine, and no page of another site."""

from __future__ import annotations

import http.client
import json
import os
import stat
import subprocess
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from orchestrator.dashboard import Server, Sweeps
from orchestrator.dashboard.page_token import PageToken, opened_in_browser
from orchestrator.journal import Journal
from orchestrator.rundir import run_at
from tests.support.small_sweeps import spec

PATHS = ("/", "/dashboard", "/api/studies", "/api/studies/0", "/csv/0", "/static/bundle.js", "/favicon.ico")
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


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    run = run_at("tiny", tmp_path)
    journal = Journal.create(run.journal)
    created = spec().model_dump(mode="json")
    journal.append("sweep.created", format=1, spec=created, seed=0, versions={}, git=None, roots=[])
    journal.close()
    with Server(Sweeps((), tmp_path)) as running:
        yield running


def asked(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(server.address).port or 0, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def test_another_user_of_this_machine_can_open_nothing(server: Server) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    port = urlsplit(server.address).port
    answer = subprocess.run(
        [sys.executable, "-c", KNOCK, json.dumps([port, PATHS, METHODS])],
        cwd="/", env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    outcomes = json.loads(answer.stdout)
    assert len(outcomes) == len(PATHS) * len(METHODS)
    assert [outcome for outcome in outcomes if outcome[0] != 403 or outcome[1] > 200 or outcome[2]] == []


def test_the_address_with_the_token_sets_a_cookie_that_opens_the_rest(server: Server) -> None:
    parts = urlsplit(server.url)
    status, headers, content = asked(server, f"{parts.path}?{parts.query}&tab=1")
    assert (status, headers["Location"], content) == (303, f"{parts.path}?tab=1", b"")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax"]
    assert json.loads(asked(server, "/api/studies", Cookie=f"other=1; {cookie}")[2])["study_summaries"]
    assert asked(server, "/api/studies", Authorization=f"Bearer {server.token}")[0] == 200


def test_what_is_nearly_the_token_opens_nothing(server: Server) -> None:
    token, name = server.token, PageToken(urlsplit(server.address).port or 0)._cookie
    for wrong in ("", token[:-1], token + "x", token.swapcase(), "x" * len(token), "\xff" * len(token), "None"):
        assert asked(server, "/api/studies", Cookie=f"{name}={wrong}")[0] == 403
        assert asked(server, "/api/studies", Authorization=f"Bearer {wrong}")[0] == 403
    for query in ("token=", f"token={token[:-1]}", f"Token={token}", f"{token}", "token=%00", "token=%ff"):
        assert asked(server, f"/api/studies?{query}")[0] == 403
    assert asked(server, "/api/studies", Cookie=f"{name}-1={token}")[0] == 403
    assert asked(server, "/api/studies", Cookie='"; \x01=')[0] == 403


def test_another_site_cannot_use_the_token_under_its_own_name(server: Server) -> None:
    """DNS rebinding: the name of a foreign page leads to this machine for a moment."""
    key = {"Authorization": f"Bearer {server.token}"}
    assert asked(server, "/api/studies", Host="evil.com", **key)[0] == 403
    status, headers, _ = asked(server, f"/dashboard?token={server.token}", Host="evil.com:80")
    assert (status, headers.get("Set-Cookie")) == (403, None)


@pytest.mark.parametrize("path", ["//evil.com/", "/%5Cevil.com/", "//evil.com%0d%0aX-Evil:1/"])
def test_the_address_leads_to_no_other_host(server: Server, path: str) -> None:
    status, headers, _ = asked(server, f"{path}?token={server.token}")
    assert (status, headers.get("X-Evil")) == (303, None)
    assert headers["Location"].startswith("/")
    assert headers["Location"][1:2] not in ("/", "\\")


def test_two_servers_have_different_tokens(server: Server, tmp_path: Path) -> None:
    with Server(Sweeps((), tmp_path)) as other:
        assert other.token != server.token
        assert asked(other, "/api/studies", Authorization=f"Bearer {server.token}")[0] == 403


def test_the_browser_gets_the_token_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments of its process can be listed by every user of the machine."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with opened_in_browser("http://127.0.0.1:1/dashboard?token=secret&a=1"):
        (address,) = opened
        page = Path(url2pathname(urlsplit(address).path))
        assert "secret" not in address
        assert 'content="0; url=http://127.0.0.1:1/dashboard?token=secret&amp;a=1"' in page.read_text()
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
        assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert not page.exists()
