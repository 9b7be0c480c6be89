"""The live page, as a person reads it: in a real browser, while journals grow, on a phone, and by keyboard."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from orchestrator.errors import JournalError, UsageError
from orchestrator.journal import Event, Journal, encode
from orchestrator.page import followed_runs
from orchestrator.page.followed_runs import FollowedRun, FollowedRuns
from orchestrator.page.page_token import opened_in_browser
from orchestrator.page.run_page import live_parts, news, run_page, waiting_page
from orchestrator.page.server import Server
from orchestrator.page.trial_page import log_lines, trial_page
from orchestrator.page.trial_table import View, table_rows
from orchestrator.results import Results, why
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.testing import CALM, Faults, simulate
from tests.support.browser import browse
from tests.support.doc_blocks import blocks_of
from tests.support.hostile_names import Elements, hostile_run, names
from tests.support.paths import ROOT

PAGE = "docs/live-page.md"
WIDTHS = (1440, 768, 390)
expect.set_options(timeout=60_000)  # other tests run beside these


def described(name: str = "first", **fields: Any) -> SweepSpec:
    base = {
        "name": name,
        "seed": 3,
        "objective": {"metric": "val_acc", "mode": "max"},
        "model": "tests.support.tiny.Tiny",
        "trainer": {"max_epochs": 9},
        "space": {
            "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
            "model.optimizer": {"choice": ["sgd", "adam"]},
            "model.momentum": {"uniform": [0.0, 0.99], "when": {"model.optimizer": "sgd"}},
        },
        "searcher": "random",
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3},
        "budget": {"trials": 60},
    }
    return from_mapping({**base, **fields})


def events_of(spec: SweepSpec, faults: Faults = CALM, seed: int = 5) -> list[Event]:
    return simulate(spec, slots=4, seed=seed, faults=faults).events


def written(folder: Path, events: Sequence[Event]) -> RunDirectory:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "journal.jsonl").write_bytes(b"".join(map(encode, events)))
    return RunDirectory(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs: two searches of one space, of which the first lost segments, and one of three seeds each."""
    folder = tmp_path_factory.mktemp("runs")
    written(folder / "first", events_of(described(), Faults(lost=0.04, memory=0.02)))
    written(folder / "second", events_of(described("second", scheduler="fifo", budget={"trials": 40}), seed=6))
    seeds = described("seeds", repeats=3, scheduler="fifo", budget={"trials": 12})
    written(folder / "seeds", events_of(seeds, seed=7))
    return folder


@pytest.fixture(scope="module")
def server(runs: Path) -> Iterator[Server]:
    with Server(FollowedRuns(runs)) as running:
        yield running


def followed(runs: Path, name: str = "first") -> FollowedRun:
    return FollowedRuns(runs).get(name)


def cells(html: str, column: int) -> list[str]:
    """The texts of a column of the table, without markup."""
    rows = html.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    return ["".join(part.partition(">")[2] for part in f">{row}".split("<t")[column].split("<")) for row in rows]


def test_the_table_shows_what_results_do_in_any_order_and_page(runs: Path) -> None:
    run, rows = followed(runs), Results(RunDirectory(runs / "first")).rows
    first = table_rows(run, View())
    assert cells(first, 2) == [str(row["trial"]) for row in rows[:25]]
    assert cells(first, 4) == [show(row["best"]) for row in rows[:25]]
    last = table_rows(run, View(page=99))
    assert cells(last, 2) == [str(row["trial"]) for row in rows[50:]]
    assert "51 to 60 of 60 trials" in last
    rates = sorted(row["params"]["model.learning_rate"] for row in rows)
    ascending = table_rows(run, View(sort="param:model.learning_rate", size=250))
    assert cells(ascending, 7) == [show(rate) for rate in rates]
    assert 'aria-sort="ascending"' in ascending
    finished = table_rows(run, View(status="finished", words="sgd"))
    wanted = [row for row in rows if row["status"] == "finished" and row["params"]["model.optimizer"] == "sgd"]
    assert cells(finished, 2) == [str(row["trial"]) for row in wanted]
    assert "(60 in all)" in finished


