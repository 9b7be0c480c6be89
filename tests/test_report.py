"""The report, as a person opens it: in a real browser, from a file, with nothing but the file."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
from playwright.async_api import Page

from orchestrator import cli
from orchestrator.errors import UsageError
from orchestrator.journal import Event, Journal
from orchestrator.journal.records import encode
from orchestrator.policies.finals import confirmation, finals
from orchestrator.results import Results, why
from orchestrator.results.failure_groups import failure_groups
from orchestrator.results.report.markup import data, element
from orchestrator.results.why import show, stories
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.spec import Finalists, SweepSpec, from_mapping
from orchestrator.testing import CALM, Faults, simulate
from tests.support.browser import browse
from tests.support.hostile_names import hostile_run, names
from tests.support.paths import ROOT

SPACE: dict[str, Any] = {
    "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "model.width": {"int": [1, 64]},
    "model.optimizer": {"choice": ["sgd", "adam"]},
    "model.momentum": {"uniform": [0.0, 0.99], "when": {"model.optimizer": "sgd"}},
}
HOSTILE = [
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "<a href='javascript:window.pwned=1'>click</a>",
    "javascript:window.pwned=1",
    "<!-- <script>",
    "]]></style><style>*{display:none}</style>",
    "&lt;img src=x onerror=window.pwned=1&gt;",
    "${window.pwned=1}{{window.pwned=1}}%{window.pwned}",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "-2+3",
    "\t=1+1",
    "\u202egpj.exe",
    "\x1b[31mred\x00",
    "\u2028\u2029\ufeff",
    "../../etc/passwd",
]


def spec(**fields: Any) -> SweepSpec:
    base = {
        "name": "simulated",
        "seed": 3,
        "objective": {"metric": "val_acc", "mode": "max"},
        "model": "tests.support.tiny.Tiny",
        "trainer": {"max_epochs": 9},
        "space": SPACE,
        "searcher": "random",
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3},
        "budget": {"trials": 60},
    }
    return from_mapping({**base, **fields})


def simulated(runs: Path, wanted: SweepSpec, events: int | None = None, faults: Faults = CALM, **how: Any) -> Results:
    """A simulated sweep, or its first ``events``, as a run on the disk."""
    ran = simulate(wanted, slots=4, seed=5, faults=faults, **how)
    return on_disk(runs / wanted.name, ran.events[:events])


def on_disk(folder: Path, events: list[Event]) -> Results:
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_bytes(b"".join(map(encode, events)))
    return Results(RunDirectory(folder))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A sweep of which a few segments were lost."""
    return simulated(tmp_path_factory.mktemp("runs"), spec(), faults=Faults(lost=0.04, memory=0.02))


@pytest.fixture(scope="module")
def report(found: Results) -> Path:
    return found.report()


