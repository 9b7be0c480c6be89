"""docs/decisions.md lists every decision, newest first, and each decision has its parts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "docs/decisions"
FILES = sorted(FOLDER.glob("*.md"))
ROW = re.compile(r"^\| (\d{4}-\d\d-\d\d) \| \[(.+)\]\(decisions/([\w-]+\.md)\) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs/decisions.md").read_text())


def test_the_index_lists_every_decision_once_and_newest_first() -> None:
    assert sorted(file for _, _, file, _ in ROWS) == [file.name for file in FILES]
    dates = [date for date, *_ in ROWS]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_decision_has_its_parts_and_the_index_agrees(file: Path) -> None:
    ((date, title, _, status),) = [row for row in ROWS if row[2] == file.name]
    lines = file.read_text().splitlines()
    assert lines[0] == f"# {title}"
    assert lines[2] == f"{date}, {status.replace('(decisions/', '(')}."
    headings = [line for line in lines if line.startswith("## ")]
    assert headings[:2] == ["## Context", "## Decision"]
    assert headings[2:] in ([], ["## Alternatives"])
