"""The page that compares runs: the report's own sections, and figures that are fetched when one is near."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from orchestrator.page.followed_runs import FollowedRun
from orchestrator.page.layout import document
from orchestrator.results.figures.compared import COMPARED
from orchestrator.results.report import comparison as report
from orchestrator.results.report.markup import Html, element, joined
from orchestrator.results.report.page import figure_box, figure_content
from orchestrator.results.report.sections import section
from orchestrator.results.run_comparison import Comparison, compare_runs
from orchestrator.secrets import masked

_HEIGHT = 420


def comparison_page(several: Sequence[FollowedRun]) -> str:
    """Return the page of a comparison."""
    with _compared(several) as comparison:
        query = urlencode([("run", each.key) for each in several])
        boxes = [
            figure_box(name, name.replace("_", " ").capitalize(), "", _HEIGHT, f"/compare/figures/{name}?{query}")
            for name in COMPARED
        ]
        heading = [element("p", "Comparison of sweeps", class_="kicker"), element("h1", report.title(comparison))]
        return document(
            f"{len(several)} runs compared",
            heading=joined(heading),
            main=[
                element(
                    "div",
                    *_standings(comparison, several),
                    id="part-standings",
                    data_refresh=f"/compare/standings?{query}",
                ),
                section("figures", "Figures", *boxes),
                report.spec_section(comparison),
            ],
            sections=report.SECTIONS,
            events=f"/compare/events?{query}",
            at=version(several),
            figures=True,
        )


def _standings(comparison: Comparison, several: Sequence[FollowedRun]) -> list[Html]:
    links = {each.run.name: f"/runs/{each.key}" for each in several}
    return [report.verdict_section(comparison, links), report.equal_section(comparison)]


def standings(several: Sequence[FollowedRun]) -> str:
    """Return the sections that change while a run goes on."""
    with _compared(several) as comparison:
        return joined(_standings(comparison, several))


def version(several: Sequence[FollowedRun]) -> int:
    """Return a number that changes whenever a run does."""
    return sum(each.version for each in several)


def figure(several: Sequence[FollowedRun], name: str) -> str | None:
    """Return a figure as JSON; None if there is none of that name, or nothing to draw."""
    if name not in COMPARED:
        return None
    with _compared(several) as comparison:
        drawn = COMPARED[name](comparison)
        return masked(figure_content(drawn)) if drawn else None


@contextlib.contextmanager
def _compared(several: Sequence[FollowedRun]) -> Iterator[Comparison]:
    """Yield the runs compared, none of which changes meanwhile."""
    with contextlib.ExitStack() as stack:
        for each in several:
            stack.enter_context(each.unchanged())
        yield compare_runs([(each.run, each.state) for each in several])
