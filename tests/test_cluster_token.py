"""The token of a cluster: made once, kept from others, never shown, and said to Ray in full."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import cli
from orchestrator.cluster import auth_token
from orchestrator.errors import UsageError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept/token"
    before = os.umask(0)  # the modes must not hang on it
    try:
        assert auth_token.create(path)
        first = auth_token.read(path)
        assert not auth_token.create(path)
    finally:
        os.umask(before)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert auth_token.read(path) == first
    assert len(bytes.fromhex(first)) == 32
    assert auth_token.create(path, new=True)
    assert auth_token.read(path) != first
    assert mode(path) == 0o600


def test_what_others_can_read_is_refused_until_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "token"
    auth_token.create(path)
    path.chmod(0o640)
    with pytest.raises(UsageError, match="can be read by others"):
        auth_token.environment(path)
    assert not auth_token.create(path)
    assert mode(path) == 0o600
    assert auth_token.environment(path) == {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"two words of thirty-two characters", b"\xff" * 64])
def test_what_is_no_token_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError):
        auth_token.read(path)
    with pytest.raises(UsageError):
        auth_token.create(path)
    assert path.read_bytes() == content


def test_without_one_ray_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    assert auth_token.find() is None
    assert auth_token.environment(None) == {"RAY_AUTH_MODE": "disabled"}
    auth_token.create(tmp_path / ".sweep/token")
    assert auth_token.find() == tmp_path / ".sweep/token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "mine"))
    assert auth_token.find() == tmp_path / "mine"


def test_the_command_never_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "token"
    for words in ([], ["--new"]):
        monkeypatch.setattr(sys, "argv", ["sweep", "cluster", "token", "--token", str(path), *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        out, err = capsys.readouterr()
        assert auth_token.fingerprint(path) in out
        assert auth_token.read(path) not in out + err


def test_ray_reads_the_same_token(tmp_path: Path) -> None:
    """Ray's own loader, which its programs and clients use, finds what we wrote, where we say."""
    path = tmp_path / "token"
    auth_token.create(path)
    code = (
        "from ray._private.authentication import http_token_authentication as rays\n"
        "print(rays.get_auth_headers_if_auth_enabled({}).get('authorization'))"
    )
    env = {**os.environ, **auth_token.environment(path)}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.stdout.strip() == f"Bearer {auth_token.read(path)}", answer.stderr
