"""The fenced blocks of one page, by language."""

from __future__ import annotations

import re

from tests.support.paths import ROOT


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
