"""Trainings of two processes that are cut after any batch and resumed, by processes forked from one that has torch."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.chaos.forked import context, start_server
from tests.support import cut_runs
from tests.support.cut_runs import Outcome, Plans, compared, job, run

RANKS = 2
_SECONDS = 300.0  # for all trainings of a call


def draw(seed: int) -> Plans:
    """Return the plans of a seed, for two processes.

    Their last batches may be too small for batch norm. A plateau scheduler would step by each rank's own loss, so that
    the ranks' rates differ, of which a checkpoint holds rank 0's.
    """
    plans = cut_runs.draw(seed)
    scheduler = plans.model["scheduler"]
    model = {**plans.model, "norm": False, "scheduler": "epoch" if scheduler == "plateau" else scheduler}
    return replace(plans, workers=RANKS, model=model)


def differences(seeds: Iterable[int], folder: Path) -> dict[int, list[str]]:
    """Return, by seed, how a training of two processes that is cut at a random batch differs from the unbroken one."""
    cases = {seed: draw(seed) for seed in seeds}
    ours, theirs = context.Pipe()
    first, second = context.Pipe()
    start_server()
    processes = [
        context.Process(target=_lead, args=(cases, folder, theirs, first)),
        context.Process(target=_follow, args=(folder, second)),
    ]
    for process in processes:
        process.start()
    for end in (theirs, first, second):
        end.close()  # so that the death of a process is noticed
    try:
        assert ours.poll(_SECONDS), "a process has ended or waits for the other"
        found: dict[int, list[str]] = ours.recv()
        for process in processes:
            process.join(30)
        assert [process.exitcode for process in processes] == [0] * RANKS
        return found
    finally:
        for process in processes:
            process.kill()


def _lead(cases: dict[int, Plans], folder: Path, answer: Connection, other: Connection) -> None:
    """Train as rank 0, and tell rank 1 what to train."""
    _prepare(0)
    found: dict[int, list[str]] = {}

    def together(where: Path, plans: Plans, cuts: tuple[int, ...] = ()) -> Outcome:
        return run(where, plans, cuts, before=lambda segment, start: _meet(other, (where, plans, segment, start)))

    for seed, plans in cases.items():
        whole = together(folder / f"{seed}/whole", plans)
        cut = random.Random(seed).randrange(1, whole.batches)
        found[seed] = compared(whole, together(folder / f"{seed}/cut", plans, (cut,)))
        found[seed] += [] if whole.batches > 1 else ["it has one batch"]
    other.send(None)
    answer.send(found)


def _meet(other: Connection, segment: tuple[Any, ...]) -> None:
    """Let rank 1 train the same segment, and find it through a file that no other segment uses."""
    other.send(segment)
    _find_in(segment[0], segment[2])


def _follow(folder: Path, leader: Connection) -> None:
    """Train as rank 1 what rank 0 says."""
    from orchestrator.training import fit

    _prepare(1)
    while (segment := leader.recv()) is not None:
        where, plans, number, start = segment
        _find_in(where, number)
        fit(job(where, plans, number, start), _never, interim=_never)


def _never(reported: object) -> Any:
    raise AssertionError("rank 1 reports or saves")


def _find_in(where: Path, segment: int) -> None:
    where.mkdir(parents=True, exist_ok=True)
    os.environ["SWEEP_RENDEZVOUS_FILE"] = str(where / f"meeting-{segment}")


def _prepare(rank: int) -> None:
    from orchestrator.training import interim_saves
    from orchestrator.training.process_group import environment
    from orchestrator.training.rendezvous import one_host_environment

    warnings.simplefilter("ignore")
    os.environ.update(environment(rank, RANKS, "127.0.0.1", 0) | one_host_environment(""))
    interim_saves._POLL_SECONDS = 0.0  # both agree after each batch whether to stop
