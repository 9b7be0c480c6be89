"""The table of trials, a page at a time: sorted and filtered by the server."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from orchestrator.page.followed_runs import FollowedRun
from orchestrator.progress import axis, counted
from orchestrator.results.ranked_rows import STATUSES, Row
from orchestrator.results.report.markup import Html, element
from orchestrator.results.report.sections import section
from orchestrator.results.terminal_tables import short_names
from orchestrator.results.why import show

SIZES = (25, 50, 100, 250)
_POINTS = 40  # of a curve in a row
_LONG = 24  # characters, from which on a cell says its text when pointed at
_WORDS = 200  # characters of a filter


@dataclass(frozen=True)
class View:
    """Which rows are shown, in which order.

    Attributes:
        sort: ``rank``, ``trial``, ``status``, ``best``, ``progress``, or ``param:NAME``.
        down: whether the greatest come first.
        status: only trials of this status; empty for any.
        words: only trials that have all of them.
        page: from 1.
        size: rows of a page.
    """

    sort: str = "rank"
    down: bool = False
    status: str = ""
    words: str = ""
    page: int = 1
    size: int = SIZES[0]

    @classmethod
    def of(cls, query: Mapping[str, str]) -> View:
        """Return the view that an address asks for; what cannot be meant is left out."""
        size, page = _number(query.get("rows")), _number(query.get("page"))
        status = query.get("status", "")
        return cls(
            query.get("sort", "rank")[:_WORDS],
            query.get("down") == "1",
            status if status in STATUSES else "",
            query.get("q", "")[:_WORDS],
            max(1, page),
            size if size in SIZES else SIZES[0],
        )

    def query(self, **changes: object) -> str:
        """Return the address's query for this view with changes."""
        view = replace(self, **changes)  # type: ignore[arg-type]
        fields = {"sort": view.sort, "down": "1" if view.down else "", "status": view.status, "q": view.words}
        fields |= {"page": str(view.page) if view.page > 1 else "", "rows": str(view.size)}
        plain = {"sort": "rank", "rows": str(SIZES[0])}
        kept = {name: value for name, value in fields.items() if value and plain.get(name) != value}
        return f"?{urlencode(kept, errors='replace')}"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and text.isascii() and len(text) < 10 else 0


def table_section(followed: FollowedRun, view: View) -> Html:
    """Return the section with the table and its controls, which work without scripts too."""
    options = [element("option", "all", value=""), *(_option(word, view.status) for word in STATUSES)]
    sizes = [element("option", f"{size}", value=f"{size}", selected=size == view.size) for size in SIZES]
    field = element(
        "input", id="filter", name="q", type="search", value=view.words, autocomplete="off", spellcheck="false",
        maxlength=_WORDS,
    )  # fmt: skip
    controls = element(
        "form",
        element("label", "Filter ", field),
        element("label", "Status ", element("select", *options, id="status", name="status")),
        element("label", "Rows ", element("select", *sizes, id="rows", name="rows")),
        element("button", "Show", type="submit"),
        class_="controls",
        method="get",
        action="#trials",
    )
    rows = element("div", table_rows(followed, view), id="trial-rows", data_source=f"/runs/{followed.key}/table")
    return section("trials", "Trials", element("div", controls, rows, id="explorer"))


def _option(status: str, chosen: str) -> Html:
    return element("option", status.replace("_", " "), value=status, selected=status == chosen)


def table_rows(followed: FollowedRun, view: View) -> Html:
    """Return the rows that a view shows, with the links to other views."""
    listed = followed.rows.listed(view.sort, down=view.down, status=view.status, words=view.words)
    pages = max(1, math.ceil(len(listed) / view.size))
    view = replace(view, page=min(view.page, pages))
    begin = (view.page - 1) * view.size
    shown = listed[begin : begin + view.size]
    names = followed.rows.names
    body = [_row(followed, row, names) for row in shown]
    table = element(
        "table",
        element("caption", "Trials, one a row", class_="unseen"),
        element("thead", element("tr", *_head(followed, view, names))),
        element("tbody", *body),
    )
    frame = element("div", table, id="table", class_="scroll", role="region", aria_label="Trials", tabindex="0")
    return element("div", frame, _pages(view, begin, len(shown), len(listed), len(followed.rows.rows), pages))


