"""The page of one run: the report's sections, what changes first, and figures that are fetched when one is near."""

from __future__ import annotations

from orchestrator.page.followed_runs import PART_SEPARATOR, FollowedRun
from orchestrator.page.layout import document, part
from orchestrator.page.trial_table import View, table_section
from orchestrator.progress import counted, place
from orchestrator.results.figures import FIGURES, NEEDS
from orchestrator.results.live_trials import figures as live_figures
from orchestrator.results.live_trials import since
from orchestrator.results.report import sections
from orchestrator.results.report.markup import Html, element, joined, table
from orchestrator.results.report.page import figure_box
from orchestrator.results.run_state import has_begun
from orchestrator.results.why import show
from orchestrator.results.winner import finals_of
from orchestrator.watch.panel import rungs, utilization

_SECTIONS = (
    ("verdict", "Verdict"), ("now", "Now"), ("trials", "Trials"), ("figures", "Figures"), ("failures", "Failures"),
    ("warnings", "Warnings"), ("environment", "Environment"),
)  # fmt: skip
_WORKERS = 32
_HEIGHT = 420


def run_page(followed: FollowedRun, view: View) -> str:
    """Return the page; the table shows what ``view`` asks for."""
    parts = followed.shown("parts", live_parts)
    state = followed.state
    heading = joined(
        [
            element("p", "Sweep, live", class_="kicker"),
            element("h1", followed.run.name),
            part("part-status", Html(parts["part-status"])),
            _kin(followed),
        ]
    )
    later = element("div", id="part-later", data_refresh=f"/runs/{followed.key}/later", data_slow=True)
    return document(
        f"{followed.run.name}: {state.objective.metric}",
        heading=heading,
        main=[
            part("part-verdict", Html(parts["part-verdict"])),
            part("part-now", Html(parts["part-now"])),
            table_section(followed, view),
            sections.section("figures", "Figures", *_boxes(followed), element("p", id="missing", class_="missing")),
            part("part-failures", Html(parts["part-failures"])),
            later,
            Html(followed.shown("environment", _environment, of=followed.recorded)),
        ],
        sections=_SECTIONS,
        events=f"/runs/{followed.key}/events",
        at=followed.version,
        news=news(followed),
        figures=True,
    )


def live_parts(followed: FollowedRun) -> dict[str, str]:
    """Return the content of the parts that are sent when it changes, by the identifier of their element."""
    run, state = followed.run, followed.state
    problem = followed.watched.problem
    status = [element("p", problem, class_="problem") if problem else None, sections.status_line(run, state)]
    return {
        "part-status": joined(status),
        "part-verdict": sections.verdict_section(run, state, sections.leader_of(state)),
        "part-now": _now(followed),
        "part-failures": sections.failure_section(state),
    }


def _environment(followed: FollowedRun) -> str:
    state = followed.state
    return sections.environment_section(followed.run, state, sections.leader_of(state))


def waiting_page(followed: FollowedRun) -> str:
    """Return a page that asks again every second, until the journal is read for the first time."""
    words = (
        "The sweep is starting."
        if followed.version
        else "Its journal is being read, which takes a while if it is long."
    )
    heading = joined([element("p", "Sweep, live", class_="kicker"), element("h1", followed.run.name)])
    main = [element("section", element("p", words, role="status"))]
    return document(followed.run.name, heading=heading, main=main, again=True)


def later_parts(followed: FollowedRun) -> str:
    """Return the sections that take longer to compute: what to change next, and what trials have warned of."""
    run, state = followed.run, followed.state
    return joined([sections.changes_section(run, state), sections.warning_section(run, state)])


def news(followed: FollowedRun) -> str:
    """Return what a screen reader says when it changes: the status, and the best trial."""
    state, leader = followed.state, sections.leader_of(followed.state)
    best = f", best {state.objective.metric} {show(leader.value)} in trial {leader.number}" if leader else ""
    return f"{state.status}{best}"


def _boxes(followed: FollowedRun) -> list[Html]:
    titles = {name: name.replace("_", " ").capitalize() for name in FIGURES}
    return [
        figure_box(name, title, "", _HEIGHT, f"/runs/{followed.key}/figures/{name}", NEEDS.get(name))
        for name, title in titles.items()
    ]


def _kin(followed: FollowedRun) -> Html | None:
    """Return a link from a search to its finals, or from finals to their search."""
    name, _, finals = followed.key.partition(PART_SEPARATOR)
    if finals:
        return element("p", "These are finals: the best of ", element("a", name, href=f"/runs/{name}"),
                       " train again under fresh seeds.", class_="kin")  # fmt: skip
    state = followed.state
    if not state.finals:
        return None
    race = finals_of(followed.run, state)
    if not state.finals_open or not has_begun(race):
        return None
    link = element("a", race.name, href=f"/runs/{name}{PART_SEPARATOR}{race.name}")
    return element("p", "Its best train again under fresh seeds: ", link, class_="kin")


def _now(followed: FollowedRun) -> Html:
    """Return the section with workers and rungs."""
    state = followed.state
    listed = rungs(state, followed.rows)
    most = max((arrived for _, arrived, _, _ in listed), default=1)
    bars = [
        (
            place(rung, state.unit),
            joined([_bar(arrived, most), f" {arrived:,}"]),
            f"{waiting:,}" if waiting else "–",
            f"{stopped:,}" if stopped else "–",
        )
        for rung, arrived, waiting, stopped in listed
    ]
    reached = (
        table(("rung", "reached", "waiting", "stopped"), bars, "Rungs")
        if bars
        else element("p", "The scheduler has no rungs.")
    )
    words = None if followed.live else element("p", f"No process runs the sweep: it is {state.status}.", class_="kin")
    workers = _workers(followed) if followed.live else None
    columns = element("div", workers, element("div", element("h3", "Rungs"), reached, class_="card"), class_="now")
    return sections.section("now", "Now", words, columns)


def _bar(number: int, most: int) -> Html:
    return element("meter", min=0, max=max(most, 1), value=number, aria_hidden="true")


def _workers(followed: FollowedRun) -> Html:
    state, live = followed.state, followed.watched.live
    words = element("p", f"{len(state.running):,} of {counted(state.slots, 'slot')} busy{utilization(state)}")
    rows = []
    for number in sorted(state.running)[:_WORKERS]:
        trial = state.trials[number]
        now = f"{live_figures(live[number])} · {since(live[number], state.unit)}" if number in live else ""
        link = element("a", f"trial {number}", href=f"/runs/{followed.key}/trials/{number}")
        rows.append((link, trial.node or "–", place(trial.segment_progress, state.unit), now or "–"))
    hidden = len(state.running) - len(rows)
    more = element("p", f"… and {hidden} more") if hidden > 0 else None
    listed = table(("trial", "worker", "reported", "since then"), rows, "Workers") if rows else None
    return element("div", element("h3", "Workers"), words, listed, more, class_="card")
