"""The documentation: its links, its sweep files, and the snippets that are parts of files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import check_links, generate, progress_picture
from orchestrator.engine.failure_policy import KINDS
from orchestrator.spec import load
from tests.support.page_blocks import blocks
from tests.support.paths import ROOT
from tests.support.rooms import ALLOWED, CORE

EXAMPLE = ROOT / "docs/examples/own_module"


def sweep_files() -> list[tuple[str, str]]:
    pages = [str(page.relative_to(ROOT)) for page in check_links.pages(ROOT)]
    return [(page, text) for page in pages for text in blocks(page, "yaml") if "objective:" in text]


def test_every_link_leads_somewhere() -> None:
    assert check_links.broken(ROOT) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](b.md)", "page.md:1: b.md: no such file"),
        ("[a](#nowhere)", "page.md:1: #nowhere: no such heading"),
        ("[a](../elsewhere.md)", "page.md:1: ../elsewhere.md: leads out of the project"),
        ('<img src="shot.png">', "page.md:1: shot.png: no such file"),
        ("[a]: b.md", "page.md:1: b.md: no such file"),
        ("# A `heading`, twice\n[a](#a-heading-twice)", ""),
        ("# Same\n# Same\n[a](#same-1)", ""),
        ("```\n[a](b.md)\n```", ""),
        ("`[a](b.md)` and [web](https://example.com/x)", ""),
    ],
)
def test_broken_links_are_found(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "page.md").write_text(text)
    assert check_links.broken(tmp_path) == ([fault] if fault else [])


def commas(line: str) -> int:
    """Return the commas of a line of prose; inline code, parentheses and figures have none."""
    return re.sub(r"`[^`]*`|\([^)]*\)|\d,\d", "", line).count(",")


def test_no_line_of_prose_has_more_than_three_commas() -> None:
    """Tables state facts, so they may; a picture's description is one line."""
    long = [
        f"{page.relative_to(ROOT)}:{number}: {line}"
        for page in check_links.pages(ROOT)
        if page.parent.name != "reference"
        for number, line in check_links.prose(page)
        if commas(line) > 3 and not line.lstrip().startswith(("|", "!["))
    ]
    assert not long, "\n".join(long)


def test_commas_of_prose_are_counted() -> None:
    assert commas("one, two (a, b, c), `d, e`, and 1,000, end") == 4


@pytest.mark.parametrize(("page", "text"), sweep_files())
def test_sweep_files_in_the_pages_are_valid(tmp_path: Path, page: str, text: str) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    load(file)


def test_the_page_shows_the_example_as_it_is() -> None:
    page = "docs/your-own-module.md"
    assert blocks(page, "yaml")[0] in (EXAMPLE / "sweep.yaml").read_text()
    assert blocks(page, "python")[0] in (EXAMPLE / "sweep.py").read_text()


def test_stale_pages_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("old")
    (tmp_path / "b.md").write_text("same")
    assert generate.stale({"a.md": "new", "b.md": "same", "c.md": ""}, tmp_path) == ["a.md", "c.md"]


def test_every_kind_of_failure_is_in_the_docs_with_its_retries() -> None:
    text = (ROOT / "docs" / "recovery.md").read_text().split("## Failures")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:4]] for row in text.splitlines() if row.startswith("| `")]
    assert [(kind.strip("`"), cause) for kind, cause, _ in rows] == [(kind, what) for kind, (what, _) in KINDS.items()]
    for (_, retries), (_, _, written) in zip(KINDS.values(), rows, strict=True):
        assert written.startswith({None: "always", 0: "never"}.get(retries, f"{retries} time"))


def test_the_rooms_of_the_page_are_those_that_are_held() -> None:
    """Each with the rooms that it may import, and no box of the picture is a room that is not there."""
    table = (ROOT / "docs/architecture.md").read_text().split("\n## The rooms")[1]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table.splitlines() if line.startswith("| `")]
    told: dict[str, set[str]] = {}
    for room, _, may in rows:
        names = set(re.findall(r"`(\w+)`", may)) | (CORE if "the core" in may else set())
        told[room.strip("`")] = names | (set(told) if may == "the rows above" else set())
    assert told == {room: may for room, may in ALLOWED.items() if not room.startswith("__")}
    picture = (ROOT / "docs/pictures/architecture.svg").read_text()
    boxes = re.findall(r'class="name"[^>]*>([^<]+)<', picture)
    assert len(boxes) > 8
    assert set(boxes) - {"Lightning", "trials/0000/checkpoints"} <= set(told)


def test_the_picture_of_progress_is_what_its_script_draws() -> None:
    assert progress_picture.PICTURE.read_text(encoding="utf-8") == progress_picture.picture()
