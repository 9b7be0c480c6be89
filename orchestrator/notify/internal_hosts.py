"""Keep notes away from this machine and its own network, where an address may reach what only trusts its neighbours.

These are loopback and link-local addresses, among them the metadata services of clouds, which hand out credentials.
A name is resolved once, and the connection is made to the addresses that were checked: it cannot resolve to another
one in between.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

HOSTS = "SWEEP_WEBHOOK_HOSTS"
"""Environment variable with the hosts of webhooks that may be internal, separated by commas."""
_REFUSED = f"its host is this machine or in its own network; {HOSTS} allows hosts"
_METADATA = frozenset({"168.63.129.16", "100.100.100.200", "fd00:ec2::254"})  # of Azure, Alibaba and AWS
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")  # NAT64: the last four bytes are an IPv4 address


class InternalHostError(OSError):
    """A webhook's host is internal. The message does not hold the address."""


def is_internal(address: str) -> bool:
    """Return whether an IP address is this machine's own, link-local, or a metadata service; also written in IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
        if ip in _TRANSLATED or int(ip) < 1 << 32:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(is_internal(str(each)) for each in inner if each):
            return True
    special = ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast
    return special or str(ip) in _METADATA


def is_allowed(host: str) -> bool:
    """Return whether the user allows a host, whatever it resolves to."""
    return host.lower() in (name.strip().lower() for name in os.environ.get(HOSTS, "").split(",") if name.strip())


def literal_refusal(address: str) -> str:
    """Return the host of a URL if it is internal as it is written, without resolving a name; else an empty text."""
    host = urlsplit(address).hostname or ""
    if is_allowed(host):
        return ""
    if host.rstrip(".") == "localhost" or host.rstrip(".").endswith(".localhost"):
        return host
    try:
        found = _resolved(host, 0, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return ""
    return host if any(map(is_internal, found)) else ""


def connections(address: str) -> list[urllib.request.BaseHandler]:
    """Return the handlers for a request that connect to no internal host. Raises InternalHostError.

    Behind a proxy it is the proxy that resolves the name, so here it is checked as far as it can be resolved.
    """
    url = urlsplit(address)
    host = url.hostname or ""
    if is_allowed(host):
        return []
    if literal_refusal(address):
        raise InternalHostError(_REFUSED)
    if url.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(url.netloc.rpartition("@")[2]):
        with contextlib.suppress(socket.gaierror, UnicodeError):
            _require_external(_resolved(host, 0))
        return []
    return [_Http(), _Https()]


def _resolved(host: str, port: int, flags: int = 0) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)]


def _require_external(addresses: Iterable[str]) -> None:
    if any(map(is_internal, addresses)):
        raise InternalHostError(_REFUSED)


def _connected(host: str, port: int, timeout: Any) -> socket.socket:
    """Return a socket that is connected to a host. Raises InternalHostError; OSError."""
    addresses = _resolved(host, port)
    _require_external(addresses)
    for address in addresses[:-1]:
        try:
            return socket.create_connection((address, port), timeout)
        except OSError:
            continue
    return socket.create_connection((addresses[-1], port), timeout)


class _Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = _connected(self.host, self.port, self.timeout)


class _SecureConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        plain = _connected(self.host, self.port, self.timeout)
        self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_SecureConnection, req)
