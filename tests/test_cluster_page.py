"""docs/cluster.md: its commands in their order, on files that they write themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from orchestrator import cli
from tests.support.doc_blocks import blocks_of, words
from tests.support.paths import ROOT

PAGE = "docs/cluster.md"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("home")
def test_the_files_of_the_page_are_made_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = list(blocks_of(ROOT / PAGE, ROOT))
    mine = [block for block in blocks if block.what == "tests/test_cluster_page.py"]
    commands = [line for block in mine for line in block.commands()]
    assert commands
    for command in commands:
        monkeypatch.setattr(sys, "argv", words(command))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, command