def _head(followed: FollowedRun, view: View, names: Sequence[str]) -> Iterator[Html]:
    state = followed.state
    columns = [("rank", "rank", True), ("trial", "trial", True), ("status", "status", False)]
    columns += [("best", state.objective.metric, True), ("progress", f"best / last {axis(state.unit)}", True)]
    for key, title, is_number in columns:
        yield _title(view, key, title, title, is_number)
    yield element("th", "curve", scope="col", class_="plain")
    for name, short in zip(names, short_names(list(names)), strict=True):
        yield _title(view, f"param:{name}", short, name, False)


def _title(view: View, key: str, text: str, title: str, is_number: bool) -> Html:
    is_sorted = view.sort == key
    order = ("descending" if view.down else "ascending") if is_sorted else None
    link = element("a", text, href=f"{view.query(sort=key, down=is_sorted and not view.down, page=1)}#trials",
                   data_view=True, data_key=f"sort {key}", title=title)  # fmt: skip
    return element("th", link, scope="col", class_="n" if is_number else None, aria_sort=order)


def _row(followed: FollowedRun, row: Row, names: Sequence[str]) -> Html:
    number = element(
        "a", f"{row.trial}", href=f"/runs/{followed.key}/trials/{row.trial}", aria_label=f"Trial {row.trial}"
    )
    status = row.status.replace("_", " ")
    best = show(row.best) if row.best is not None else "–"
    cells = [
        element("td", f"{followed.rows.ranks[row.trial]}", class_="n"),
        element("th", number, scope="row", class_="n"),
        element("td", element("span", status, class_=f"status status-{status.replace(' ', '-')}")),
        element("td", best, class_="n value" if row.best is not None else "n missing"),
        element("td", row.reached, class_="n"),
        element("td", curve(row.values), class_="curve"),
    ]
    return element("tr", *cells, *(_parameter(row, name) for name in names))


def _parameter(row: Row, name: str) -> Html:
    if name not in row.params:
        return element("td", "–", class_="missing")
    value = row.params[name]
    text = show(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return element("td", text, class_="n" if is_number else None, title=text if len(text) > _LONG else None)


def curve(values: Sequence[float], width: int = 100, height: int = 22) -> Html | None:
    """Return values as a small line; None for fewer than two that are finite."""
    step = max(1, math.ceil(len(values) / _POINTS))
    points = [(place, value) for place, value in enumerate(values) if math.isfinite(value)]
    points = [*points[:-1][::step], *points[-1:]]
    if len(points) < 2:
        return None
    low, high = min(value for _, value in points), max(value for _, value in points)
    span = high / 2 - low / 2  # of halves, since a range beyond the largest float would be infinite
    last = points[-1][0] or 1
    shares = [(place / last, (value / 2 - low / 2) / span if span > 0 else 0.5) for place, value in points]
    coordinates = " ".join(f"{width * x:.1f},{height - 2 - (height - 4) * y:.1f}" for x, y in shares)
    line = element("polyline", points=coordinates)
    return element(
        "svg", line, class_="spark", viewBox=f"0 0 {width} {height}", preserveAspectRatio="none", aria_hidden="true"
    )


def _pages(view: View, begin: int, shown: int, listed: int, total: int, pages: int) -> Html:
    of_all = f" ({total:,} in all)" if listed < total else ""
    words = (
        f"{begin + 1:,} to {begin + shown:,} of {counted(listed, 'trial')}{of_all}" if shown else f"No trial{of_all}"
    )
    previous = view.query(page=view.page - 1) if view.page > 1 else None
    following = view.query(page=view.page + 1) if view.page < pages else None
    return element(
        "div",
        _turn("Previous", previous),
        element("p", words, id="shown", role="status"),
        _turn("Next", following),
        class_="pages",
    )


def _turn(words: str, query: str | None) -> Html:
    if query is None:
        return element("span", words, class_="button off", aria_disabled="true")
    return element("a", words, class_="button", href=f"{query}#trials", data_view=True, data_key=words)
