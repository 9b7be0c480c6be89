"""A journal says by which rules, on which arithmetic and with which code a sweep was decided."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import registry
from orchestrator.engine.simulator import simulate
from orchestrator.errors import JournalError, JournalVersionError
from orchestrator.journal import Event, encode
from orchestrator.policies.numerics import LIBRARIES, numerics
from orchestrator.policies.recorded_versions import policy_versions, version_changes
from orchestrator.policies.schedulers.asha import ASHAScheduler
from orchestrator.policies.searchers.tpe import TPESearcher
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.results.launch_changes import launch_changes
from orchestrator.results.why import why
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.sweep import code_record as code_record_module
from orchestrator.sweep import resume
from orchestrator.sweep.code_record import code_record, environment
from tests.support.budget_specs import described

FIXTURES = Path(__file__).parent / "fixtures"
# Every searcher and scheduler that a released version offered: a journal may name it, so it loads for ever.
RELEASED = {
    "searchers": {
        "bohb", "cmaes", "gp", "grid", "nsga2", "nsga3", "parzen", "race", "random", "sampler", "sobol", "tpe",
    },
    "schedulers": {"asha", "fifo", "frontier", "hyperband", "median", "patience", "pb2", "pbt", "ray"},
}  # fmt: skip
ASHA = {"name": "asha", "reduction_factor": 2}


def spec(**fields: Any) -> SweepSpec:
    return described({"trials": 12}, **{"searcher": {"name": "tpe", "startup_trials": 3}, "scheduler": ASHA, **fields})


def replayed(spec: SweepSpec, events: list[Event]) -> JournalReplay:
    replay = JournalReplay(spec)
    for event in events:
        replay.take(event)
    return replay


def changed(events: list[Event], type: str, **fields: Any) -> list[Event]:
    """The events, with other fields in each of a type."""
    return [replace(e, fields={**e.fields, **fields}) if e.type == type else e for e in events]


def recorded(searcher: int, scheduler: int) -> dict[str, Any]:
    return {"searcher": {"name": "tpe", "version": searcher}, "scheduler": {"name": "asha", "version": scheduler}}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in RELEASED.items() for name in sorted(names)])
def test_a_policy_of_a_released_journal_stays_loadable(kind: str, name: str) -> None:
    plugin = registry.load(kind, name)
    assert plugin.name == name
    assert plugin.version >= 1
    assert set(plugin.changes) == set(range(2, plugin.version + 1)), "say what each version changed"


def test_the_policies_of_the_journals_at_hand_are_among_the_released_ones() -> None:
    specs = [json.loads(path.read_text().splitlines()[0])["spec"] for path in FIXTURES.rglob("journal.jsonl")]
    assert len(specs) > 5
    assert {each["searcher"]["name"] for each in specs} <= RELEASED["searchers"]
    assert {each["scheduler"]["name"] for each in specs} <= RELEASED["schedulers"]


def test_a_launch_records_the_versions_of_searcher_and_scheduler() -> None:
    created, launched = simulate(spec()).events[:2]
    assert created["policies"] == launched["policies"] == policy_versions(spec()) == recorded(1, 1)
    assert launched["numerics"] == numerics()


def test_what_another_version_decided_is_not_derived_again(monkeypatch: pytest.MonkeyPatch) -> None:
    events = simulate(spec()).events
    assert any(event.type == "trial.stopped" for event in events)
    monkeypatch.setattr(ASHAScheduler, "judge_report", lambda self, trial, epoch: None)
    monkeypatch.setattr(TPESearcher, "suggest", lambda self, number: {"model.width": 1, "model.rate": 0.1})
    assert len(replayed(spec(), events).violations) > 10, "the rules have changed"
    for policy in (ASHAScheduler, TPESearcher):
        monkeypatch.setattr(policy, "version", 2)
        monkeypatch.setattr(policy, "changes", {2: "stops nothing"})
    replay = replayed(spec(), events)
    assert replay.violations == []
    assert (replay.suggestions, replay.decisions) == (0, 0)
    assert [sentence.split(" on ", 1)[1] for sentence in replay.not_derived] == [
        f"{who} decided by version 1 of its rules, not derived again: this program has version 2"
        for who in ("searcher tpe", "scheduler asha")
    ]


def two_launches(spec: SweepSpec) -> tuple[list[Event], int]:
    """A sweep that was resumed in its middle, and the record of its second launch."""
    from orchestrator.testing import Faults
    from orchestrator.testing import simulate as faulty

    for seed in range(50):
        ran = faulty(spec, faults=Faults(stop=0.03, deaths=1), seed=seed)
        launches = [event.seq for event in ran.events if event.type == "sweep.launched"]
        if len(launches) == 2 and len(ran.events) / 4 < launches[1] < len(ran.events) * 3 / 4:
            return ran.events, launches[1]
    raise AssertionError("no seed resumes in the middle")


def test_each_stretch_of_a_journal_is_derived_by_the_version_that_decided_it() -> None:
    events, second = two_launches(spec())
    older = changed(events[:second], "sweep.launched", policies=recorded(1, 0)) + events[second:]
    replay = replayed(spec(), older)
    assert replay.violations == []
    stops = [event.seq for event in events if event.type == "trial.stopped" and event["rule"] == "asha"]
    assert stops[0] < second < stops[-1]
    for seq, found in ((stops[0], 0), (stops[-1], 1)):
        forged = [replace(e, fields={**e.fields, "why": {"rung": 1}}) if e.seq == seq else e for e in older]
        assert len(replayed(spec(), forged).violations) == found, seq


def test_a_journal_of_version_1_of_guarded_asha_keeps_its_decisions_and_resumes_by_version_3() -> None:
    """Version 1 kept another share at a rung: its decisions stand, are not derived again, and a resume says so."""
    described = spec(scheduler="guarded_asha", searcher="density_ratio", budget={"trials": 24})
    events, second = two_launches(described)
    versions = policy_versions(described) | {"scheduler": {"name": "guarded_asha", "version": 1}}
    decided = [e for e in events if e.type == "trial.set_aside"]
    assert decided[0].seq < second < decided[-1].seq

    def by_version_1(event: Event) -> Event:
        if event.type == "sweep.launched" and event.seq < second:
            return replace(event, fields={**event.fields, "policies": versions})
        if event.type == "trial.set_aside" and event.seq < second:
            return replace(event, fields={**event.fields, "why": {**event["why"], "kept": event["why"]["kept"] + 1}})
        return event

    assert len(replayed(described, [by_version_1(e) if e.type == "trial.set_aside" else e for e in events]).violations)
    older = [by_version_1(event) for event in events]
    replay = replayed(described, older)
    assert replay.violations == []
    assert [each.split(" on ", 1)[1] for each in replay.not_derived] == [
        "scheduler guarded_asha decided by version 1 of its rules, not derived again: this program has version 3"
    ]
    assert SweepState(older).winner() == SweepState(events).winner(), "the recorded decisions stand"
    later = [replace(e, fields={**e.fields, "why": {}}) if e.seq == decided[-1].seq else e for e in older]
    assert len(replayed(described, later).violations) == 1, "those of version 3 are derived again"
    [sentence] = version_changes(described, versions, "0.1.0")
    assert sentence.startswith("scheduler guarded_asha: version 3 of its rules applies from here on, version 1 decided")
    assert "The share that continues holds the best controls at every later rung" in sentence


def test_a_resume_says_which_change_applies_from_here_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_changes(spec(), {}, "0.1.0") == []
    assert version_changes(spec(), recorded(1, 1), "0.1.0") == []
    monkeypatch.setattr(ASHAScheduler, "version", 3)
    monkeypatch.setattr(ASHAScheduler, "changes", {2: "ties go to the lower trial", 3: "rungs begin at 2."})
    [sentence] = version_changes(spec(), {}, "0.1.0")
    assert sentence == (
        "scheduler asha: version 3 of its rules applies from here on, version 1 decided before. "
        "ties go to the lower trial. rungs begin at 2. Recorded decisions stand."
    )
    assert len(version_changes(spec(), recorded(1, 2), "0.1.0")) == 1


def written(tmp_path: Path, *events: tuple[str, dict[str, Any]]) -> Path:
    (tmp_path / "newer").mkdir()
    lines = [encode(Event(seq, 1, 0.0, type, fields)) for seq, (type, fields) in enumerate(events)]
    (tmp_path / "newer" / "journal.jsonl").write_bytes(b"".join(lines))
    return tmp_path / "newer" / "journal.jsonl"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda spec: spec, "scheduler asha has decided by version 7 of its rules"),
        (lambda spec: {**spec, "scheduler": {"name": "clairvoyant"}}, "cannot be read by sweep-orchestrator"),
        (lambda spec: {**spec, "telepathy": True}, "cannot be read by sweep-orchestrator"),
    ],
)
def test_a_resume_of_what_a_newer_program_decided_is_refused_with_the_version_it_needs(
    change: Callable[[dict[str, Any]], dict[str, Any]], says: str, tmp_path: Path
) -> None:
    created = {"format": 1, "spec": change(spec().model_dump(mode="json")), "versions": {"sweep-orchestrator": "9.8"}}
    launched = {"slots": 1, "version": "9.9", "policies": recorded(1, 7)}
    journal = written(tmp_path, ("sweep.created", created), ("sweep.launched", launched))
    before = journal.read_bytes()
    with pytest.raises(JournalVersionError, match=says) as caught:
        resume("newer", tmp_path, local=True)
    assert "install sweep-orchestrator 9.9 or later" in caught.value.hint
    assert caught.value.exit_code == 4
    assert journal.read_bytes() == before


def test_a_broken_spec_of_this_version_is_an_error_of_its_own(tmp_path: Path) -> None:
    created = {"format": 1, "spec": {**spec().model_dump(mode="json"), "scheduler": {"name": "clairvoyant"}}}
    written(tmp_path, ("sweep.created", created))
    with pytest.raises(JournalError, match=r"record 0 of the journal .*clairvoyant"):
        resume("newer", tmp_path, local=True)


def nudged(events: list[Event], by: float, number: int = 5) -> list[Event]:
    """The events, with a suggested rate that differs by a factor."""

    def params(event: Event) -> dict[str, Any]:
        return {**event["params"], "model.rate": event["params"]["model.rate"] * (1 + by)}

    return [
        replace(e, fields={**e.fields, "params": params(e)})
        if e.type == "trial.suggested" and e["trial"] == number
        else e
        for e in events
    ]


OTHER = {**numerics(), "probe": "0" * 16}


@pytest.mark.parametrize(
    ("searcher", "by", "there", "violations", "others"),
    [
        ("tpe", 1e-12, None, 0, 0),
        ("tpe", 1e-12, OTHER, 0, 0),
        ("tpe", 1e-3, None, 1, 0),
        ("tpe", 1e-3, OTHER, 0, 1),
        ("random", 1e-3, OTHER, 1, 0),  # Python's own arithmetic: the same on every machine
    ],
)
def test_numbers_are_compared_within_rounding_and_other_numerics_are_no_violation(
    searcher: str, by: float, there: Any, violations: int, others: int
) -> None:
    described = spec(searcher=searcher, scheduler="fifo", trainer={"max_epochs": 1})
    last = simulate(described).events
    events = nudged(last, by, number=11)  # no later suggestion learns from it
    replay = replayed(described, changed(events, "sweep.launched", numerics=there or numerics()))
    assert (len(replay.violations), len(replay.other_numerics)) == (violations, others), replay.violations


def test_other_libraries_are_other_numerics_in_a_journal_that_records_none() -> None:
    described = spec(scheduler="fifo", trainer={"max_epochs": 1})
    events = nudged(simulate(described).events, 1e-3, number=11)
    events = changed(events, "sweep.launched", numerics={})
    assert len(replayed(described, events).violations) == 1
    events = changed(events, "sweep.created", versions={LIBRARIES[0]: "1.0"})
    replay = replayed(described, events)
    assert (replay.violations, len(replay.other_numerics)) == ([], 1)


_CHECK = """
import sys
from orchestrator.engine.simulator import events
from orchestrator.spec import SweepSpec
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.policies.numerics import numerics
content = events(open(sys.argv[1], "rb").read())
replay = JournalReplay(SweepSpec.model_validate(content[0]["spec"]))
for event in content:
    replay.take(event)
