"""Check every relative link and anchor of the pages at the top of the repository and in docs/.

Addresses on the web are not checked: the check is offline. Exit code 1 if a link is broken.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:href|src)=\"([^\"]+)\"|^\s*\[[^\]]+\]:\s+(\S+)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")


def pages(root: Path) -> list[Path]:
    """Return the pages at the top of the repository and in docs/."""
    return sorted([*root.glob("*.md"), *root.glob("docs/**/*.md")])


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the page's lines with their numbers (from 1), without fenced blocks."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return ((number, line) for number, (inside, line) in enumerate(fenced(lines), 1) if not inside)


def fenced(lines: Iterable[str]) -> Iterator[tuple[bool, str]]:
    """Yield whether a line belongs to a fenced block, and the line."""
    fence = ""
    for line in lines:
        mark = FENCE.match(line)
        closes = bool(fence) and line.strip() == fence[0] * len(line.strip()) and len(line.strip()) >= len(fence)
        yield bool(fence or mark), line
        fence = "" if closes else fence or (mark[1] if mark else "")


def slug(heading: str) -> str:
    """Return GitHub's anchor of a heading, by the rule of its renderer."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: of its headings, and those set by hand."""
    seen: Counter[str] = Counter()
    names: set[str] = set()
    for _, line in prose(page):
        if heading := HEADING.match(line):
            name = slug(heading[1])
            names.add(f"{name}-{seen[name]}" if seen[name] else name)
            seen[name] += 1
        names.update(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", line))
    return names


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Yield line number and target of each relative link."""
    for number, line in prose(page):
        for groups in LINK.findall(re.sub(r"`[^`]*`", "", line)):
            target = next(filter(None, groups))
            if not re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.IGNORECASE):
                yield number, unquote(target)


def fault(page: Path, target: str, root: Path) -> str:
    """Return why the link is broken; empty if it holds."""
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if not file.is_relative_to(root):
        return "leads out of the project"
    if not file.exists():
        return "no such file"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return "no such heading"
    return ""


def broken(root: Path) -> list[str]:
    """Return ``file:line: target: reason`` for each broken link under ``root``."""
    return [
        f"{page.relative_to(root)}:{number}: {target}: {reason}"
        for page in pages(root)
        for number, target in links(page)
        if (reason := fault(page, target, root))
    ]


def main() -> int:
    """Print the broken links; return 1 if there is one."""
    faults = broken(ROOT)
    print("\n".join(faults) or f"{len(pages(ROOT))} pages, every link leads somewhere")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
