"""What a program does with a journal that an older or a newer version has written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.simulator import simulate
from orchestrator.errors import JournalVersionError
from orchestrator.journal import FORMAT, Event, Follower, Journal, encode, program_version, read, store_at
from orchestrator.results.run_state import read_state
from orchestrator.rundir import RunDirectory
from orchestrator.state import FollowedSweep, SweepState
from orchestrator.sweep import resume
from tests.support.small_sweeps import spec

SPEC = {"objective": {"metric": "loss", "mode": "min"}, "searcher": {"name": "random"}}
CREATED = Event(0, 1, 0.0, "sweep.created", {"format": FORMAT, "spec": SPEC, "versions": {"sweep-orchestrator": "9.8"}})
LAUNCHED = Event(1, 1, 1.0, "sweep.launched", {"slots": 1})


def write(path: Path, events: list[Event]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(encode, events)))
    return path


def newer(event: Event, **fields: object) -> Event:
    return replace(event, fields={**event.fields, **fields})


NEWER = [
    [newer(CREATED, format=FORMAT + 1)],
    [newer(CREATED, format="two")],
    [CREATED, newer(LAUNCHED, format=FORMAT + 1, version="9.8")],
]


@pytest.mark.parametrize("events", NEWER)
@pytest.mark.parametrize(
    "opened",
    [
        lambda path: list(read(path)),
        lambda path: list(Follower(store_at(path)).events()),
        Journal.open,
        lambda path: read_state(RunDirectory(path.parent)),
        lambda path: resume(path.parent.name, path.parent.parent),
    ],
    ids=["read", "follow", "open", "state", "resume"],
)
def test_a_newer_format_is_refused_with_the_version_to_install(
    opened: Callable[[Path], object], events: list[Event], tmp_path: Path
) -> None:
    path = write(tmp_path / "run" / "journal.jsonl", events)
    before = path.read_bytes()
    with pytest.raises(JournalVersionError) as caught:
        opened(path)
    assert f"reads formats up to {FORMAT}" in caught.value.message
    assert f"sweep-orchestrator {program_version()}" in caught.value.message
    assert "install sweep-orchestrator 9.8 or later" in caught.value.hint
    assert caught.value.exit_code == 4
    assert path.read_bytes() == before


def test_an_unknown_event_is_refused_with_the_version_to_install(tmp_path: Path) -> None:
    unknown = Event(2, 1, 2.0, "trial.teleported", {"trial": 0})
    with pytest.raises(JournalVersionError, match=r"record 2 .*'trial\.teleported'.* does not know") as caught:
        SweepState([CREATED, newer(LAUNCHED, version="9.9"), unknown])
    assert "install sweep-orchestrator 9.9 or later" in caught.value.hint
    with pytest.raises(JournalVersionError) as caught:
        SweepState([newer(CREATED, versions={"sweep-orchestrator": program_version()}), replace(unknown, seq=1)])
    assert "install a newer version" in caught.value.hint


def test_a_refused_journal_stays_refused_while_it_grows(tmp_path: Path) -> None:
    path = write(tmp_path / "journal.jsonl", [CREATED, Event(1, 1, 1.0, "trial.teleported", {})])
    sweep = FollowedSweep(path)
    for _ in range(2):
        with pytest.raises(JournalVersionError):
            sweep.refresh()
        with path.open("ab") as file:
            file.write(encode(Event(2, 1, 2.0, "sweep.paused", {"reason": "x"})))
    assert sweep.state.status == "created"
    with pytest.raises(JournalVersionError):
        sweep.restart()


def test_a_journal_without_a_format_is_of_format_1(tmp_path: Path) -> None:
    created = replace(CREATED, fields={"spec": SPEC, "versions": {}})
    path = write(tmp_path / "journal.jsonl", [created, LAUNCHED])
    assert SweepState(read(path)).status == "running"


def test_a_launch_records_format_and_version() -> None:
    created, launched = simulate(spec(searcher="random", budget={"trials": 2})).events[:2]
    assert (created.type, created["format"]) == ("sweep.created", FORMAT)
    assert (launched.type, launched["format"], launched["version"]) == ("sweep.launched", FORMAT, program_version())


def test_the_page_names_every_event_and_no_other() -> None:
    page = (Path(__file__).parent.parent / "docs/journal-format.md").read_text().split("\n## Events")[1]
    named = set(re.findall(r"^\| `(\w+\.\w+)` ", page, re.MULTILINE))
    handlers = {name.removeprefix("_on_").replace("_", ".", 1) for name in vars(SweepState) if name.startswith("_on_")}
    assert named == handlers | {"storage.waited"}


@pytest.mark.parametrize("journal", sorted((Path(__file__).parent / "fixtures").rglob("journal.jsonl")), ids=str)
def test_journals_of_released_versions_hold_documented_fields(journal: Path) -> None:
    page = (Path(__file__).parent.parent / "docs/journal-format.md").read_text().split("\n## Events")[1]
    fields = dict(re.findall(r"^\| `(\w+\.\w+)` \| `([^`]*)` ", page, re.MULTILINE))
    for event in read(journal):
        optional = {name.removesuffix("?") for name in fields[event.type].split() if name.endswith("?")}
        required = set(fields[event.type].replace("?", "").split()) - optional
        assert required <= event.fields.keys() <= required | optional, event
