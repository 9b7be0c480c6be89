"""Records that nobody wrote: each field of a journal's records replaced by values of odd types, the checksum right."""

from __future__ import annotations

import copy
import io
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.errors import SweepError, UsageError
from orchestrator.journal import Journal
from orchestrator.optuna_studies.optuna_mirror import Sweeps
from orchestrator.page import run_page, trial_page
from orchestrator.page.followed_runs import FollowedRuns
from orchestrator.page.trial_table import View
from orchestrator.policies.extend_limits import More, extension
from orchestrator.policies.warm_start import warmth
from orchestrator.results import Results, verify
from orchestrator.results.markdown import markdown
from orchestrator.results.report import page
from orchestrator.results.run_state import read_state
from orchestrator.results.status import status_of
from orchestrator.results.terminal_tables import summary
from orchestrator.results.why import stories
from orchestrator.results.winner import winner
from orchestrator.rundir import RunDirectory
from orchestrator.spec import spec_of_record
from orchestrator.state import SweepState, spec_in_force
from orchestrator.watch.snapshot import snapshot
from orchestrator.watch.watched_sweep import Watched
from tests.support.paths import ROOT

RUNS = ROOT / "tests/fixtures/v0_1_0/runs"
MISSING = object()


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


ODD: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "negative": -1,
    "zero": 0,
    "fraction": 0.5,
    "huge integer": 10**400,
    "large integer": 2**62,
    "many": 10**9,
    "infinite": float("inf"),
    "no number": float("nan"),
    "text of infinity": "inf",
    "text": "x\x1b[31m<b>\u202e",
    "empty text": "",
    "half a character": "\ud800",
    "empty list": [],
    "list": [[1, "a"], None],
    "empty mapping": {},
    "mapping": {"a": {"b": [1]}, "": None},
    "deep": deep(200),
    "very deep": deep(900),
}


@dataclass(frozen=True)
class Forged:
    """A journal of ``run`` whose record ``seq`` holds at ``path`` the odd value of that name."""

    run: str
    seq: int
    type: str
    path: tuple[Any, ...]
    odd: str

    def __str__(self) -> str:
        return f"{self.run} record {self.seq} {self.type} {'.'.join(map(str, self.path))}: {self.odd}"

    def lines(self) -> bytes:
        records = journal_of(self.run)
        record = copy.deepcopy(records[self.seq])
        place: Any = record
        for step in self.path[:-1]:
            place = place[step]
        if ODD[self.odd] is MISSING:
            del place[self.path[-1]]
        else:
            place[self.path[-1]] = ODD[self.odd]
        return b"".join(line(each) for each in [*records[: self.seq], record, *records[self.seq + 1 :]])


def line(record: dict[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":")).encode()[:-1]
    return body + b',"crc32":"%08x"}\n' % zlib.crc32(body)


_journals: dict[str, list[dict[str, Any]]] = {}


def journal_of(run: str) -> list[dict[str, Any]]:
    if run not in _journals:
        lines = (RUNS / run / "journal.jsonl").read_bytes().splitlines()
        _journals[run] = [{k: v for k, v in json.loads(each).items() if k != "crc32"} for each in lines]
    return _journals[run]


def paths(value: Any, depth: int) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each field of a mapping, and of those in it, down to that depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, item in items:
        yield (name,)
        if depth > 1:
            yield from ((name, *rest) for rest in paths(item, depth - 1))


def all_forged(runs: Sequence[str], depth: int = 3) -> list[Forged]:
    """Each field of the first and the last record of each type and set of fields, with each odd value."""
    found = []
    for run in runs:
        places: dict[tuple[Any, ...], list[int]] = {}
        for seq, record in enumerate(journal_of(run)):
            places.setdefault((record["type"], *sorted(record), record.get("rule")), []).append(seq)
        for seqs in places.values():
            for seq in sorted({seqs[0], seqs[-1]}):
                record = journal_of(run)[seq]
                for path in paths(record, depth):
                    found += [Forged(run, seq, record["type"], path, odd) for odd in ODD]
    return found


