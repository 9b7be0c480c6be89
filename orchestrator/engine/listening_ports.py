"""The TCP ports on which processes listen, from Linux's /proc."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h


@dataclass(frozen=True, order=True)
class ListeningPort:
    """A port on which a process accepts connections; ``address`` is 0.0.0.0 or :: for all interfaces."""

    process: int
    program: str
    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        return f"process {self.process} ({self.program}) listens on {self.address}, port {self.port}"


def listening_ports(processes: Iterable[int]) -> list[ListeningPort]:
    """Return the TCP ports on which the processes listen; none where the system has no /proc."""
    sockets = {inode: place for table in ("tcp", "tcp6") for inode, place in _listening_sockets(table)}
    return sorted(
        ListeningPort(process, _program(process), *sockets[inode])
        for process in set(processes)
        for inode in _socket_inodes(process)
        if inode in sockets
    )


def _listening_sockets(table: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield inode, address and port of each listening socket of this network namespace."""
    try:
        rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        fields = row.split()
        if fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            yield fields[9], (_address(address), int(port, 16))


def _address(digits: str) -> str:
    """Return an address that the kernel prints as 32-bit words in the machine's byte order."""
    words = (int(digits[start : start + 8], 16) for start in range(0, len(digits), 8))
    address = ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))
    return str(getattr(address, "ipv4_mapped", None) or address)


def _socket_inodes(process: int) -> Iterator[str]:
    folder = Path(f"/proc/{process}/fd")
    try:
        descriptors = list(folder.iterdir())
    except OSError:
        return
    for descriptor in descriptors:
        try:
            target = os.readlink(descriptor)  # noqa: PTH115
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def _program(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text().strip()
    except OSError:
        return "?"
