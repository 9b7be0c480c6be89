"""Names that nobody well-meaning would give, 2,000 of them, and a run that has them wherever a name can stand."""

from __future__ import annotations

from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

from orchestrator.journal import Journal
from orchestrator.rundir import RunDirectory
from orchestrator.spec import from_mapping

_BAD = (
    "<script>window.pwned=1</script>",
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<svg/onload=pwned=1>",
    "javascript:pwned=1",
    "<a href='javascript:pwned=1'>x</a>",
    "<!--",
    "-->",
    "]]>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "&lt;b&gt;",
    '"><script>pwned=1</script>',
    "' onfocus='pwned=1",
    "<style>*{display:none}</style>",
    "<b>bold</b>",
    "{{7*7}}",
    "${7*7}",
    "<%= 7*7 %>",
    "__proto__",
    "constructor",
    "../../../etc/passwd",
    "..\\..\\windows",
    "/etc/shadow",
    "C:\\con",
    "%2e%2e%2f",
    "~root",
    "file:///etc/passwd",
    "a/../../b",
    ".",
    "..",
    "-rf",
    "--help",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "| touch pwned",
    "\u001b[2J",
    "\u001b[31mred\u001b[0m",
    "\u001b]0;title\u0007",
    "\u001b]52;c;cHduZWQ=\u0007",
    "\u001b[9999A",
    "\u009b2J",
    "\u0000",
    "\u0007",
    "a\b\bb",
    "over\rwritten",
    "two\nlines",
    "tab\tbed",
    "\u007f",
    "\u0085",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\u00ad",
    "\u202etxt.exe",
    "\u2066\u202ehidden\u2069",
    "\u200b",
    "\u200d",
    "\u200f",
    "\u061c",
    "\U000e0041",
    "\ud800",
    "\uffff",
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://x","y")',
    "\t=1",
    "\r=1",
    " =1",
    "＝1",
    "[bold red]markup[/]",
    "[link=http://x]y[/link]",
    "[/]",
    "[@click=app.quit]x[/]",
    ":smile:",
    "$x^2$",
    "\\frac{1}{2}",
    "[a](javascript:pwned)",
    "![a](http://x/y.png)",
    "| a | b |",
    "# head",
    "```",
    "`",
    "**b**",
    "<http://x>",
    "~~x~~",
    "'; DROP TABLE trials; --",
    '"',
    "'",
    "\\",
    ",",
    ";",
    "",
    " ",
    "a b",
    "NaN",
    "null",
    "true",
    "é",
    "日本語",
    "🙂" * 9,
    "x" * 3000,
    "%s%n",
    "{0.__class__}",
    "%(x)s",
    "\\u003cscript\\u003e",
    "\\x1b[2J",
    "0x41",
    "1e999",
    "-0",
    "１",
)
_AROUND = (
    "{}",
    "a{}",
    "{}z",
    " {}",
    "model.{}",
    "{0}{0}",
    "lr={}",
    "{}\n{}",
    "\u202e{}",
    "<b>{}",
    "={}",
    "\u001b[1m{}",
    "[{}]",
    "'{}'",
)


def names(number: int = 2000) -> list[str]:
    """So many hostile texts, no two alike; always the same."""
    made = (around.replace("{0}", "{}").replace("{}", bad) for around in _AROUND for bad in _BAD)
    more = (f"{one}{other}" for one in _BAD for other in _BAD)
    found = list(islice(dict.fromkeys([*made, *more]), number))
    assert len(found) == number
    return found


def hostile_run(runs: Path, listed: Sequence[str], *, wide: int = 3, name: str = "hostile") -> RunDirectory:
    """A completed run with a trial for each text.

    It has it as a value, as a metric's name, as the message of a failure, as its node and as the rule that stopped it;
    the first ``wide`` texts are parameters' names as well.

    A third of the trials each finish, are stopped and fail. ``val_acc`` is best in trial 0.
    """
    run = RunDirectory(runs / name)
    spec = from_mapping(
        {
            "name": name,
            "objective": {"metric": "val_acc", "mode": "max"},
            "model": "tests.support.tiny.Tiny",
            "trainer": {"max_epochs": 2},
            "space": {"model.kind": {"choice": ["a", "b"]}},
            "budget": {"trials": len(listed)},
        }
    ).model_dump(mode="json")
    spec["space"] = {"model.kind": {"choice": list(listed)}}
    journal = Journal.create(run.journal)
    journal.now = lambda: 1_790_000_000.0 + journal.length

    def write(type: str, **fields: Any) -> None:
        journal.append(type, sync=False, **fields)

    write("sweep.created", spec=spec, versions={"torch": listed[0]}, git=listed[1])
    write("sweep.launched", engine="local", slots=2, threads=1, host=listed[0], pid=1, hardware={"cpu": listed[2]})
    for number, text in enumerate(listed):
        _trial(write, number, text, {"model.kind": text, f"model.{listed[number % wide]}": number})
    write("sweep.completed", reason="all trials ended")
    journal.close()
    return run


def _trial(write: Any, number: int, text: str, params: dict[str, Any]) -> None:
    write("trial.suggested", trial=number, params=params, by=text)
    write("segment.started", trial=number, segment=0, node=text, origin=None)
    metrics = {"val_acc": 1 - number / 10_000, text or "empty": 0.5}
    write("segment.reported", trial=number, segment=0, epoch=1, metrics=metrics)
    if number % 3 == 0:
        write("trial.finished", trial=number, segment=0, epoch=1)
    elif number % 3 == 1:
        write("trial.stopped", trial=number, segment=0, epoch=1, rule=text, why={"value": text})
    else:
        write("segment.failed", trial=number, segment=0, kind="error", message=text, fingerprint=text)
        write("trial.failed", trial=number, segment=0, reason=text)


class Elements(HTMLParser):
    """The elements of a page, with the names of their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(f"{tag}@{name}" for name, _ in attrs)}

    def handle_comment(self, data: str) -> None:
        self.found.add("comment")
