"""A record with a right checksum that nobody wrote: every command answers, or names the record; none has a traceback.

`tests/support/forged_records.py` replaces each field of the released fixtures' records by values of odd types.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.forged_records import (
    MISSING,
    ODD,
    READERS,
    RUNS,
    SLOW_READERS,
    Forged,
    all_forged,
    distinct,
    journal_of,
    outcome,
    sample,
)

# Without a searcher of Optuna, whose import takes seconds.
SAMPLED = ("failed", "confirmed", "scheduler-pbt", "extended")
FULL = sorted(str(path.parent.relative_to(RUNS)) for path in RUNS.glob("**/journal.jsonl"))


def test_the_fields_of_the_sample_are_those_of_all_fixtures() -> None:
    types = {record["type"] for run in FULL for record in journal_of(run)}
    assert {record["type"] for run in SAMPLED for record in journal_of(run)} == types - {
        "sweep.paused",
        "sweep.warmed",
        "trial.retried",
    }


@pytest.mark.parametrize("run", SAMPLED)
def test_without_a_forged_field_every_command_answers(run: str, tmp_path: Path) -> None:
    ODD["as it was"] = journal_of(run)[1]["lease"]
    try:
        assert outcome(Forged(run, 1, "", ("lease",), "as it was"), tmp_path, READERS) == []
    finally:
        del ODD["as it was"]


@pytest.mark.parametrize("seed", range(2))
def test_a_forged_field_is_an_answer_or_an_error_with_its_place(seed: int, tmp_path: Path) -> None:
    faults = [
        f"{forged}: {fault}" for forged in sample(SAMPLED, 1, seed) for fault in outcome(forged, tmp_path, READERS)
    ]
    assert faults == []


def test_the_error_names_record_and_field(tmp_path: Path) -> None:
    from orchestrator.errors import JournalError
    from orchestrator.results.run_state import read_state
    from orchestrator.rundir import RunDirectory

    seq = next(record["seq"] for record in journal_of("failed") if record["type"] == "segment.reported")
    for odd, value in ODD.items():
        if odd in ("zero", "many", "fraction"):  # amounts of training, if strange ones
            continue
        (tmp_path / "journal.jsonl").write_bytes(Forged("failed", seq, "", ("epoch",), odd).lines())
        with pytest.raises(JournalError) as error:
            read_state(RunDirectory(tmp_path))
        assert re.search(rf"record {seq}\b", str(error.value)), odd
        if odd not in ("very deep", "deep", "infinite", "no number", "huge integer"):
            problem = "is missing" if value is MISSING else "must be an amount of training, but is"
            assert f"record {seq} of the journal (segment.reported): its field 'epoch' {problem}" in str(error.value), (
                odd
            )


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("run", FULL)
def test_every_field_of_every_kind_of_record_by_every_odd_value(run: str, tmp_path: Path) -> None:
    """Each once: in the first fixture that has it."""
    readers = {**READERS, **SLOW_READERS} if run == "failed" else READERS
    chosen = all_forged([run], depth=2) if run == "failed" else distinct(FULL)[run]
    # A plug-in's own options are refused by the plug-in, whose error names the option and not the record.
    chosen = [forged for forged in chosen if forged.path[-1] != "init_args" or run == "failed"]
    assert [f"{forged}: {fault}" for forged in chosen for fault in outcome(forged, tmp_path, readers)] == []


@pytest.mark.parametrize(
    ("run", "type", "path", "odd"),
    [
        ("searcher-grid", "trial.stopped", ("why", "rung"), "empty list"),
        ("searcher-parzen", "trial.suggested", ("params", "model.learning_rate"), "text"),
        ("confirmed", "winner.confirmed", ("winner",), "empty mapping"),
        ("extended", "sweep.extended", ("changed", "trainer", "max_epochs"), "empty mapping"),
    ],
)
def test_what_a_policy_decided_may_be_odd(run: str, type: str, path: tuple[str, ...], odd: str, tmp_path: Path) -> None:
    seq = next(record["seq"] for record in journal_of(run) if record["type"] == type)
    assert outcome(Forged(run, seq, type, path, odd), tmp_path, READERS) == []
