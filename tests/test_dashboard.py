"""Sweeps as Optuna studies: what is shown is what the journal says, at every record, and nobody can write to it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState
from playwright.async_api import Page, Request

from orchestrator.dashboard import Server, Sweeps, optuna_mirror
from orchestrator.dashboard.optuna_mirror import Study
from orchestrator.dashboard.optuna_storage import JournalStorage
from orchestrator.dashboard.optuna_trials import display_domains
from orchestrator.errors import UsageError
from orchestrator.journal import Event, Journal, encode
from orchestrator.policies.extend_limits import More
from orchestrator.results import Results
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.space import Space
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState, Trial
from orchestrator.testing import Faults
from tests.chaos.simulate import SCHEDULERS, SEARCHERS, Case
from tests.support.browser import browse
from tests.support.paths import ROOT

FAULTS = Faults(crash=0.03, asleep=0.01, lost=0.2, memory=0.1, stop=0.02, damage=0.3, retry=0.9)
CASES = [
    *(Case(number, "random", name, 5, 5, 3, FAULTS) for number, name in enumerate(SCHEDULERS)),
    *(Case(number, name, "asha promote", 3, 4, 2, FAULTS) for number, name in enumerate(SEARCHERS) if name != "race"),
    Case(1, "race", "fifo", 3, 4, 2, FAULTS),
    Case(6, "random", "asha 2", 6, 4, 2, FAULTS, more=More(2, 2)),  # under two seeds each, and then extended
    Case(7, "random", "fifo", 7, 5, 2, FAULTS),  # with a constraint
    Case(
        8, "random", "asha 3", 5, 5, 3, Faults(crash=0.05, lost=0.1, memory=0.6, retry=0.9)
    ),  # some fail, and are tried again
]


def written(run: RunDirectory, events: Sequence[Event]) -> RunDirectory:
    """The run with these events as its journal."""
    run.root.mkdir(parents=True, exist_ok=True)
    Path(run.journal).write_bytes(b"".join(map(encode, events)))
    return run


def counted(state: SweepState, trial: Trial) -> dict[float, float]:
    """The objective at each epoch that counts, by the plainest way."""
    found, objective = {}, state.objective
    for epoch, report in trial.reports.items():
        value = report.metrics.get(objective.metric, math.nan)
        if all(constraint.holds(report.metrics) for constraint in objective.constraints) and math.isfinite(value):
            found[epoch] = value
    return found


def best_epoch(state: SweepState, trial: Trial) -> float | None:
    curve, sign = counted(state, trial), 1 if state.objective.mode == "min" else -1
    return min(curve, key=lambda epoch: (sign * curve[epoch], epoch), default=None)


def values_of(state: SweepState, trial: Trial) -> list[float] | None:
    best, objective = best_epoch(state, trial), state.objective
    names = [objective.metric, *(goal.metric for goal in objective.also)]
    found = [trial.reports[best].metrics[name] for name in names] if best is not None else [math.nan]
    return found if all(map(math.isfinite, found)) else None


def expected(state: SweepState, trial: Trial) -> dict[str, Any]:
    """A trial as it is to be shown while nobody runs the sweep."""
    best, values, several = best_epoch(state, trial), values_of(state, trial), bool(state.objective.also)
    stopped = "COMPLETE" if values and several else "PRUNED"
    ends = {"finished": "COMPLETE" if values else "FAIL", "stopped": stopped, "failed": "FAIL"}
    shown_as = ends.get(trial.status, "WAITING")
    return {
        "number": trial.number,
        "state": shown_as,
        "values": values if shown_as in ("COMPLETE", "PRUNED") else None,
        "curve": {} if several else counted(state, trial),
        "params": trial.params if best is None else trial.params_at(best),
        "ended": trial.status in ("finished", "stopped", "failed"),
        "epochs": max(trial.reports, default=0),
    }


def told(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name,
        "values": trial.values,
        "curve": trial.intermediate_values,
        "params": trial.params,
        "ended": trial.datetime_complete is not None,
        "epochs": trial.user_attrs["epochs"],
    }


def study_of(run: RunDirectory) -> Study:
    study = Study(run, run.name, 0)
    study.refresh()
    return study


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.searcher}, {case.scheduler}, {case.trials}")
def test_at_every_record_what_grew_is_what_is_made_anew_and_what_the_state_says(tmp_path: Path, case: Case) -> None:
    events = case.run().events
    run = RunDirectory(tmp_path / "simulated")
    grown = Study(run, run.name, 0)
    state = SweepState()
    for length, event in enumerate(events, 1):
        written(run, events[:length])
        grown.refresh()
        state.apply(event)
        assert [told(trial) for trial in grown.trials] == [expected(state, t) for t in state.trials.values()]
        won = state.winner()
        best = values_of(state, won) if won else None
        assert (grown.best and grown.best.values) == best
        assert grown.best is None or (won and grown.best.number == won.number)
        if length % 5 == 0 or length == len(events):
            anew = study_of(run)
            assert (grown.trials, grown.attributes, grown.best) == (anew.trials, anew.attributes, anew.best)


@pytest.mark.slow
def test_the_cases_have_what_makes_it_hard() -> None:
    ran = [case.run() for case in CASES]
    trials = [trial for one in ran for trial in one.state.trials.values()]
    types = {event.type for one in ran for event in one.events}
    assert {"trial.retried", "sweep.extended", "trial.set_aside", "trial.promoted", "checkpoints.removed"} <= types
    assert {trial.status for trial in trials} == {"finished", "stopped", "failed"}
    assert any(trial.takeovers for trial in trials)
    assert any(one.state.objective.also for one in ran)
    assert any(one.state.objective.best(trial) is None for one in ran for trial in one.state.trials.values())


def test_in_optuna_the_best_is_ours(tmp_path: Path) -> None:
    import optuna

    for case in (CASES[0], CASES[1]):
        run = written(run_at(f"seed-{case.seed}", tmp_path), case.run().events)
        study = optuna.load_study(study_name=run.name, storage=JournalStorage(Sweeps([run.name], tmp_path)))
        ours = Results(run).state
        won = ours.winner()
        assert won
        assert study.best_trial.number == won.number
        assert study.best_value == ours.objective.best(won).value  # type: ignore[union-attr]
        assert study.metric_names == ["val_acc"]
        assert len(study.get_trials(states=[TrialState.COMPLETE])) == ours.count("finished")
        with pytest.raises(NotImplementedError, match="cannot change a sweep"):
            study.ask()


def test_values_are_shown_as_they_were_written() -> None:
    space = Space(
        {
            "model.a": {"choice": [1, True, "1"]},
            "model.b": {"choice": [[1, 2], {"x": 1}, "\u202eevil"]},
            "model.c": {"choice": [None, 0.5, 2]},
            "model.d": {"normal": [3.0, 0.5]},
            "model.e": {"log_normal": [0.0, 900.0]},
            "model.f": {"log_int": [1, 64]},
            "model.g": {"uniform": [0.0, 0.5], "step": 0.05},
            "model.h": {"const": {"deep": [1]}},
        }
    )
    found = display_domains(space)
    assert [found["model.a"].value(value) for value in (1, True, "1")] == ["1", "true", '"1"']
    assert found["model.b"].value("\u202eevil") == '"\\u202eevil"'
    assert [found["model.c"].value(value) for value in (None, 0.5, 2)] == [None, 0.5, 2]
    assert (found["model.d"].distribution.low, found["model.d"].distribution.high) == (0.0, 6.0)  # type: ignore[attr-defined]
    assert found["model.e"].distribution.high == math.exp(700)  # type: ignore[attr-defined]
    assert found["model.h"].value({"deep": [1]}) == '{"deep": [1]}'
    for name, domain in space.items():
        for probe in domain.probes():
            found[name].value(probe)
    with pytest.raises(ValueError, match="not in"):
        found["model.c"].value(3)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna_mirror, "REFRESH_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
def test_all_runs_are_shown_new_ones_and_damaged_ones_too(tmp_path: Path) -> None:
    events = CASES[0].run().events
    found = Sweeps((), tmp_path)
    assert found.studies() == []
    one = written(run_at("one", tmp_path), events)
    found.refresh()
    written(run_at("two", tmp_path), events[:20])
    found.refresh()
    assert [study.name for study in found.studies()] == ["one", "two"]
    trials = list(found.studies()[0].trials)
    Path(one.journal).write_bytes(Path(one.journal).read_bytes()[:-10] + b"x" * 9 + b"\n")
    found.refresh()
    assert "cannot be read: " in found.studies()[0].attributes["status"]
    assert found.studies()[0].trials == trials
    with pytest.raises(UsageError, match="no run 'three'"):
        Sweeps(["three"], tmp_path)


def test_a_sweep_that_nobody_runs_is_interrupted_and_while_one_does_its_trials_run(tmp_path: Path) -> None:
    events = CASES[0].run().events
    cut = next(n for n, event in enumerate(events) if event.type == "segment.reported")
    run = run_at("live", tmp_path)
    journal = Journal.create(run.journal)
    for event in events[:cut]:
        journal.append(event.type, **event.fields)
    study = study_of(run)
    assert {trial.state for trial in study.trials} == {TrialState.RUNNING}
    assert study.attributes["status"] == "running"
    journal.close()
    study.refresh()
    assert {trial.state for trial in study.trials} == {TrialState.WAITING}
    assert {trial.user_attrs["status"] for trial in study.trials} == {"interrupted"}
    assert study.attributes["status"] == "interrupted"


def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(url, method=method, headers=headers, data=b"{}" if method != "GET" else None)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def hostile(tmp_path: Path) -> RunDirectory:
    """A run whose every text is meant for whoever shows it."""
    evil = "=cmd()<script>window.hit=1</script>\u202e\x1b[31m"
    spec = from_mapping(
        {
            "name": "hostile",
            "objective": {"metric": "<img src=x onerror=window.hit=1>", "mode": "max"},
            "model": "nowhere.Never",
            "space": {"model.x": {"choice": [evil, "b"]}, "model.<b>": {"uniform": [0, 1]}},
            "budget": {"trials": 2},
        }
    )
    run = run_at("hostile", tmp_path)
    journal = Journal.create(run.journal)
    journal.append("sweep.created", format=1, spec=spec.model_dump(mode="json"), seed=0, versions={})
    journal.append("sweep.launched", engine="local", slots=1, threads=1)
    for number in range(2):
        params = {"model.x": evil, "model.<b>": 0.25}
        journal.append("trial.suggested", trial=number, params=params, by=evil)
        journal.append("segment.started", trial=number, segment=0, node=evil, origin=None)
        metrics = {"<img src=x onerror=window.hit=1>": 0.5, evil: 1.0}
        journal.append("segment.reported", trial=number, segment=0, epoch=1, metrics=metrics)
    journal.append("segment.failed", trial=1, segment=0, kind="error", message=evil, fingerprint="x")
    journal.append("trial.failed", trial=1, segment=0, reason="error")
    journal.append("trial.finished", trial=0, segment=0, epoch=1)
    journal.append("sweep.completed", reason="all trials ended")
    journal.close()
    return run


def test_only_this_machines_names_are_answered_and_nothing_can_be_written(hostile: RunDirectory) -> None:
    before = Path(hostile.journal).read_bytes()
    found = Sweeps(["hostile"], hostile.root.parent)
    with Server(found) as server:
        root, number = server.address.rsplit("/dashboard", 1)[0], found.studies()[0].number
        assert server.url.startswith("http://127.0.0.1:")
        api, key = f"{root}/api/studies/{number}", {"Authorization": f"Bearer {server.token}"}
        assert [
            fetch(api, Host=host, **key)[0] for host in ("evil.com", "127.0.0.1.evil.com:80", "evil.com:localhost")
        ] == [403] * 3
        assert [fetch(api, Host=host, **key)[0] for host in ("localhost:9", "[::1]:80", "127.0.0.1", "localhost")] == [
            200
        ] * 4
        for method, path in (
            ("DELETE", f"/api/studies/{number}"),
            ("POST", "/api/studies"),
            ("PUT", f"/api/studies/{number}/note"),
            ("POST", f"/api/trials/{number * 10_000_000}/tell"),
        ):
            assert fetch(root + path, method, **{"Content-Type": "application/json"}, **key) == (
                403,
                '{"reason": "the dashboard is read-only"}',
            )
        assert fetch(f"{root}/api/studies/999999", **key)[0] == 404
        rows = list(csv.reader(io.StringIO(fetch(f"{root}/csv/{number}", **key)[1])))
        with pytest.raises(UsageError, match="cannot listen on"):
            Server(found, int(root.rsplit(":", 1)[1]))
    assert rows[1][4].startswith("'=cmd()")
    assert Path(hostile.journal).read_bytes() == before
    assert sorted(path.name for path in hostile.root.iterdir()) == ["journal.jsonl", "lease"]


@pytest.mark.slow
def test_hostile_text_is_inert_in_the_page(hostile: RunDirectory, chromium: str) -> None:
    with Server(Sweeps(["hostile"], hostile.root.parent)) as server:

        async def visit(page: Page) -> tuple[list[str], list[str], Any, str]:
            faults, elsewhere = watch(page)
            await page.goto(server.url)
            await page.get_by_text("Best Trial (number=0)").wait_for()
            await page.wait_for_load_state("networkidle")
            hit = await page.evaluate("window.hit ?? null")
            await page.goto(f"{server.address}/trials")
            await page.get_by_text("Trial 0", exact=True).first.wait_for()
            hit = hit or await page.evaluate("window.hit ?? null")
            return faults, elsewhere, hit, await page.inner_text("body")

        faults, elsewhere, hit, said = browse(chromium, visit)
    assert (faults, elsewhere, hit) == ([], [], None)
    assert r"=cmd()<script>window.hit=1</script>\u202e\x1b[31m" in said
    assert "\u202e" not in said


def watch(page: Page) -> tuple[list[str], list[str]]:
    """Faults that the page has, and what it asks of others than this machine, as they come."""
    faults: list[str] = []
    elsewhere: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: elsewhere.append(request.url) if not is_local(request) else None)
    return faults, elsewhere


def is_local(request: Request) -> bool:
    return request.url.startswith(("http://127.0.0.1:", "data:", "blob:"))


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_a_growing_journal_is_shown_without_a_reload(tmp_path: Path, chromium: str) -> None:
    events = CASES[0].run().events
    run = written(run_at("growing", tmp_path), events[: len(events) // 3])
    with Server(Sweeps(["growing"], tmp_path)) as server:

        async def visit(page: Page) -> tuple[list[str], list[str], int, str]:
            faults, elsewhere = watch(page)
            await page.goto(f"{server.address}/trials?token={server.token}")
            before, state = SweepState(events[: len(events) // 3]), SweepState(events)
            await page.get_by_text(f"Trial {len(before.trials) - 1}", exact=True).first.wait_for()
            new = page.get_by_text(f"Trial {len(state.trials) - 1}", exact=True)
            seen = await new.count()
            written(run, events)
            await new.first.wait_for(timeout=15_000)
            await page.goto(server.address)
            best = page.get_by_text("Best Trial (number=")
            await best.wait_for()
            return faults, elsewhere, seen, await best.locator("..").inner_text()

        faults, elsewhere, seen, said = browse(chromium, visit)
    won = SweepState(events).winner()
    assert won
    assert (faults, elsewhere, seen) == ([], [], 0)
    assert f"number={won.number})" in said
    assert str(Results(run).best().value) in said


@pytest.mark.slow
def test_the_command_prints_where_and_ends_cleanly(tmp_path: Path) -> None:
    (command,) = re.findall(r"^\$ sweep (.*)$", (ROOT / "docs/dashboard.md").read_text(), re.MULTILINE)
    written(run_at("quickstart", tmp_path), CASES[0].run().events)
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *command.split(), "--runs", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    address, _, token = process.stdout.readline().strip().partition("?token=")
    assert len(token) == 43
    api, key = address.replace("/dashboard/", "/api/"), {"Authorization": f"Bearer {token}"}
    assert len(json.loads(fetch(api, **key)[1])["trials"]) == 5
    assert fetch(f"{api}/param_importances", **key)[0] == 200
    assert fetch(api)[0] == 403
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert err == "the page follows the runs; press Ctrl-C to stop\n"