class Seen:
    """What a page did that it should not: words on the console, requests, refusals by its own policy."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.requests: list[str] = []

    async def open(self, page: Page, file: Path, *, scrolled: bool = True) -> None:
        """Open it, and scroll all of it by, so that every figure is drawn."""
        page.set_default_timeout(60_000)  # Ray's tests run beside this one
        page.on("console", lambda message: self.words.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.words.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        await page.goto(file.as_uri())
        await page.locator("#shown").filter(has_text="trial").wait_for()  # no wait_for_function: it needs eval
        if scrolled:
            await scroll_by(page)

    def check(self, file: Path) -> None:
        assert self.words == []
        assert self.requests == [file.as_uri()]


async def scroll_by(page: Page) -> None:
    for index in range(await page.locator("[data-figure]").count()):
        box = page.locator("[data-figure]").nth(index)
        await box.evaluate("box => box.scrollIntoView({behavior: 'instant', block: 'center'})")
        await box.locator("svg").first.wait_for()


async def select(page: Page) -> list[int]:
    """How many lines of the parallel coordinates go grey where half an axis is chosen, and after a click on it."""
    axis, grey = page.locator("#plot-parallel .hit").first, []
    await axis.scroll_into_view_if_needed()
    box = await axis.bounding_box()
    assert box
    middle, top = box["x"] + box["width"] / 2, box["y"]
    for upto in (box["height"] / 2, 20):
        await page.mouse.move(middle, top + 20)
        await page.mouse.down()
        await page.mouse.move(middle, top + upto)
        await page.mouse.up()
        grey.append(await page.locator("#plot-parallel .out").count())
    return grey


async def column(page: Page, number: int) -> list[str]:
    """The texts of a column of the table, as it is shown."""
    return await page.locator(f"#table tbody tr:not(.detail) > :nth-child({number})").all_text_contents()


@pytest.mark.slow
def test_the_page_is_whole_and_answers(chromium: str, found: Results, report: Path) -> None:
    rows, seen = found.rows, Seen()

    async def visit(page: Page) -> dict[str, Any]:
        await seen.open(page, report)
        shown = await page.locator("#verdict").inner_text()
        figures = await page.locator("#figures figure").count()
        selected = await select(page)
        head = await page.locator("#table thead th").all_text_contents()
        first = await column(page, 2)
        await page.get_by_role("button", name="learning_rate", exact=True).click()
        ascending = await column(page, head.index("learning_rate") + 1)
        sort = await page.locator("#table th[aria-sort]").get_attribute("aria-sort")
        await page.get_by_role("button", name="learning_rate", exact=True).click()
        descending = await column(page, head.index("learning_rate") + 1)
        await page.get_by_label("Status").select_option("finished")
        finished = await column(page, 3)
        await page.get_by_label("Status").select_option("")
        await page.get_by_label("Filter").fill("sgd stopped")
        await page.locator("#shown").filter(has_text="in all").wait_for()
        filtered = await page.locator("#shown").text_content()
        optimizers = await column(page, head.index("optimizer") + 1)
        return locals()

    told = browse(chromium, visit)
    seen.check(report)
    best = found.best()
    assert show(best.value) in told["shown"]
    assert f"Parameters of trial {best.trial}" in told["shown"]
    assert show(best.params["model.learning_rate"]) in told["shown"]
    assert told["figures"] >= 7
    assert told["head"][:4] == ["rank", "trial", "status", "val_acc"]
    assert [int(number) for number in told["first"]] == [row["trial"] for row in rows[:25]]
    assert 0 < told["selected"][0] < 60
    assert told["selected"][1] == 0
    rates = sorted(row["params"]["model.learning_rate"] for row in rows)
    assert [float(text) for text in told["ascending"]] == pytest.approx(rates[:25], rel=1e-3)
    assert told["sort"] == "ascending"
    assert [float(text) for text in told["descending"]] == pytest.approx(rates[::-1][:25], rel=1e-3)
    assert told["finished"] == ["finished"] * found.state.count("finished")
    wanted = [row for row in rows if row["status"] == "stopped" and row["params"]["model.optimizer"] == "sgd"]
    assert f"of {len(wanted)} trials (60 in all)" in told["filtered"]
    assert set(told["optimizers"]) == {"sgd"}


@pytest.mark.slow
def test_it_works_by_keyboard_and_tells_why(chromium: str, found: Results, report: Path) -> None:
    async def visit(page: Page) -> dict[str, Any]:
        seen = Seen()
        await seen.open(page, report, scrolled=False)
        await page.keyboard.press("Tab")
        skip = await page.evaluate("document.activeElement.textContent")
        await page.locator("#download").focus()
        await page.keyboard.press("Tab")
        region = await page.evaluate("document.activeElement.id")
        for _ in range(4):
            await page.keyboard.press("Tab")
        focused = await page.evaluate("document.activeElement.textContent")
        outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        await page.keyboard.press("Enter")
        sort = await page.locator("#table th[aria-sort]").text_content()
        values = await column(page, 4)
        await page.locator("#table th[aria-sort] button").focus()
        await page.keyboard.press("Enter")
        opener = page.get_by_role("button", name=f"Trial {found.best().trial}, details")
        await opener.focus()
        await page.keyboard.press("Enter")
        expanded = await opener.get_attribute("aria-expanded")
        kept = await page.evaluate("document.activeElement.dataset.trial")
        story = await page.locator(".story li").all_text_contents()
        await page.keyboard.press("Enter")
        closed = await page.locator(".story").count()
        return locals()

    told = browse(chromium, visit)
    assert told["skip"] == "Skip to the verdict"
    assert told["region"] == "table"
    assert told["focused"] == told["sort"] == "val_acc"
    assert told["outline"] == "solid"
    values = [float(text) for text in told["values"]]
    assert values == sorted(values)
    assert (told["expanded"], told["kept"]) == ("true", str(found.best().trial))
    assert told["story"] == why(found.state, found.best().trial)
    assert told["closed"] == 0


@pytest.mark.slow
def test_a_phone_shows_it_without_sideways_scrolling(chromium: str, report: Path) -> None:
    seen = Seen()

    async def visit(page: Page) -> list[int]:
        await seen.open(page, report)
        await page.locator("#table tbody th button").first.click()
        return list(await page.evaluate("[document.documentElement.scrollWidth, innerWidth]"))

    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    assert browse(chromium, visit, **phone) == [360, 360]
    seen.check(report)


@pytest.mark.slow
def test_dark_and_light_and_print(chromium: str, report: Path) -> None:
    seen = Seen()
    ground = "getComputedStyle(document.querySelector('.verdict-text')).backgroundColor"
    paper = "document.querySelector('#plot-learning_curves').layout.template.layout.paper_bgcolor"

    async def visit(page: Page) -> dict[str, Any]:
        await seen.open(page, report, scrolled=False)
        await page.locator("[data-figure] svg").first.wait_for()
        dark = [await page.evaluate(ground), await page.evaluate(paper)]
        await page.get_by_role("button", name="Switch to the light theme").click()
        await page.wait_for_function(f"{paper} === '#ffffff'")
        light = [await page.evaluate(ground), await page.evaluate(paper)]
        await page.get_by_role("button", name="Switch to the dark theme").click()
        await page.wait_for_function(f"{paper} === '#14171c'")
        printed = await page.pdf()
        await page.emulate_media(media="print")
        drawn = await page.evaluate("[...document.querySelectorAll('.plot')].every(box => box.querySelector('svg'))")
        on_paper = [await page.evaluate(ground), await page.evaluate(paper)]
        buttons = await page.locator("button:visible").count()
        openers = await page.locator("#table button:visible").count()
        return locals()

    told = browse(chromium, visit, color_scheme="dark")
    seen.check(report)
    assert told["dark"] == ["rgb(20, 23, 28)", "#14171c"]
    assert told["light"] == told["on_paper"] == ["rgb(255, 255, 255)", "#ffffff"]
    assert told["printed"].startswith(b"%PDF")
    assert told["drawn"]
    assert told["buttons"] == told["openers"]


@pytest.mark.slow
def test_downloaded_rows_are_those_shown_and_hold_no_formula(chromium: str, tmp_path: Path) -> None:
    results = hostile(tmp_path)
    page_file = results.report()

    async def visit(page: Page) -> str:
        await Seen().open(page, page_file, scrolled=False)
        async with page.expect_download() as waiting:
            await page.get_by_role("button", name="Download CSV").click()
        download = await waiting.value
        assert download.suggested_filename == "hostile.csv"
        return Path(await download.path()).read_bytes().decode()

    head, *rows = list(csv.reader(io.StringIO(browse(chromium, visit, accept_downloads=True))))
    assert len(rows) == len(results.state.trials)
    assert {len(row) for row in rows} == {len(head)}
    cells = [cell for row in [head, *rows] for cell in row]
    assert [cell for cell in cells if cell.lstrip().startswith(("=", "+", "-", "@", "\t")) and not number(cell)] == []
    assert any(cell.startswith("'=cmd") for cell in cells)
    at = head.index("trial")
    assert [int(row[at]) for row in rows] == [row["trial"] for row in results.rows]
    assert [float(row[3]) for row in rows if row[3]] == [row["best"] for row in results.rows if row["best"] is not None]


def number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def hostile(runs: Path) -> Results:
    """A sweep in which whatever can be named by others is named with malice."""
    metrics = dict.fromkeys(HOSTILE, 0.5)
    wanted = spec(
        name="hostile",
        objective={"metric": "<b>m</b>=1", "mode": "max"},
        space={**{f"model.{name}": {"uniform": [0.0, 1.0]} for name in HOSTILE[:6]}, "model.x": {"choice": HOSTILE}},
        budget={"trials": 40},
    )

    def curve(params: Any, epoch: float) -> dict[str, float]:
        return {**metrics, "<b>m</b>=1": float(params[f"model.{HOSTILE[0]}"]) + 0.01 * epoch}

    events = simulate(wanted, curve=curve, slots=4, seed=5, faults=Faults(lost=0.2)).events
    for place, event in enumerate(event for event in events if event.type == "segment.failed"):
        cast(dict[str, Any], event.fields)["message"] = HOSTILE[place % len(HOSTILE)]
        cast(dict[str, Any], event.fields)["fingerprint"] = str(place % len(HOSTILE))
    return on_disk(runs / "hostile", events)


@pytest.mark.slow
def test_hostile_names_stay_text(chromium: str, tmp_path: Path) -> None:
    results, seen = hostile(tmp_path), Seen()
    file = results.report()
    text = file.read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\u202e\ufeff]", text.split("<script>")[0])

    async def visit(page: Page) -> dict[str, Any]:
        await seen.open(page, file)
        await page.get_by_label("Rows").select_option("100")
        for opener in (await page.locator("#table tbody th button").all())[:3]:
            await opener.click()
        await page.locator("#plot-history .nsewdrag").hover()
        pwned = await page.evaluate("'pwned' in window")
        elements = await page.evaluate("[...new Set([...document.querySelectorAll('body *')].map(e => e.localName))]")
        scripts = await page.locator("script").count()
        links = await page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
        messages = await page.locator("#failures .message").all_text_contents()
        options = await page.locator("#table").inner_text()
        handlers = await page.evaluate(
            """[...document.querySelectorAll('body *')].flatMap(e => e.getAttributeNames())
              .filter(name => name.startsWith('on'))"""
        )
        return locals()

    told = browse(chromium, visit)
    seen.check(file)
    assert not told["pwned"]
    assert not {"img", "iframe", "b", "style", "object"} & set(told["elements"])
    assert told["scripts"] == text.count("<script")
    assert all(link is None or link.startswith("#") for link in told["links"])
    assert told["handlers"] == []
    assert HOSTILE[0] in told["messages"]
    assert "<img src=x onerror=window.pwned=1>" in told["options"]


@pytest.mark.slow
def test_two_thousand_hostile_names_stay_text(chromium: str, tmp_path: Path) -> None:
    listed, seen = names(), Seen()
    file = Results(hostile_run(tmp_path, listed)).report()

    async def visit(page: Page) -> tuple[bool, set[str], list[str], set[str]]:
        await seen.open(page, file)
        await page.get_by_label("Rows").select_option("100")
        shown: set[str] = set()
        while True:
            cells = await page.locator("#table tbody td").all_text_contents()
            shown |= set(cells)
            if await page.get_by_role("button", name="Next").is_disabled():
                break
            await page.get_by_role("button", name="Next").click()
        handlers = """[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())
          .filter(name => name.startsWith('on'))"""
        elements = "[...new Set([...document.querySelectorAll('body *')].map(e => e.localName))]"
        pwned = "'pwned' in window || 'pwned' in parent"
        return await page.evaluate(pwned), set(await page.evaluate(elements)), await page.evaluate(handlers), shown

    pwned, elements, handlers, shown = browse(chromium, visit)
    seen.check(file)
    assert not pwned
    assert not {"img", "iframe", "b", "style", "object"} & elements
    assert handlers == []
    assert {visible(name) for name in listed} <= shown


def test_text_colours_have_contrast_in_both_themes() -> None:
    text = (ROOT / "orchestrator/results/report/page.css").read_text()
    colours = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", text)
    assert len(colours) == 14
    grounds = {"canvas", "paper", "raised"}
    for theme in (1, 2):
        by_name = {colour[0]: luminance(colour[theme]) for colour in colours}
        for name in by_name.keys() - grounds - {"line"}:
            for ground in grounds:
                low, high = sorted((by_name[name], by_name[ground]))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground, theme)


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.slow
def test_headings_are_in_order_and_everything_has_a_name(chromium: str, report: Path) -> None:
    async def visit(page: Page) -> dict[str, Any]:
        await Seen().open(page, report)
        levels = await page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.localName[1]))")
        ids = await page.evaluate("[...document.querySelectorAll('main [id]:not(svg *)')].map(e => e.id)")
        unnamed = await page.evaluate(
            """[...document.querySelectorAll('input, select, main button, [role=region], section, [role=img]')]
              .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label')
                || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent)).map(e => e.outerHTML)"""
        )
        marks = [await page.locator(name).count() for name in ("main", "body > header", "body > footer", "nav")]
        language = await page.evaluate("document.documentElement.lang")
        captions = await page.locator("figcaption").all_text_contents()
        return locals() | {"title": await page.title()}

    told = browse(chromium, visit)
    levels = told["levels"]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert len(told["ids"]) == len(set(told["ids"]))
    assert told["unnamed"] == []
    assert told["marks"] == [1, 1, 1, 1]
    assert told["language"] == "en"
    assert "simulated" in told["title"]
    assert all(len(caption) > 20 for caption in told["captions"])


def plain(file: Path) -> str:
    """The static text of a page, without what scripts bring."""
    return re.sub(r"<[^>]+>", " ", file.read_text(encoding="utf-8").split("<script")[0])


@pytest.mark.slow
def test_a_sweep_that_goes_on_or_was_cut_off_says_so(tmp_path: Path) -> None:
    events = simulate(spec(), slots=4, seed=5).events
    half = on_disk(tmp_path / "half", events[: len(events) // 2])
    assert re.search(r"interrupted\s+as of", plain(half.report()))
    assert "sweep resume half" in plain(half.report())
    journal = Journal.open(half.run.journal)  # as a driver holds it
    try:
        live = Results(half.run)
        running = live.state.count("running")
        assert running
        assert re.search(rf"running\s+as of .* UTC\s+, {running} trials running", plain(live.report()))
    finally:
        journal.close()


def test_a_sweep_without_a_trial_has_a_page(chromium: str, tmp_path: Path) -> None:
    events = simulate(spec(), slots=4, seed=5).events
    empty, seen = on_disk(tmp_path / "empty", events[:2]), Seen()
    file = empty.report()

    async def visit(page: Page) -> list[str | None]:
        await seen.open(page, file)
        return [await page.locator(name).text_content() for name in ("#figures", "#shown", "#verdict")]

    figures, shown, verdict = browse(chromium, visit)
    seen.check(file)
    assert "No figures yet" in str(figures)
    assert shown == "No trial"
    assert "No trial has a finite val_acc" in str(verdict)


@pytest.mark.slow
def test_finals_name_the_search_and_link_to_its_page(tmp_path: Path) -> None:
    search = simulated(tmp_path, spec(budget={"trials": 12}, scheduler="fifo"))
    race = finals(search.state, Finalists(top=2, trials=6), 1, "simulated-finals")
    ran = simulate(race, slots=2, seed=1)
    raced = on_disk(search.run.root / "simulated-finals", ran.events)
    assert "the best of simulated train again" in " ".join(plain(raced.report()).split())
    search.report()
    assert 'href="../report.html"' in raced.report().read_text(encoding="utf-8")
    elsewhere = raced.report(tmp_path / "pages" / "finals.html")
    assert 'href="../simulated/report.html"' in elsewhere.read_text(encoding="utf-8")
    journal = Journal.open(search.run.journal)
    journal.append("finals.begun", number=1, folder="simulated-finals")
    journal.append("winner.confirmed", folder="simulated-finals", **confirmation(search.state, raced.state))
    journal.close()
    confirmed = Results(search.run)
    assert confirmed.state.confirmation
    mean = show(confirmed.state.confirmation["table"][0]["mean"])
    assert f'<strong class="number">{mean}</strong>' in confirmed.report().read_text(encoding="utf-8")


def test_failures_are_counted_alike_with_alike(found: Results) -> None:
    every = [(trial.number, failure) for trial in found.state.trials.values() for failure in trial.failures]
    assert every, "the simulation has to lose something"
    listed = failure_groups(found.state)
    assert sum(alike.times for alike in listed) == len(every)
    for alike in listed:
        same = [number for number, failure in every if (failure.kind, failure.message) == (alike.kind, alike.message)]
        assert (alike.times, alike.trials) == (len(same), set(same))


def test_stories_of_many_are_those_of_each(found: Results) -> None:
    told = stories(found.state, found.state.trials)
    assert told == {number: why(found.state, number) for number in found.state.trials}


def test_text_and_data_in_html_are_escaped() -> None:
    made = element("p", "<b>&\x1b", title='"><script>', data_x=1, hidden=False, open=True)
    assert made == '<p title="&quot;&gt;&lt;script&gt;" data-x="1" open>&lt;b&gt;&amp;\\x1b</p>'
    inside = data("d", {"x": "</script><!--\u2028&"})
    assert inside.count("<") == 2
    assert json.loads(inside.split(">", 1)[1].rsplit("<", 1)[0]) == {"x": "</script><!--\u2028&"}


def test_a_secret_of_this_process_is_not_in_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SOME_API_KEY", "verysecretvalue")
    events = simulate(spec(budget={"trials": 4}), slots=4, seed=5, faults=Faults(lost=0.3)).events
    for event in events:
        if event.type == "segment.failed":
            cast(dict[str, Any], event.fields)["message"] = "refused: verysecretvalue"
    results = on_disk(tmp_path / "leaky", events)
    assert failure_groups(results.state)
    text = results.report().read_text(encoding="utf-8")
    assert "verysecretvalue" not in text
    assert "refused: ***" in text


def test_where_it_is_written_and_as_what(found: Results, report: Path, tmp_path: Path) -> None:
    assert report == found.run.root / "report.html"
    assert found.report(tmp_path / "deep" / "page.html").read_bytes()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["page.html"]
    with pytest.raises(UsageError, match="is a folder"):
        found.report(tmp_path, format="html")
    with pytest.raises(UsageError, match=r"ends in none of \.html"):
        found.report(tmp_path / "report.pdf")


@pytest.mark.slow
def test_the_page_of_the_docs_does_as_it_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("quickstart", "quickstart-2"):
        simulated(tmp_path / "runs", spec(name=name, budget={"trials": 12}))
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert len(commands) == 5
    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, command
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, {})
    assert (tmp_path / "report.html").read_text() == (tmp_path / "runs/quickstart/report.html").read_text()
    assert (tmp_path / "results.md").read_text().startswith("#")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "sheet.svg").read_text()