print(len(replay.violations), replay.suggestions, numerics()["probe"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("searcher", ["cmaes", "parzen", "tpe", "sobol", "gp"])
def test_a_journal_of_another_processor_has_no_violation(searcher: str, tmp_path: Path) -> None:
    """OpenBLAS's kernels and numpy's loops for an older CPU yield other last digits."""
    described = spec(searcher=searcher, budget={"trials": 25})
    ran = simulate(described, slots=4, seed=1)
    (tmp_path / "journal").write_bytes(ran.journal)
    features = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
    older = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": features}
    command = [sys.executable, "-W", "ignore", "-c", _CHECK, str(tmp_path / "journal")]
    answer = subprocess.run(command, env=older, capture_output=True, text=True, check=True)
    violations, suggestions, _ = answer.stdout.split()
    assert (violations, suggestions) == ("0", "25")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A user's module, what it imports from beside it, and a package."""
    (tmp_path / "package").mkdir()
    for name in ("mine.py", "base.py", "package/__init__.py", "package/deep.py", "notes.txt"):
        (tmp_path / name).write_text(f"# {name}\n")
    return tmp_path


def test_the_hashes_cover_the_modules_that_the_spec_names_and_what_is_beside_them(code: Path) -> None:
    described = spec(model="mine.Model", trainer={"callbacks": [{"class_path": "package.deep.Call"}], "max_epochs": 2})
    before = code_record(described, [str(code)])
    assert list(before["files"]) == ["base.py", "mine.py", "package/__init__.py", "package/deep.py"]
    (code / "base.py").write_text("# other\n")
    (code / "notes.txt").write_text("other")
    after = code_record(described, [str(code)])
    assert [name for name in before["files"] if before["files"][name] != after["files"][name]] == ["base.py"]
    assert code_record(spec(model="elsewhere.Model"), [str(code)])["files"] == {}


def test_data_inside_a_package_costs_a_limited_time(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code / "package" / "data").mkdir()
    for number in range(30):
        (code / "package" / "data" / f"{number}.txt").touch()
    monkeypatch.setattr(code_record_module, "_MOST_NAMES", 20)
    files = code_record(spec(model="package.deep.Model"), [str(code)])["files"]
    assert list(files) == ["base.py", "mine.py", "package/__init__.py", "package/deep.py"]


def test_the_commit_and_a_hash_of_its_changes_are_those_of_the_users_folder(code: Path) -> None:
    def git(*words: str) -> None:
        own = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *own, *words], cwd=code, check=True, capture_output=True)

    described = spec(model="mine.Model")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = code_record(described, [str(code)])
    assert len(clean["commit"]) == 40
    assert clean["diff"] is None
    (code / "mine.py").write_text("# other\n")
    touched = code_record(described, [str(code)])
    assert touched["commit"] == clean["commit"] + "+"
    assert touched["diff"]
    assert set(environment(described, [str(code)])) == {"code", "versions", "numerics"}