def test_a_view_is_what_its_address_says_and_nonsense_is_left_out() -> None:
    view = View("param:model.<b>", True, "stopped", "a & b", 3, 50)
    query = dict(pair.split("=") for pair in view.query()[1:].split("&"))
    assert query["sort"] == "param%3Amodel.%3Cb%3E"
    assert View.of({"rows": "7", "page": "-1", "status": "evil", "down": "yes"}) == View()
    assert View.of({"page": "9" * 40}) == View()


def test_what_the_page_sends_grows_with_the_journal_and_only_what_is_new_is_read(tmp_path: Path) -> None:
    events = events_of(described())
    half = len(events) // 2
    journal = Journal.create(tmp_path / "first" / "journal.jsonl")  # whose lease says that the sweep runs
    for event in events[:half]:
        journal.append(event.type, sync=False, **event.fields)
    run = followed(tmp_path)
    assert run.live
    before, read = news(run), run.state
    assert run.version == run.refresh() == 1
    for event in events[half:]:
        journal.append(event.type, sync=False, **event.fields)
    journal.close()
    run._next = 0.0
    assert run.refresh() == 2
    assert run.state is read
    whole = SweepState(events)
    winner = whole.winner()
    assert winner
    assert len(run.rows.rows) == len(whole.trials)
    assert f"in trial {winner.number}" in news(run)
    assert news(run) != before
    assert f"Trial {winner.number} is the best" in live_parts(run)["part-verdict"]


def test_what_was_drawn_is_drawn_again_only_for_another_version(runs: Path) -> None:
    run, drawn = followed(runs), []
    for _ in range(3):
        run.shown("x", lambda run: drawn.append(run.version))
    assert drawn == [1]
    run.version += 1
    run.shown("x", lambda run: drawn.append(run.version))
    assert drawn == [1, 2]
    run.shown("y", lambda run: drawn.append(-1), of=run.recorded)
    run.version += 1
    run.shown("y", lambda run: drawn.append(-1), of=run.recorded)
    assert drawn == [1, 2, -1]


def test_a_trial_s_page_says_why_and_its_log_is_read_as_it_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = written(tmp_path / "first", events_of(described()))
    shown = followed(tmp_path)
    page = trial_page(shown, 3)
    assert all(f"<li>{sentence}</li>" in page for sentence in why(shown.state, 3))
    log = LogFile(3, 0)
    file = run.root / log.relative
    assert log_lines(shown, log, None) == {"lines": [], "next": 0, "earlier": 0, "more": False}
    monkeypatch.setattr(followed_runs, "_LOG_SECONDS", 0.0)
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"line {number}\n" for number in range(1500)) + "\x1b[31mred\n")
    first = log_lines(shown, log, None)
    assert (first["earlier"], first["next"], len(first["lines"])) == (501, 1501, 1000)
    assert first["lines"][-1] == r"\x1b[31mred"
    with file.open("a") as grown:
        grown.write("new\n")
    assert log_lines(shown, log, 1501)["lines"] == ["new"]


def test_nothing_of_a_run_becomes_markup(tmp_path: Path) -> None:
    plain, hostile = (
        hostile_run(tmp_path, listed, name=name)
        for name, listed in (("plain", [f"n{number}" for number in range(60)]), ("hostile", names(60)))
    )
    elements = []
    for run in (plain, hostile):
        shown = followed(tmp_path, run.name)
        page = run_page(shown, View(size=250)) + "".join(trial_page(shown, number) for number in range(0, 60, 5))
        elements.append(Elements(page).found)
        assert not any(ord(character) < 32 and character != "\n" for character in page)
    assert elements[1] - elements[0] <= {"td@title"}


