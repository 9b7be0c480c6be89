"""Check a built site: every link, picture, script and anchor resolves inside it, and nothing is fetched from elsewhere.

    python docs/check_site.py site

Links to the web that a reader may click are not checked; what a browser loads by itself must be in the site.
Exit code 1 if something is missing.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ATTRIBUTES = {"href", "src", "srcset", "data", "poster"}
CLICKED = {"a", "area"}  # all other elements load what they name


class Names(HTMLParser):
    """The references of a page, as (element, address), and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[tuple[str, str]] = []
        self.anchors: set[str] = set()
        self.feed(text)

    # HTMLParser calls this.
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value or "")
            elif name in ATTRIBUTES and value and not (tag == "link" and ("rel", "canonical") in attrs):
                self.references.append((tag, value))


def fault(page: Path, tag: str, address: str, anchors: dict[Path, set[str]], root: Path) -> str:
    """Return why a reference is wrong; empty if it holds."""
    parts = urlsplit(address)
    if parts.scheme in ("data", "mailto"):
        return ""
    if parts.scheme or parts.netloc:
        return "" if tag in CLICKED else "is loaded from elsewhere"
    file = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not file.is_relative_to(root):
        return "leads out of the site"
    if not file.is_file():
        return "no such file"
    if parts.fragment and file in anchors and unquote(parts.fragment) not in anchors[file]:
        return "no such anchor"
    return ""


def broken(root: Path) -> list[str]:
    """Return ``page: address: reason`` for each fault in the site under ``root``."""
    root = root.resolve()
    # 404.html has no place of its own: a server shows it under any address.
    pages = {file: Names(file.read_text(encoding="utf-8")) for file in root.rglob("*.html") if file.name != "404.html"}
    anchors = {file: names.anchors for file, names in pages.items()}
    faults = [
        f"{file.relative_to(root)}: {address}: {reason}"
        for file, names in pages.items()
        for tag, address in dict.fromkeys(names.references)
        if (reason := fault(file, tag, address, anchors, root))
    ]
    for sheet in root.rglob("*.css"):
        fetched = re.findall(r"url\([\"']?((?:https?:)?//[^)\"']+)", sheet.read_text(encoding="utf-8"))
        faults += [f"{sheet.relative_to(root)}: {address}: is loaded from elsewhere" for address in fetched]
    return sorted(faults)


def main() -> int:
    """Print the faults; return 1 if there is one, or if there is no page."""
    root = Path(sys.argv[1])
    faults = broken(root)
    count = sum(1 for _ in root.rglob("*.html"))
    print("\n".join(faults) or f"{count} pages, every link leads somewhere, nothing is fetched; open {root}/index.html")
    return 1 if faults or not count else 0


if __name__ == "__main__":
    sys.exit(main())
