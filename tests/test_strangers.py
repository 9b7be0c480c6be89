"""Another user of this machine is refused by every port that a sweep's processes open."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator.engine.listening_ports import ListeningPort, listening_ports
from orchestrator.engine.process_reaper import members
from tests.support import stranger

REFUSALS = {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE", "HTTP none", "HTTP 401", "HTTP 403"}


class LocalRay(NamedTuple):
    folder: Path
    ports: list[ListeningPort]
    log: str


@pytest.fixture(scope="module")
def local_ray() -> Iterator[LocalRay]:
    """Ray as `sweep launch` starts it, with two workers that run."""
    from orchestrator.engine.tune.ray_lifecycle import instance

    logger, catcher = logging.getLogger("orchestrator.ports"), BufferingHandler(1000)
    logger.addHandler(catcher)
    logger.setLevel(logging.DEBUG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # what a user has set for a cluster opens nothing here
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        with instance(2) as running:
            _work()
            folder = running._folder
            assert folder is not None
            ports = listening_ports([os.getpid(), *members(folder)])
            yield LocalRay(folder, ports, "\n".join(record.getMessage() for record in catcher.buffer))
        assert (os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"]) == ("disabled", "0" * 64)
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ
    assert not folder.exists()
    logger.removeHandler(catcher)
    logger.setLevel(logging.NOTSET)


def _work() -> None:
    import ray

    def process() -> int:
        return os.getpid()

    task: Any = ray.remote(process)
    assert ray.get([task.remote() for _ in range(4)])


@pytest.mark.ray
def test_a_local_ray_listens_on_loopback_only(local_ray: LocalRay) -> None:
    assert {"gcs_server", "raylet"} <= {port.program for port in local_ray.ports}
    assert [str(port) for port in local_ray.ports if not port.is_loopback] == []


@pytest.mark.ray
def test_the_ports_are_logged_at_the_start_at_level_debug(local_ray: LocalRay) -> None:
    servers = [port for port in local_ray.ports if port.program in ("gcs_server", "raylet")]
    assert all(str(port) in local_ray.log for port in servers)


@pytest.mark.ray
def test_nobody_else_can_read_what_a_local_ray_keeps_in_files(local_ray: LocalRay) -> None:
    """Ray makes its own folder writable for all; the one around it is ours."""
    token = local_ray.folder / "token"
    assert stat.S_IMODE(local_ray.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text()) == 64


@pytest.mark.ray
def test_two_instances_have_different_tokens(local_ray: LocalRay, tmp_path: Path) -> None:
    from orchestrator.engine.tune.ray_access import closed_to_others

    with closed_to_others(tmp_path):
        assert Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text() != (local_ray.folder / "token").read_text()


@pytest.mark.slow
@pytest.mark.ray
def test_another_user_is_refused_by_every_port(local_ray: LocalRay) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    outcomes = stranger.knock((port.address, port.port) for port in local_ray.ports)
    assert set(outcomes) == {port.port for port in local_ray.ports}
    admitted = {
        f"{port.program}, port {port.port}": kinds
        for port in local_ray.ports
        if (kinds := {kind: n for kind, n in outcomes[port.port].items() if kind not in REFUSALS})
    }
    assert not admitted
    servers = [kinds for kinds in outcomes.values() if "HTTP 401" not in kinds]
    assert all(kinds.get("UNAUTHENTICATED") for kinds in servers), "each has methods that ask for the token"


@pytest.mark.slow
@pytest.mark.ray
def test_the_same_tries_are_answered_with_the_token(local_ray: LocalRay) -> None:
    """Else the test above would pass for a program that cannot call Ray at all."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    head = next(port for port in local_ray.ports if port.program == "gcs_server")
    token = (local_ray.folder / "token").read_text()
    answered = stranger.knock([(head.address, head.port)], token, only="GetAllNodeInfo")[head.port]
    assert "answered /ray.rpc.NodeInfoGcsService/GetAllNodeInfo" in answered
