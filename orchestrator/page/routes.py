"""Addresses of the page and what answers them. All of it reads; a request is answered in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import gzip
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from orchestrator.errors import SweepError, UsageError
from orchestrator.page import comparison_page, layout, run_list, run_page, trial_page
from orchestrator.page.event_stream import EventStream
from orchestrator.page.followed_runs import FollowedRun, FollowedRuns
from orchestrator.page.trial_table import View, table_rows
from orchestrator.results.figures import FIGURES
from orchestrator.results.report.page import figure_content, templates
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.secrets import masked

_EVENT_SECONDS = 1.0
_PATIENCE = 0.6  # seconds, for the first read of a journal
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}
_JSON = "application/json"
_COMPRESSED = 100_000  # bytes, from which on an asset is sent compressed
_DIGITS = 9  # of a trial's number in an address


def application(runs: FollowedRuns) -> Starlette:
    """Return the application for runs; who may ask is not its business."""
    pages = _Pages(runs)
    key = "/runs/{key:str}"
    routes = [
        Route("/", pages.all_runs),
        Route("/events", pages.list_events),
        Route("/compare", pages.compare),
        Route("/compare/standings", pages.standings),
        Route("/compare/events", pages.compared_events),
        Route("/compare/figures/{figure:str}", pages.compared_figure),
        Route("/templates", lambda request: Response(templates(), media_type=_JSON)),
        Route("/assets/{digest:str}/{name:str}", _asset),
        Route(key, pages.run),
        Route(f"{key}/table", pages.table),
        Route(f"{key}/later", pages.later),
        Route(f"{key}/events", pages.run_events),
        Route(f"{key}/figures/{{figure:str}}", pages.figure),
        Route(f"{key}/trials/{{trial:str}}", pages.trial),
        Route(f"{key}/trials/{{trial:str}}/part", pages.trial_part),
        Route(f"{key}/trials/{{trial:str}}/log", pages.log),
    ]
    return Starlette(routes=routes, exception_handlers={SweepError: _explained, 404: _not_found})


def _explained(request: Request, error: Exception) -> Response:
    """Return the page of an error that the project's own code has raised."""
    status = 404 if isinstance(error, UsageError) else 500
    return HTMLResponse(layout.message("This cannot be shown", masked(str(error).partition("\nhint: ")[0])), status)


def _not_found(request: Request, error: Exception) -> Response:
    return HTMLResponse(layout.message("There is no such page", "The list of all runs leads on."), 404)


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    try:
        current = layout.address(name) == request.url.path
    except KeyError:
        current = False
    if not current:
        return PlainTextResponse("there is no such file\n", 404)
    kind = layout.TYPES.get(name.rpartition(".")[2], "image/svg+xml")
    content, headers = layout.asset_bytes(name), dict(_FOR_EVER)
    if len(content) > _COMPRESSED and "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = _compressed(name), "gzip"
    return Response(content, media_type=kind, headers=headers)


@functools.cache
def _compressed(name: str) -> bytes:
    return gzip.compress(layout.asset_bytes(name), 6, mtime=0)