def test_a_damaged_journal_is_said_and_what_was_read_stays(tmp_path: Path) -> None:
    run = written(tmp_path / "first", events_of(described()))
    shown = followed(tmp_path)
    journal = Path(run.journal)
    journal.write_bytes(journal.read_bytes()[:-10] + b"x" * 9 + b"\n")
    shown._next = 0.0
    shown.refresh()
    page = run_page(shown, View())
    assert 'class="problem"' in page
    assert "is the best" in page
    journal.write_bytes(b"no journal\n")
    with pytest.raises(JournalError, match="damaged at byte 0"):
        FollowedRuns(tmp_path).get("first")


def test_a_run_that_is_starting_says_so_until_it_has_begun(tmp_path: Path) -> None:
    events = events_of(described())
    run = written(tmp_path / "first", [])
    Path(run.journal).write_bytes(encode(events[0])[:-5])
    runs = FollowedRuns(tmp_path)
    assert runs.open("first").wait(10)
    assert "The sweep is starting." in waiting_page(runs.open("first"))
    with pytest.raises(UsageError, match="has not begun yet"):
        runs.get("first")
    Path(run.journal).write_bytes(encode(events[0]))
    runs.open("first")._next = 0.0
    assert "No trial has a finite val_acc" in run_page(runs.get("first"), View())


@pytest.mark.slow
def test_the_command_prints_where_and_ends_cleanly(runs: Path) -> None:
    (block,) = [block for block in blocks_of(ROOT / PAGE, ROOT) if block.language == "console"]
    (command,) = block.commands()
    written(runs / "quickstart", events_of(described()))
    arguments = [*command.split()[1:], "--runs", str(runs), "--no-browser"]
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    address, _, token = process.stdout.readline().strip().partition("?token=")
    assert (len(token), urlsplit(address).path) == (43, "/runs/quickstart")
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port or 0, timeout=10)
    connection.request("GET", f"/runs/quickstart?token={token}")
    entrance = connection.getresponse()
    session = {"Cookie": str(entrance.getheader("Set-Cookie")).partition(";")[0]}
    assert b"url=/runs/quickstart" in entrance.read()
    connection.request("GET", "/runs/quickstart/events", headers=session)
    assert json.loads(connection.getresponse().readline().removeprefix(b"data: "))["version"] == 1
    for path in ("", "/later", "/figures/importance", "/figures/learning_curves"):
        other = http.client.HTTPConnection("127.0.0.1", urlsplit(address).port or 0, timeout=60)
        other.request("GET", f"/runs/quickstart{path}", headers=session)
        assert other.getresponse().status == 200
        other.close()
    assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    connection.close()
    assert (process.returncode, out) == (0, "")
    assert err == "the page follows the runs; press Ctrl-C to stop\n"


class Seen:
    """What a page did that it should not: words on the console, requests of another origin, answers that are errors."""

    def __init__(self, page: Page, origin: str) -> None:
        self.words: list[str] = []
        self.sizes: dict[str, int] = {}
        self._origin = origin
        page.set_default_timeout(60_000)  # other tests run beside this one
        page.on("console", lambda message: self.words.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.words.append(str(error)))
        page.on("dialog", lambda dialog: self.words.append(dialog.message))
        page.on("request", lambda request: self._requested(request.url))
        page.on("response", lambda response: self._answered(response.url, response.status))

    def _requested(self, url: str) -> None:
        if not url.startswith((self._origin, "data:", "blob:")):
            self.words.append(f"request of {url}")

    def _answered(self, url: str, status: int) -> None:
        if status >= 400:
            self.words.append(f"{status} {url}")


async def opened(page: Page, server: Server, path: str = "/") -> Seen:
    """Come in by the address with the token, and go to a page."""
    origin = f"http://127.0.0.1:{server.port}"
    seen = Seen(page, origin)
    await page.goto(server.tokens.url(server.address))
    await page.wait_for_url(f"{origin}/")  # without the token
    if path != "/":
        await page.goto(origin + path)
    return seen


