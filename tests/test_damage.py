"""Bit flips and truncations of what a run keeps: every one is found before anything is made of it."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from orchestrator import cli, sweep
from orchestrator.errors import CheckpointError, JournalError, RunHeldError
from orchestrator.journal import Journal, read
from orchestrator.results.run_state import read_state
from orchestrator.rundir import RunDirectory
from orchestrator.training import Checkpoint, Job, Report, fit
from orchestrator.training.checkpoints import verify
from tests.chaos.boundaries import spec
from tests.support.callbacks import Recorded
from tests.support.markers import examples

CASES = examples(250)


def damaged(content: bytes, cases: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """``cases`` different damages to ``content``, half of them one flipped bit, half a cut, and what was done."""
    choice = random.Random(seed)
    for bit in choice.sample(range(len(content) * 8), cases - cases // 2):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit} flipped", bytes(changed)
    for length in choice.sample(range(len(content)), cases // 2):
        yield f"cut to {length} bytes", content[:length]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Checkpoint]:
    """A trial of one epoch, and its checkpoint, as Lightning writes it."""
    job = Job(
        trial=0,
        segment=0,
        seed=1,
        metric="val_loss",
        model={"class_path": "tests.support.tiny.Tiny", "init_args": {}},
        data={"class_path": "tests.support.tiny.TinyData", "init_args": {}},
        trainer={"max_epochs": 1, "accelerator": "cpu"},
        folder=str(tmp_path_factory.mktemp("damage") / "run/trials/0000"),
    )
    reports = Recorded[Report]()
    fit(job, reports.keep)
    assert reports[-1].checkpoint is not None
    return job, reports[-1].checkpoint


def _is_refused(job: Job, checkpoint: Checkpoint) -> bool:
    try:
        verify(job.run_directory, checkpoint)
    except CheckpointError:
        return True
    return False


def test_every_damage_to_a_checkpoint_is_found_before_it_is_loaded(trained: tuple[Job, Checkpoint]) -> None:
    job, checkpoint = trained
    path = verify(job.run_directory, checkpoint)
    content, found = path.read_bytes(), 0
    try:
        for damage, changed in damaged(content, CASES, seed=7):
            path.write_bytes(changed)
            found += _is_refused(job, checkpoint) or pytest.fail(f"{damage}, and nobody saw it")
    finally:
        path.write_bytes(content)
    print(f"damaged checkpoints: {found} of {CASES} found, {len(content):,} bytes each")
    assert found == CASES
    assert verify(job.run_directory, checkpoint) == path


def test_no_training_starts_from_a_damaged_checkpoint(trained: tuple[Job, Checkpoint]) -> None:
    job, checkpoint = trained
    path = verify(job.run_directory, checkpoint)
    content = path.read_bytes()
    again = replace(job, segment=1, checkpoint=asdict(checkpoint), model={"class_path": "no.such.Class"})
    others = [("empty", b""), ("gone on", content + b"\0"), ("another's", bytes(len(content)))]
    try:
        for _, changed in (*others, *damaged(content, 40, seed=8)):
            path.write_bytes(changed)
            with pytest.raises(CheckpointError):
                fit(again, lambda report: True)
    finally:
        path.write_bytes(content)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A sweep that is completed."""
    return sweep.launch(spec(8), tmp_path_factory.mktemp("runs"), local=True).run


@pytest.fixture
def run(finished: RunDirectory) -> Iterator[RunDirectory]:
    """The same, its journal put back afterwards."""
    content = Path(finished.journal).read_bytes()
    yield finished
    Path(finished.journal).write_bytes(content)


@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_every_damage_to_a_journal_is_found_before_it_is_used(run: RunDirectory) -> None:
    """A flipped bit is refused, and the record it is in named by its offset.

    A journal that was cut short is a torn write, and one cut at a line's end is not even that: nothing in the file can
    say that more was there. What is held is that nothing is made up: the records before the cut read as they were
    written, and the sweep reads as created or interrupted, never as completed.
    """
    content, found, at_ends = Path(run.journal).read_bytes(), 0, 0
    events = list(read(run.journal))
    starts = [0, *(match.end() for match in re.finditer(b"\n", content))]
    for damage, changed in damaged(content, CASES, seed=9):
        Path(run.journal).write_bytes(changed)
        if damage.startswith("bit") and changed[-1:] == b"\n":
            at = next(index for index, byte in enumerate(content) if byte != changed[index])
            line = max(start for start in starts if start <= at)
            with pytest.raises(JournalError, match=f"is damaged at byte {line} "):
                read_state(run)
        else:
            whole = changed.count(b"\n") if changed else 0
            assert list(read(run.journal)) == events[:whole], damage
            at_ends += changed == b"" or changed.endswith(b"\n")
            if whole:
                assert read_state(run).status in ("created", "interrupted"), damage
            else:
                _holds_nothing(run, damage)
        found += 1
    print(f"damaged journals: {found} of {CASES} found, {len(content):,} bytes; {at_ends} cut at a line's end")
    assert found == CASES


def _holds_nothing(run: RunDirectory, damage: str) -> None:
    """With its first record gone a journal says nothing, and is not taken for a sweep that has not begun."""
    with pytest.raises(JournalError, match="holds no complete record"):
        read_state(run)
    assert Path(run.journal).stat().st_size == 0 or run.exists(), damage


def test_a_torn_tail_is_cut_off_with_a_notice(run: RunDirectory, tmp_path: Path) -> None:
    content = Path(run.journal).read_bytes()
    last = content[:-1].rindex(b"\n") + 1
    path = tmp_path / "copy" / "journal.jsonl"
    path.parent.mkdir()
    path.write_bytes(content[: last + 20])
    journal = Journal.open(path)
    journal.close()
    assert journal.notice == f"a torn write at the end of the journal was cut off (20 bytes at {last})"
    assert path.read_bytes() == content[:last]


@pytest.mark.parametrize("command", ["status", "results", "resume", "verify", "why", "best"])
@pytest.mark.parametrize("damage", ["flipped", "first record torn"])
def test_no_command_makes_anything_of_a_damaged_journal(
    command: str,
    damage: str,
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = Path(run.journal).read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]
    Path(run.journal).write_bytes(flipped if damage == "flipped" else content[:50])
    before = _contents(run.root)
    monkeypatch.setattr(sys, "argv", ["sweep", command, run.name, "--runs", str(run.root.parent)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 4
    said = capsys.readouterr()
    if command == "verify" and damage != "flipped":
        assert "the journal holds no record" in said.out
    else:
        assert str(run.journal) in said.err
        assert "hint: " in said.err
        assert not said.out
    assert _contents(run.root) == before


def test_a_sweep_that_lost_its_journals_beginning_is_not_begun_anew(run: RunDirectory) -> None:
    Path(run.journal).write_bytes(Path(run.journal).read_bytes()[:50])
    before = _contents(run.root)
    with pytest.raises(RunHeldError, match="exists already"):
        sweep.launch(spec(8), run.root.parent, local=True)
    assert {path: held for path, held in _contents(run.root).items() if not path.startswith("lease")} == {
        path: held for path, held in before.items() if not path.startswith("lease")
    }


def _contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
