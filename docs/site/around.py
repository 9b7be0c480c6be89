"""Add to the site what lies outside docs/: the pages at the top of the repository, and folders that pages link to.

The pages are written to be read on GitHub. This hook changes their links out of docs/ to the site's own pages. A
folder, or a file that is no page, gets a page of its own.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))
from docs.check_links import fenced, links, pages, slug  # noqa: E402

TOP = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
SHOWN_AS_THEY_ARE = {".md", ".svg", ".png", ".json", ".html"}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".sh": "bash"}
TARGET = re.compile(r"(\]\(|(?:href|src|srcset)=\")([^)\s\"#]+)(#[^)\s\"]*)?(?=[)\s\"])")


def on_config(config: MkDocsConfig) -> None:
    """Give headings GitHub's anchors."""
    config.mdx_configs["toc"]["slugify"] = lambda heading, separator: slug(heading)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages."""
    for name, made in TOP.items():
        files.append(File.generated(config, made, content=(ROOT / name).read_text(encoding="utf-8")))
    for folder in linked_folders():
        shown = File.generated(config, page_of(folder), content=listing(folder), inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(shown)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the page's links to the pages of the site."""
    made = page.file.src_uri
    source = next((ROOT / name for name, top in TOP.items() if top == made), DOCS / made)

    def redirected(match: re.Match[str]) -> str:
        before, path, anchor = match[1], match[2], match[3] or ""
        place = stand_in((source.parent / path).resolve())
        if not place:
            return match[0]
        to, _, own = place.partition("#")
        return before + os.path.relpath(to, Path(made).parent) + (anchor or (own and f"#{own}"))

    return "\n".join(line if code else TARGET.sub(redirected, line) for code, line in fenced(markdown.splitlines()))


def stand_in(target: Path) -> str:
    """Return MkDocs's source path for a file or folder of the repository; empty if the site has none."""
    if not target.is_relative_to(ROOT) or not target.exists():
        return ""
    if target.parent == ROOT and target.name in TOP:
        return TOP[target.name]
    if target.is_dir():
        return page_of(target)
    if target.is_relative_to(DOCS) and target.suffix in SHOWN_AS_THEY_ARE:
        return target.relative_to(DOCS).as_posix()
    return f"{page_of(target.parent)}#{slug(target.name)}"


def linked_folders() -> list[Path]:
    """Return the folders that pages link to, directly or by a file that is no page."""
    targets = ((page.parent, target.partition("#")[0]) for page in pages(ROOT) for _, target in links(page))
    linked = {(folder / path).resolve() for folder, path in targets if path}
    shown = {stand_in(target).partition("#")[0] for target in linked}
    folders = {target if target.is_dir() else target.parent for target in linked if target.exists()}
    return sorted(folder for folder in folders if page_of(folder) in shown)


def page_of(folder: Path) -> str:
    return f"files/{folder.relative_to(ROOT).as_posix().replace('/', '-')}.md"


def listing(folder: Path) -> str:
    """Return the page of a folder, with each of its files in a block."""
    parts = [f"# {folder.relative_to(ROOT).as_posix()}\n"]
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        parts.append(f"## {file.name}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text()}````\n")
    return "\n".join(parts)