def test_why_and_the_report_say_what_changed_between_segments() -> None:
    events, second = two_launches(spec())
    first_code = {"commit": "a" * 40, "diff": None, "files": {"mine.py": "1", "base.py": "1"}}
    last_code = {"commit": "b" * 40, "diff": None, "files": {"mine.py": "2", "base.py": "1", "new.py": "1"}}
    before = changed(events[:second], "sweep.launched", code=first_code, versions={"torch": "2.11", "numpy": "2.4"})
    after = changed(events[second:], "sweep.launched", code=last_code, versions={"torch": "2.12", "numpy": "2.4"})
    state = SweepState([*before, *after])
    what = "other code (mine.py, new.py); other libraries (torch 2.11 → 2.12)"
    assert launch_changes(state) == [f"Launch 2 (record {second}) ran with {what}."]
    across = [t.number for t in state.trials.values() if sorted(set(t.launches.values())) == [0, 1]]
    assert across
    text = what.replace("; ", ", and with ")
    for number, trial in state.trials.items():
        said = [line for line in why(state, number) if "ran with" in line]
        first = next((segment for segment, launch in trial.launches.items() if launch == 1), 0)
        expected = [f"Segment {first} ran with {text} than segment {first - 1}."] if number in across else []
        assert said == expected, number
    same = changed(events, "sweep.launched", code=first_code)
    assert launch_changes(SweepState(same)) == []


def test_a_spec_that_names_a_policy_no_longer_offered_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ASHAScheduler, "offered", False)
    assert from_mapping(spec().model_dump(mode="json")).scheduler.name == "asha"
    assert simulate(spec()).state.status == "completed"
