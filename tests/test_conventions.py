"""How the project is written: plain phrases, module names that are unique, and public names that are documented."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# A phrase of the project's former dialect -> what to write instead.
BANNED = {
    r"go(es|ne|ing)? on with": "resume, continue",
    r"without a word": "silently; without an exit code",
    r"told to go": "is being preempted",
    r"look(s|ed)? .{0,30}\banew": "polls, reads again",
    r"no more than that": "state the bound",
    r"as long as that says": "until … returns",
    r"is told (what|that|of)\b": "receives",
    r"let(s)? go of\b": "release",
    r"see(s)? to it\b": "ensure",
    r"(?<!\w)whoever\b": "a user, a process that",
    r"what becomes of\b": "the outcome of",
    r"\banew\b": "again",
    r"comes to its end\b": "ends",
}
# Quotations: text of others, or of a file format, that stays as it is.
QUOTED = {"orchestrator/journal/records.py"}
TEXTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "orchestrator", "docs", "search_spaces"]
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".css", ".js", ".html"}

# Names that a folder makes obvious, such as `notify/base.py` beside `export/base.py`.
REPEATED = {"__init__", "__main__"}


def files() -> Iterator[Path]:
    for name in TEXTS:
        path = ROOT / name
        yield from sorted(path.rglob("*")) if path.is_dir() else [path]


def test_no_banned_phrase_is_written() -> None:
    found = []
    for path in files():
        if path.suffix not in SUFFIXES or not path.is_file() or str(path.relative_to(ROOT)) in QUOTED:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {match[0]!r}: write {better}"
                for phrase, better in BANNED.items()
                if (match := re.search(phrase, line, re.IGNORECASE))
            ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("phrase", BANNED)
def test_every_banned_phrase_can_be_found(phrase: str) -> None:
    examples = [
        "A sweep can be gone on with", "ends without a word", "was told to go", "looked at anew", "no more than that",
        "as long as that says nothing", "it is told what happens", "lets go of it", "sees to it", "whoever asked",
        "what becomes of a trial", "made anew", "comes to its end",
    ]  # fmt: skip
    assert any(re.search(phrase, example, re.IGNORECASE) for example in examples)


def test_a_module_s_name_is_unique_unless_its_folder_makes_it_obvious() -> None:
    """Plug-ins of several kinds may share a name (a tracker and a logger of wandb), as may a command and its room."""
    paths = sorted((ROOT / "orchestrator").rglob("*.py"))
    plain = [path for path in paths if path.parent.name not in {"cli", "figures", "report", "loggers", "templates"}]
    counted = Counter(path.stem for path in plain if path.stem not in REPEATED)
    assert not [name for name, count in counted.items() if count > 1]
