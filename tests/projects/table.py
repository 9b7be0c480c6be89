"""The table of docs/compatibility.md."""

from __future__ import annotations

from collections.abc import Mapping

from tests.projects.catalogue import PROJECTS, Project
from tests.projects.steps import MOST_LINES, STEPS, Row

_HEAD = """\
# Compatibility

<!-- This page is written by `make test-projects ARGS=--write`: do not edit it. -->

Real projects, each in an environment of its own, swept as they are.
Their data are replaced by small made ones, so that nothing is downloaded.
Two trials, some of them shortened by `--set`, are launched by `sweep launch --local`.
The launch is killed by SIGKILL after the first report.
The sweep is resumed and confirmed. Its winner is tested and exported.
`load` is the class's own `load_from_checkpoint` on a file of the bundle.
A dash is a step that was not tried.

{summary}

"""


def page(rows: Mapping[str, Row], versions: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        rows: what came of each project, by its name.
        versions: of what all share.
    """
    launched = sum(row.launches for row in rows.values())
    shared = ", ".join(f"{name} {number}" for name, number in versions.items())
    summary = (
        f"{launched} of {len(PROJECTS)} launch unmodified by a sweep file of at most {MOST_LINES} lines: n = 1 each, "
        f"by `make test-projects`.\nVersions: {shared}."
    )
    titles = ["project", "door", "version", "lines", *STEPS]
    lines = [_line(titles), _line(["---"] * len(titles))]
    known = {project: rows.get(project.name) or Row(project.name) for project in PROJECTS}
    lines += [_line(_cells(project, row)) for project, row in known.items()]
    notes = [f"- {project.title}: {note}" for project, row in known.items() for note in _notes(project, row)]
    why = "## Why not\n\n" + "\n".join(notes) + "\n" if notes else ""
    return _HEAD.format(summary=summary) + "\n".join(lines) + "\n\n" + why


def _cells(project: Project, row: Row) -> list[str]:
    steps = [_mark(row.steps.get(name, "")) for name in STEPS]
    return [project.title, project.door, row.version or "–", str(row.lines), *steps]


def _mark(outcome: str) -> str:
    return "–" if not outcome else "yes" if outcome.startswith("yes") else "no"


def _notes(project: Project, row: Row) -> list[str]:
    """Return a sentence for each step that did not work, and the project's own remark."""
    failed = [f"{name}: {_short(outcome)}." for name, outcome in row.steps.items() if not outcome.startswith("yes")]
    return [*([project.remark] if project.remark else []), *failed]


def _short(outcome: str) -> str:
    """Return the first two parts of an error."""
    return ": ".join(outcome.split(": ")[:2]).rstrip(".")


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
