"""The processes of a trial on one host meet in a file of their user: no port that a stranger could write to."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from orchestrator.engine.listening_ports import listening_ports
from orchestrator.training.process_group import environment
from orchestrator.training.rendezvous import by_file, one_host_environment


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_pytorch_has_the_table_of_handlers_that_is_changed() -> None:
    handlers = sys.modules["torch.distributed.rendezvous"]._rendezvous_handlers
    before = handlers["env"]
    with by_file():
        assert handlers["env"] is before, "without a file nothing changes"


@pytest.mark.parametrize("on_one_host", [True, False])
def test_a_group_on_one_host_listens_on_loopback_only(
    on_one_host: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = environment(0, 1, "127.0.0.1", free_port()) | (
        one_host_environment(str(tmp_path)) if on_one_host else {}
    )
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    files: list[str] = []
    before = set(listening_ports([os.getpid()]))
    with by_file():
        for _ in range(2):  # a second group in the same segment needs another file
            dist.init_process_group("gloo")
            opened = set(listening_ports([os.getpid()])) - before
            dist.all_reduce(torch.ones(1))
            files += [path.name for path in tmp_path.iterdir()]
            dist.destroy_process_group()
            if not on_one_host:
                break
    if on_one_host:
        assert [port for port in opened if not port.is_loopback] == []
        assert files == ["store-0", "store-1"]
    else:
        assert [port.address for port in opened if not port.is_loopback] == ["::"], "PyTorch's own store"


def test_an_interface_that_the_user_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "eth7")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    variables = one_host_environment("/folder")
    assert variables["NCCL_SOCKET_IFNAME"] == "eth7"
    assert variables["GLOO_SOCKET_IFNAME"] in ("lo", "lo0")
