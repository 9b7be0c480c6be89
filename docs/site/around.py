"""What the site takes from around docs/: the pages at the top of the repository, and folders that pages link to.

The pages are written to be read on GitHub. Here their links out of docs/ are turned to what stands for them in the
site: a folder, or a file that is no page, is shown on a page of its own.
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
    """Headings get the anchors that GitHub gives them."""
    config.mdx_configs["toc"]["slugify"] = lambda heading, separator: slug(heading)


def on_files(files: Files, config: MkDocsConfig) -> None:
    for name, made in TOP.items():
        files.append(File.generated(config, made, content=(ROOT / name).read_text(encoding="utf-8")))
    for folder in linked_folders():
        shown = File.generated(config, page_of(folder), content=listing(folder), inclusion=InclusionLevel.NOT_IN_NAV)
        files.append(shown)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    made = page.file.src_uri
    source = next((ROOT / name for name, top in TOP.items() if top == made), DOCS / made)

    def turned(match: re.Match[str]) -> str:
        before, path, anchor = match[1], match[2], match[3] or ""
        place = stand_in((source.parent / path).resolve())
        if not place:
            return match[0]
        to, _, own = place.partition("#")
        return before + os.path.relpath(to, Path(made).parent) + (anchor or (own and f"#{own}"))

    return "\n".join(line if code else TARGET.sub(turned, line) for code, line in fenced(markdown.splitlines()))


def stand_in(target: Path) -> str:
    """Where in the site a file or folder of the repository is, as a source path of MkDocs's; empty where nowhere."""
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
    """The folders that pages link to, or to a file in which that is no page."""
    targets = ((page.parent, target.partition("#")[0]) for page in pages(ROOT) for _, target in links(page))
    found = {(beside / path).resolve() for beside, path in targets if path}
    shown = {stand_in(target).partition("#")[0] for target in found}
    folders = {target if target.is_dir() else target.parent for target in found if target.exists()}
    return sorted(folder for folder in folders if page_of(folder) in shown)


def page_of(folder: Path) -> str:
    return f"files/{folder.relative_to(ROOT).as_posix().replace('/', '-')}.md"


def listing(folder: Path) -> str:
    """The page of a folder: each file of it in a block."""
    parts = [f"# {folder.relative_to(ROOT).as_posix()}\n"]
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        parts.append(f"## {file.name}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text()}````\n")
    return "\n".join(parts)
