"""A webhook never reaches this machine or its own network, unless the user allows the host."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.notify.internal_hosts import HOSTS, is_internal
from orchestrator.notify.messages import Note
from orchestrator.notify.notifiers.webhook import Webhook
from orchestrator.notify.target import UndeliveredError
from tests.support.post_server import post_server

NOTE = Note("finished", "sweep tiny finished")
NEVER = threading.Event()


@pytest.fixture
def posts(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, list[bytes]]]:
    """The port of a server on this machine, and the bodies that reached it."""
    monkeypatch.delenv(HOSTS, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr("orchestrator.notify.notifiers.webhook.BACKOFF_SECONDS", 0.01)
    with post_server() as posted:
        yield posted


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "017700000001", "0", "0.0.0.0", "127.9.9.9", "localhost",
     "LOCALHOST.", "x.localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
     "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "169.254.169.254", "[::ffff:169.254.169.254]", "[fe80::1]",
     "[fd00:ec2::254]", "168.63.129.16", "100.100.100.200", "me@127.0.0.1", "example.com@127.0.0.1"],
)  # fmt: skip
def test_an_internal_host_is_refused_however_it_is_written(
    host: str, posts: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in (f"http://{host}:{posts[0]}/x", f"https://{host}:{posts[0]}/x"):
        monkeypatch.setenv("HOOK", address)
        problems = list(Webhook.problems("$HOOK"))
        assert len(problems) == 1
        assert HOSTS in problems[0].hint
        with pytest.raises(UndeliveredError, match="this machine or in its own network"):
            Webhook.deliver("$HOOK", NOTE, NEVER)
    assert posts[1] == []


def test_a_name_that_resolves_to_this_machine_is_refused(
    posts: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", f"http://hooks.example.com:{posts[0]}/x")
    answers = [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["::ffff:127.0.0.1"]]
    for answer in answers:
        monkeypatch.setattr(socket, "getaddrinfo", resolver(answer))
        with pytest.raises(UndeliveredError, match="this machine or in its own network"):
            Webhook.deliver("$HOOK", NOTE, NEVER)
    assert posts[1] == []


def test_a_name_is_resolved_once_so_that_it_cannot_become_another(
    posts: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", f"http://hooks.example.com:{posts[0]}/x")
    first = resolver(["192.0.2.1"])
    asked: list[str] = []

    def rebinding(host: str, *words: Any, **options: Any) -> Any:
        if host != "hooks.example.com" or options.get("flags"):
            return first(host, *words, **options)
        asked.append(host)
        return (first if len(asked) == 1 else resolver(["127.0.0.1"]))(host, *words, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    connected: list[tuple[str, int]] = []

    def connect(address: tuple[str, int], *words: Any) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(UndeliveredError):
        Webhook.deliver("$HOOK", NOTE, NEVER)
    assert set(connected) <= {("192.0.2.1", posts[0])}
    assert connected


def test_a_host_that_the_user_allows_is_reached(
    posts: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{posts[0]}/x")
    monkeypatch.setenv(HOSTS, "mattermost.lan, 127.0.0.1")
    assert list(Webhook.problems("$HOOK")) == []
    Webhook.deliver("$HOOK", NOTE, NEVER)
    assert posts[1] == [b'{"text": "sweep tiny finished"}']


def test_a_proxy_is_not_asked_for_an_internal_host(
    posts: tuple[int, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{posts[0]}")
    monkeypatch.setenv("HOOK", "http://169.254.169.254/latest/meta-data")
    with pytest.raises(UndeliveredError, match="this machine or in its own network"):
        Webhook.deliver("$HOOK", NOTE, NEVER)
    assert posts[1] == []
    monkeypatch.setenv("HOOK", "http://hooks.example.com/x")
    monkeypatch.setattr("orchestrator.notify.internal_hosts._resolved", lambda *words: ["93.184.216.34"])
    Webhook.deliver("$HOOK", NOTE, NEVER)
    assert len(posts[1]) == 1


@given(st.ip_addresses(v=4))
def test_an_address_is_internal_in_ipv6_if_it_is_in_ipv4(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    for form in (f"::ffff:{address}", str(ipaddress.IPv6Address((0x64FF9B << 96) | number))):
        assert is_internal(form) == is_internal(str(address))


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.1.2", "172.16.0.1", "8.8.8.8", "2606:4700::1111", "fd12::1"])
def test_private_networks_are_reached(address: str) -> None:
    assert not is_internal(address)


def resolver(addresses: list[str]) -> Any:
    """A resolver that answers with these addresses for names, and with a number for a number."""

    def resolve(host: str, port: Any, *words: Any, **options: Any) -> Any:
        if host == "hooks.example.com" and options.get("flags") == socket.AI_NUMERICHOST:
            raise socket.gaierror
        answer = addresses if host == "hooks.example.com" else [host]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answer]

    return resolve
