"""The report of a sweep: one HTML file that needs no network, a page of Markdown, or a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orchestrator.durable_files import write_durably
from orchestrator.errors import UsageError
from orchestrator.results.run_state import read_state, without_garbage_collection
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import masked
from orchestrator.state import SweepState

FORMATS = ("html", "md", "png", "svg")


def write(run: RunDirectory, state: SweepState, path: str | Path | None = None, format: str | None = None) -> Path:
    """Write a report and return its path; the file is replaced atomically.

    By default it is ``report.html`` (``.md``, …) in the run directory. That of a run in object storage is uploaded too,
    and the path returned is the local copy.

    Raises:
        UsageError: If ``path`` has no suffix of ``FORMATS`` and ``format`` is None, or if ``path`` is a folder.
        OSError: If the file cannot be written.
    """
    kind = format or _kind(path)
    file = Path(path).expanduser().absolute() if path is not None else run.report.with_suffix(f".{kind}")
    if file.is_dir():
        raise UsageError(f"{file} is a folder", hint=f"--out {file / run.report.name}")
    with without_garbage_collection():
        if kind in ("png", "svg"):
            _draw(run, state, file, kind)
        else:
            write_durably(file, masked(_text(run, state, file, kind), held_only=kind == "html").encode("utf-8"))
    if path is None:
        run.publish(file)
    return file


def write_comparison(runs: Sequence[RunDirectory], path: str | Path | None = None, format: str | None = None) -> Path:
    """Write a page that compares 2 to 20 runs and return its path; the file is replaced atomically.

    By default it is ``comparison.html`` in the first run's directory.

    Raises:
        UsageError: If there are fewer or more runs, or another format than HTML is asked for.
        JournalError: If a journal is damaged.
        OSError: If the file cannot be written.
    """
    from orchestrator.results.report.comparison import html
    from orchestrator.results.run_comparison import LEAST, MOST, compare_runs

    kind = format or _kind(path)
    if kind != "html":
        raise UsageError(f"a comparison is a page of HTML, not {kind}", hint="--format html")
    distinct = list({run.where: run for run in runs}.values())
    if not LEAST <= len(distinct) <= MOST:
        raise UsageError(f"{LEAST} to {MOST} different runs can be compared, not {len(distinct)}")
    file = Path(path).expanduser().absolute() if path is not None else distinct[0].root / "comparison.html"
    with without_garbage_collection():
        page = html(compare_runs([(run, read_state(run)) for run in distinct]))
        write_durably(file, masked(page, held_only=True).encode("utf-8"))
    if path is None:
        distinct[0].publish(file)
    return file


def _kind(path: str | Path | None) -> str:
    kind = Path(path).suffix[1:].lower() if path is not None else "html"
    if kind not in FORMATS:
        raise UsageError(f"{path} ends in none of {', '.join(f'.{name}' for name in FORMATS)}", hint="--format html")
    return kind


def _text(run: RunDirectory, state: SweepState, file: Path, kind: str) -> str:
    if kind == "md":
        from orchestrator.results.markdown import markdown

        return markdown(run, state)
    from orchestrator.results.report.page import html

    return html(run, state, file)


def _draw(run: RunDirectory, state: SweepState, file: Path, kind: str) -> None:
    """Draw into a temporary folder and replace the file when it is complete."""
    from tempfile import TemporaryDirectory

    from orchestrator.results.poster import draw

    with TemporaryDirectory() as folder:
        picture = Path(folder, f"sheet.{kind}")
        draw(run, state, picture)
        write_durably(file, picture.read_bytes())