def distinct(runs: Sequence[str]) -> dict[str, list[Forged]]:
    """Each field with each odd value once, by the first of the runs that has it.

    What a policy proposed and decided counts for each pair of searcher and scheduler, since these read it.
    """
    seen = set[tuple[Any, ...]]()
    found: dict[str, list[Forged]] = {run: [] for run in runs}
    for run in runs:
        spec = journal_of(run)[0]["spec"]
        policies = tuple(spec.get(part, {}).get("name") for part in ("searcher", "scheduler"))
        for forged in all_forged([run], depth=3):
            key: tuple[Any, ...] = (forged.type, forged.path, forged.odd)
            if forged.path[0] in ("params", "why", "donor"):
                rule = journal_of(run)[forged.seq].get("rule")
                key = (forged.type, forged.path[0], *forged.path[1:][:1], len(forged.path), forged.odd, policies, rule)
            if key not in seen:
                seen.add(key)
                found[run].append(forged)
    return found


def sample(runs: Sequence[str], count: int, seed: int) -> list[Forged]:
    """Some of them, of every type of event."""
    rng, by_type = random.Random(seed), dict[str, list[Forged]]()
    for each in all_forged(runs):
        by_type.setdefault(each.type, []).append(each)
    return [rng.choice(by_type[kind]) for _ in range(count) for kind in sorted(by_type)]


def _watch(run: RunDirectory) -> None:
    watched = Watched(run)
    watched.refresh()
    Console(file=io.StringIO(), width=200).print(snapshot(watched, 200))
    if watched.problem:
        raise SweepError(watched.problem)


def _resume(run: RunDirectory) -> None:
    journal = Journal.open(run.journal)
    try:
        state = SweepState(journal.events())
        spec = spec_of_record(state.created["spec"], 0)
        controller = SweepController(spec, run, journal, DriverHost(run, StopRequests()))
        _ = controller.exhausted_budget, controller.state.policies
    finally:
        journal.close()


def _or_no(reader: Callable[[RunDirectory], object]) -> Callable[[RunDirectory], None]:
    """The reader, whose plain refusals are answers: no trial has a value, say, or the searcher uses no results."""

    def read(run: RunDirectory) -> None:
        try:
            reader(run)
        except UsageError as error:
            if type(error) is not UsageError:
                raise

    return read


def _dashboard(run: RunDirectory) -> None:
    sweeps = Sweeps([run.name], run.root.parent)
    for study in sweeps.studies():
        if "cannot be read" in str(study.attributes.get("status")):
            raise SweepError(str(study.attributes["status"]))


READERS: dict[str, Callable[[RunDirectory], object]] = {
    "status": lambda run: (status_of(run, read_state(run)), summary(run, read_state(run), None)),
    "results": lambda run: Results(run).rows,
    "why": lambda run: stories(state := read_state(run), state.trials),
    "verify": verify.check,
    "report as Markdown": lambda run: markdown(run, read_state(run)),
    "watch": _watch,
    "extend": _or_no(lambda run: extension(read_state(run), More(trials=1))),
    "export": _or_no(lambda run: winner(run, read_state(run))),
    "warm start": _or_no(lambda run: warmth(spec_in_force(read_state(run)), [("x", read_state(run))])),
    "resume": _resume,
    "dashboard": _dashboard,
}


def _live_page(run: RunDirectory) -> None:
    followed = FollowedRuns(run.root.parent).get(run.name)
    run_page.run_page(followed, View())
    run_page.later_parts(followed)
    for number in followed.state.trials:
        trial_page.trial_page(followed, number)
    if followed.watched.problem:
        raise SweepError(followed.watched.problem)


SLOW_READERS: dict[str, Callable[[RunDirectory], object]] = {
    "epochs": lambda run: (Results(run).trials, Results(run).epochs),
    "report": lambda run: page.html(run, read_state(run), run.report),
    "live page": _live_page,
}


def outcome(forged: Forged, folder: Path, readers: dict[str, Callable[[RunDirectory], object]]) -> list[str]:
    """Return what each command does that neither answers nor names the record; empty is right."""
    run = RunDirectory(folder / Path(forged.run).name)
    run.root.mkdir(exist_ok=True)
    content = forged.lines()
    faults = []
    for name, reader in readers.items():
        (run.root / "journal.jsonl").write_bytes(content)
        try:
            reader(run)
        except SweepError as error:
            if not any(int(seq) >= forged.seq for seq in re.findall(r"record (\d+)", str(error))):
                faults.append(f"{name}: does not name the record: {error}")
            elif type(error).__name__ == "JournalError" and name != "resume":
                break  # every other command reads the journal in the same way
        except RecursionError:
            faults.append(f"{name}: RecursionError")
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    return faults