class _Pages:
    """The answers that need a run."""

    def __init__(self, runs: FollowedRuns) -> None:
        self._runs = runs
        self._drawing = ThreadPoolExecutor(1, "figures")  # figures take long; pages are not to wait behind several

    def all_runs(self, request: Request) -> Response:
        """Show all runs."""
        version, listed = self._runs.summaries()
        return HTMLResponse(run_list.list_page(version, listed, self._runs.folder))

    async def list_events(self, request: Request) -> Response:
        """Send the list whenever it changes."""

        def message() -> dict[str, Any]:
            version, listed = self._runs.summaries()
            return {"version": version, "parts": {"part-runs": run_list.run_rows(listed)}}

        return EventStream(_changes(lambda: self._runs.summaries()[0], message, _since(request)))

    def run(self, request: Request) -> Response:
        """Show one run."""
        followed, view = self._runs.open(request.path_params["key"]), View.of(request.query_params)
        followed.wait(_PATIENCE)
        if not followed.begun and not followed.watched.problem:
            return HTMLResponse(run_page.waiting_page(followed))
        self._runs.get(followed.key)
        return HTMLResponse(followed.shown(("page", view), lambda run: run_page.run_page(run, view)))

    def table(self, request: Request) -> Response:
        """Show one page of its trials."""
        followed, view = self._followed(request), View.of(request.query_params)
        return HTMLResponse(followed.shown(("table", view), lambda run: table_rows(run, view)))

    def later(self, request: Request) -> Response:
        """Show what takes longer."""
        followed = self._followed(request)
        return HTMLResponse(followed.shown("later", run_page.later_parts, of=followed.recorded))

    async def run_events(self, request: Request) -> Response:
        """Send what has changed of a run."""
        followed = await run_in_threadpool(self._followed, request)
        with_parts = request.query_params.get("parts") != "none"

        def message() -> dict[str, Any]:
            version, news = followed.version, followed.shown("news", run_page.news)
            parts = followed.shown("parts", run_page.live_parts) if with_parts else {}
            return {"version": version, "news": news, "parts": parts}

        return EventStream(_changes(followed.refresh, message, _since(request)))

    async def figure(self, request: Request) -> Response:
        """Send a figure as JSON; nothing if the run has no data for it yet."""
        name = request.path_params["figure"]
        if name not in FIGURES:
            raise UsageError("there is no such figure")
        followed = await run_in_threadpool(self._followed, request)
        compute = functools.partial(
            followed.shown, ("figure", name), lambda run: _drawn(run, name), of=followed.recorded
        )
        content = await asyncio.get_running_loop().run_in_executor(self._drawing, compute)
        return Response(content, media_type=_JSON) if content else Response(status_code=204)

    def trial(self, request: Request) -> Response:
        """Show one trial."""
        followed, number = self._followed(request), _trial_number(request)
        return HTMLResponse(followed.shown(("trial", number), lambda run: trial_page.trial_page(run, number)))

    def trial_part(self, request: Request) -> Response:
        """Show what may have changed of a trial."""
        followed, number = self._followed(request), _trial_number(request)
        return HTMLResponse(followed.shown(("trial part", number), lambda run: trial_page.trial_part(run, number)))

    def log(self, request: Request) -> Response:
        """Send lines of a trial's log."""
        followed, query = self._followed(request), request.query_params
        log = LogFile(_trial_number(request), _whole(query.get("segment")), _whole(query.get("rank")))
        since = _whole(query.get("from")) if "from" in query else None
        return JSONResponse(trial_page.log_lines(followed, log, since))

    def compare(self, request: Request) -> Response:
        """Compare runs."""
        return HTMLResponse(comparison_page.comparison_page(self._several(request)))

    def standings(self, request: Request) -> Response:
        """Show what may have changed of a comparison."""
        return HTMLResponse(comparison_page.standings(self._several(request)))

    async def compared_events(self, request: Request) -> Response:
        """Send a version whenever a compared run has changed."""
        several = await run_in_threadpool(self._several, request)

        def version() -> int:
            for each in several:
                each.refresh()
            return comparison_page.version(several)

        message = {"news": "", "parts": {}}
        changes = _changes(version, lambda: {**message, "version": comparison_page.version(several)}, _since(request))
        return EventStream(changes)

    async def compared_figure(self, request: Request) -> Response:
        """Send a figure of a comparison."""
        name = request.path_params["figure"]
        several = await run_in_threadpool(self._several, request)
        compute = functools.partial(comparison_page.figure, several, name)
        content = await asyncio.get_running_loop().run_in_executor(self._drawing, compute)
        return Response(content, media_type=_JSON) if content else Response(status_code=204)

    def _several(self, request: Request) -> list[FollowedRun]:
        keys = list(dict.fromkeys(request.query_params.getlist("run")))
        if not run_list.LEAST <= len(keys) <= run_list.MOST:
            raise UsageError(f"choose {run_list.LEAST} to {run_list.MOST} runs to compare, not {len(keys)}")
        return [self._runs.get(key) for key in keys]

    def _followed(self, request: Request) -> FollowedRun:
        return self._runs.get(request.path_params["key"])


def _drawn(run: FollowedRun, name: str) -> str | None:
    figure = FIGURES[name](run.run, run.state)
    return masked(figure_content(figure)) if figure else None


async def _changes(
    version: Callable[[], int], message: Callable[[], dict[str, Any]], since: int
) -> AsyncIterator[dict[str, Any] | None]:
    """Yield the newest message whenever the version is another one, else None once a second."""
    sent = since
    while True:
        try:
            newest = await run_in_threadpool(version)
            yield await run_in_threadpool(message) if newest != sent else None
        except SweepError:
            return
        sent = newest
        await asyncio.sleep(_EVENT_SECONDS)


def _since(request: Request) -> int:
    return _whole(request.query_params.get("since"))


def _trial_number(request: Request) -> int:
    text = request.path_params["trial"]
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise UsageError("a trial is a number")
    return int(text)


def _whole(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= _DIGITS else 0
