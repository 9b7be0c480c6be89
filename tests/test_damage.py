"""Bit flips and truncations of what a run keeps: every one is found before anything is made of it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.training import Checkpoint, Job, Report, fit
from orchestrator.training.checkpoints import verify

CASES = 1000


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
        model={"class_path": "tests.tiny.Tiny", "init_args": {}},
        data={"class_path": "tests.tiny.TinyData", "init_args": {}},
        trainer={"max_epochs": 1, "accelerator": "cpu"},
        folder=str(tmp_path_factory.mktemp("damage") / "run/trials/0000"),
    )
    reports: list[Report] = []
    fit(job, lambda report: not reports.append(report))
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