async def scroll_by(page: Page) -> int:
    """Scroll all figures by, so that each is drawn; return how many are."""
    boxes = page.locator("[data-figure]")
    for index in range(await boxes.count()):
        box = boxes.nth(index)
        figure = page.locator("figure").nth(index)
        await figure.evaluate("box => box.scrollIntoView({behavior: 'instant', block: 'center'})")
        await box.locator("svg").first.or_(figure.locator("xpath=self::*[@hidden]")).first.wait_for(state="attached")
    return await page.locator("figure:not([hidden]) svg.main-svg, figure:not([hidden]) svg.parallel").count()


async def overflow(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth - innerWidth"))


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker axe-core: `npm pack axe-core`, and AXE_CORE=…/package/axe.min.js."""
    file = os.environ.get("AXE_CORE")
    if not file:
        pytest.skip("needs axe-core: npm pack axe-core, unpack it, and set AXE_CORE to package/axe.min.js")
    return Path(file).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_all_parts_answer_at_every_width(chromium: str, server: Server, runs: Path, width: int, scheme: str) -> None:
    rows = Results(RunDirectory(runs / "first")).rows

    async def visit(page: Page) -> dict[str, Any]:
        seen = await opened(page, server)
        await expect(page.get_by_role("link", name="first")).to_be_visible()
        await expect(page.locator("#part-runs")).not_to_contain_text("reading")
        wide = [await overflow(page)]
        await expect(page.get_by_role("button", name="Compare", exact=True)).to_be_disabled()
        await page.get_by_role("link", name="first").click()
        await expect(page.locator("#link")).to_have_text("live")
        wide.append(await overflow(page))
        await page.locator("#table thead").get_by_role("link", name="learning_rate").click()
        await expect(page.locator("#table th[aria-sort]")).to_contain_text("learning_rate")
        rates = await page.locator("#table tbody tr > :nth-child(7)").all_text_contents()
        await page.get_by_label("Filter").fill("sgd stopped")
        await expect(page.locator("#shown")).to_contain_text("in all")
        shown = await page.locator("#shown").text_content()
        await page.get_by_role("link", name="Next").click()
        await expect(page.locator("#shown")).to_contain_text("26 to")
        address = page.url
        drawn = await scroll_by(page)
        wide.append(await overflow(page))
        await page.get_by_label("Filter").fill("")
        await expect(page.locator("#shown")).not_to_contain_text("in all")
        await page.locator("#table tbody th a").first.click()
        await expect(page.locator("#why .reasons li").first).to_be_visible()
        await expect(page.locator("#log-note")).to_have_text("Nothing was printed.")
        wide.append(await overflow(page))
        await page.get_by_role("link", name="All runs").click()
        for name in ("first", "second", "seeds"):
            await page.get_by_label(f"Compare {name}").check()
        await page.get_by_role("button", name="Compare", exact=True).click()
        await expect(page.locator("#verdict .lead")).to_contain_text("leads")
        compared = await scroll_by(page)
        wide.append(await overflow(page))
        return {"words": seen.words, "wide": wide, "rates": rates, "shown": shown, "address": address, "drawn": drawn,
                "compared": compared}  # fmt: skip

    told = browse(chromium, visit, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert told["words"] == []
    assert told["wide"] == [0] * 5
    ordered = sorted(row["params"]["model.learning_rate"] for row in rows)
    assert told["rates"] == [show(rate) for rate in ordered[:25]]
    wanted = [row for row in rows if row["status"] == "stopped" and row["params"]["model.optimizer"] == "sgd"]
    assert f"of {len(wanted)} trials (60 in all)" in told["shown"]
    assert "page=2" in told["address"]
    assert "token" not in told["address"]
    assert told["drawn"] >= 7
    assert told["compared"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium: str, server: Server, axe: str, scheme: str) -> None:
    async def visit(page: Page) -> list[str]:
        await opened(page, server)
        found = []
        for path in ("/", "/runs/first", "/runs/first/trials/3", "/compare?run=first&run=second&run=seeds"):
            await page.goto(f"http://127.0.0.1:{server.port}{path}")
            await page.wait_for_load_state()
            await scroll_by(page)
            await page.evaluate(axe)
            result = await page.evaluate("axe.run()")
            found += [
                f"{path}: {each['impact']}: {each['id']}: {[node['target'] for node in each['nodes']][:4]}"
                for each in result["violations"]
                if each["impact"] in ("serious", "critical")
            ]
        return found

    assert browse(chromium, visit, color_scheme=scheme) == []


@pytest.mark.slow
def test_verdict_and_table_come_first_and_the_figure_library_once(chromium: str, server: Server) -> None:
    listed = "performance.getEntriesByType('resource')"
    bytes_so_far = (
        f"[...performance.getEntriesByType('navigation'), ...{listed}].filter(each => !each.name.includes('/events'))"
        ".reduce((sum, each) => sum + each.decodedBodySize, 0)"
    )
    taken = f"{listed}.filter(each => each.name.endsWith('plotly.js')).map(each => each.transferSize)"

    async def visit(page: Page) -> tuple[list[str], int, list[int], list[int], list[int]]:
        seen = await opened(page, server)
        await page.goto(f"http://127.0.0.1:{server.port}/runs/first")
        await page.locator("#table tbody tr").first.wait_for()
        before = int(await page.evaluate(bytes_so_far))
        library = [await page.evaluate(taken)]
        for name in ("first", "second"):
            await page.goto(f"http://127.0.0.1:{server.port}/runs/{name}")
            await scroll_by(page)
            library.append(await page.evaluate(taken))
        return seen.words, before, *library

    words, before, at_first, fetched, again = browse(chromium, visit)
    assert words == []
    assert 30_000 < before <= 300_000
    assert at_first == []
    assert 1_000_000 < fetched[0] < 2_000_000  # compressed
    assert again == [0]


@pytest.mark.slow
def test_a_running_sweep_is_followed_without_a_reload(chromium: str, tmp_path: Path) -> None:
    events = events_of(described())
    half = len(events) // 2
    journal = Journal.create(tmp_path / "first" / "journal.jsonl")
    for event in events[:half]:
        journal.append(event.type, sync=False, **event.fields)
    whole = SweepState(events)
    winner = whole.winner()
    assert winner

    async def visit(page: Page) -> dict[str, Any]:
        seen = await opened(page, running, "/runs/first")
        await expect(page.locator("#part-status")).to_contain_text("running")
        await expect(page.locator("#now")).to_contain_text("slots busy")
        await page.evaluate("window.kept = true")
        await page.get_by_label("Filter").focus()
        busy = await page.locator("#now table").first.locator("tbody tr").count()
        for event in events[half:]:
            journal.append(event.type, sync=False, **event.fields)
        await expect(page.locator("#part-status")).to_contain_text("completed")
        await expect(page.locator("#verdict .lead")).to_contain_text(f"Trial {winner.number} is the best")
        await expect(page.locator("#shown")).to_contain_text(f"of {len(whole.trials)} trials")
        return {
            "words": seen.words,
            "kept": await page.evaluate("window.kept"),
            "focus": await page.evaluate("document.activeElement.id"),
            "news": await page.locator("#news").text_content(),
            "busy": busy,
        }

    with Server(FollowedRuns(tmp_path)) as running:
        told = browse(chromium, visit)
    journal.close()
    assert told["words"] == []
    assert (told["kept"], told["focus"]) == (True, "filter")
    assert told["news"].startswith("completed, best val_acc")
    assert told["busy"] >= 1


@pytest.mark.slow
def test_a_file_of_the_user_s_opens_the_page_with_its_strict_cookie(chromium: str, server: Server) -> None:
    """The file is of another origin: after a plain redirect from it a browser would send no such cookie."""

    async def visit(page: Page) -> tuple[str, list[dict[str, Any]]]:
        opened_files: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(webbrowser, "open", opened_files.append)
            with opened_in_browser(server.tokens.url(server.address)):
                await page.goto(opened_files[0])
                await page.get_by_role("heading", name="All runs").wait_for()
        return page.url, [dict(cookie) for cookie in await page.context.cookies()]

    url, cookies = browse(chromium, visit)
    assert url == f"http://127.0.0.1:{server.port}/"
    (cookie,) = cookies
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


@pytest.mark.slow
def test_a_hostile_run_is_inert_in_the_browser(chromium: str, tmp_path: Path) -> None:
    run = hostile_run(tmp_path, names(60))
    log = run.root / LogFile(0, 0).relative
    log.parent.mkdir(parents=True)
    log.write_text("<script>window.pwned=1</script>\n\x1b]0;title\x07<img src=x onerror=window.pwned=1>\n" * 50)
    (run.root / "trials/0001").mkdir()
    (run.root / "trials/0001/logs").symlink_to("/etc")
    (run.root / "trials/0002/logs").mkdir(parents=True)
    (run.root / "trials/0002/logs/segment_0.log").symlink_to("/etc/passwd")

    async def visit(page: Page) -> tuple[list[str], list[Any], list[str]]:
        seen = await opened(page, running, "/runs/hostile?rows=250")
        hits, logs = [], []
        await scroll_by(page)
        hits.append(await page.evaluate("window.pwned ?? null"))
        for number in (0, 1, 2, 5):
            await page.goto(f"http://127.0.0.1:{running.port}/runs/hostile/trials/{number}")
            await expect(page.locator("#log-note")).not_to_have_text("")
            logs.append(await page.locator("#log-lines").inner_text())
            hits.append(await page.evaluate("window.pwned ?? null"))
        return seen.words, hits, logs

    with Server(FollowedRuns(tmp_path)) as running:
        words, hits, logs = browse(chromium, visit)
    assert words == []
    assert hits == [None] * 5
    assert logs[0].startswith("<script>window.pwned=1</script>\n\\x1b]0;title\\x07<img")
    assert logs[1:] == ["", "", ""]


@pytest.mark.slow
def test_it_works_by_keyboard_and_prints(chromium: str, server: Server) -> None:
    async def visit(page: Page) -> dict[str, Any]:
        await opened(page, server, "/runs/first")
        await page.keyboard.press("Tab")
        skip = await page.evaluate("document.activeElement.textContent")
        await page.locator("#table").focus()
        await page.keyboard.press("Tab")
        for _ in range(3):
            await page.keyboard.press("Tab")
        focused = await page.evaluate("document.activeElement.textContent")
        await page.keyboard.press("Enter")
        await expect(page.locator("#table th[aria-sort]")).to_contain_text("val_acc")
        kept = await page.evaluate("document.activeElement.textContent")
        await page.keyboard.press("Enter")
        await expect(page.locator("#table th[aria-sort='descending']")).to_contain_text("val_acc")
        await scroll_by(page)
        printed = await page.pdf()
        await page.emulate_media(media="print")
        ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        controls = await page.locator(".controls:visible").count()
        return {
            "skip": skip,
            "focused": focused,
            "kept": kept,
            "printed": printed,
            "ground": ground,
            "controls": controls,
        }

    told = browse(chromium, visit, color_scheme="dark")
    assert told["skip"] == "Skip to the content"
    assert told["focused"] == told["kept"] == "val_acc"
    assert told["printed"].startswith(b"%PDF")
    assert (told["ground"], told["controls"]) == ("rgb(255, 255, 255)", 0)
