"""The sections of a comparison of runs, and its page as one file."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.results.figures.compared import COMPARED
from orchestrator.results.report.markup import Html, element, joined, table
from orchestrator.results.report.sections import section
from orchestrator.results.run_comparison import ComparedRun, Comparison, Standing, ranked_runs, rows_of
from orchestrator.results.why import show

_NAMED = 3
SECTIONS = (("verdict", "Verdict"), ("equal", "At equal terms"), ("figures", "Figures"), ("specs", "Specs"))


def title(comparison: Comparison) -> str:
    """Return the page's title: the names of a few runs, or how many there are."""
    return " · ".join(comparison.names) if len(comparison.runs) <= _NAMED else f"{len(comparison.runs)} runs"


def verdict_section(comparison: Comparison, links: dict[str, str]) -> Html:
    """Return which run leads, and each winner with its interval; ``links`` lead to a run's own page."""
    first, *rest = comparison.verdict()
    paragraphs = [element("p", first, class_="lead"), *(element("p", line) for line in rest)]
    ranked = ranked_runs(comparison)
    ranked += [each for each in comparison.runs if each not in ranked]
    rows = [(_linked(each.name, links), *_winner(each)) for each in ranked]
    level = next((f"{each.interval.level:.0%} interval" for each in ranked if each.interval), "interval")
    head = ("run", "state", "trials", f"best {comparison.metric}", "trial", "mean", level, "n")
    words = element("div", *paragraphs, class_="verdict-text")
    return section("verdict", "Verdict", words, element("div", table(head, rows, "Winners of the runs"), class_="card"))


def _linked(name: str, links: dict[str, str]) -> object:
    return element("a", name, href=links[name]) if name in links else name


def _winner(each: ComparedRun) -> Sequence[object]:
    interval, best = each.interval, each.best
    known = show(best.value) if best.value is not None else "–"
    trial = best.trial if best.trial is not None else "–"
    if interval is None:
        certain: Sequence[object] = ("–", "not confirmed", "–")
    else:
        certain = (show(interval.mean), f"{show(interval.low)} to {show(interval.high)}",
                   f"{interval.n} {interval.source}")  # fmt: skip
    return each.state.status, f"{len(each.state.trials):,}", known, trial, *certain


def equal_section(comparison: Comparison) -> Html:
    """Return each run's best where all have come: at equal progress, and at equal cost."""
    if comparison.unit is None:
        words = element("p", "The runs measure progress in different units, so they share no progress and no cost.")
        return section("equal", "At equal terms", words)
    rows = [(words, *_marked(comparison, standings)) for words, standings in rows_of(comparison)]
    if not rows:
        return section("equal", "At equal terms", element("p", "No run has reported yet."))
    frame = table((comparison.metric, *comparison.names), rows, "Best values at equal terms")
    return section("equal", "At equal terms", element("div", frame, class_="card"))


def _marked(comparison: Comparison, standings: Sequence[Standing]) -> list[object]:
    """Return the values with their trials, the best one in bold."""
    values = [standing.value for standing in standings if standing.value is not None]
    best = (max if comparison.mode == "max" else min)(values, default=None)
    cells: list[object] = []
    for standing in standings:
        if standing.value is None:
            cells.append("–")
            continue
        value = element("strong" if standing.value == best else "span", show(standing.value))
        cells.append(joined([value, element("span", f" trial {standing.trial}", class_="soft")]))
    return cells


def spec_section(comparison: Comparison) -> Html:
    """Return the difference of the specs."""
    if not comparison.differences:
        return section("specs", "Specs", element("p", "The specs are the same, but for name and seed."))
    rows = [
        (element("code", path), *(element("code", value) for value in values))
        for path, values in comparison.differences.items()
    ]
    words = element("p", f"{len(rows)} fields differ; name and seed are left out.")
    frame = table(("field", *comparison.names), rows, "Differences of the specs")
    return section("specs", "Specs", words, element("div", frame, class_="card"))


def html(comparison: Comparison) -> str:
    """Return the page of a comparison as one file that loads nothing."""
    from orchestrator.results.report.page import document, figures_with_data, placeholders

    drawn = [figure for draw in COMPARED.values() if (figure := draw(comparison))]
    main = [
        verdict_section(comparison, {}),
        equal_section(comparison),
        section("figures", "Figures", *placeholders(drawn)),
        spec_section(comparison),
    ]
    heading = [element("p", "Comparison of sweeps", class_="kicker"), element("h1", title(comparison))]
    return document(f"{comparison.metric} of {len(comparison.runs)} runs", heading=heading, navigation=SECTIONS,
                    main=main, footer=f"sweep report {' '.join(comparison.names)}",
                    **figures_with_data(drawn))  # fmt: skip
