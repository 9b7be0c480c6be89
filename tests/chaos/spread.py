"""Seeds spread over processes, and what they found put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple, TypeVar

T = TypeVar("T")
P = TypeVar("P")


class Tally(NamedTuple):
    """What came of some seeds: how often what was met, and of each seed where something is wrong, what."""

    counters: Counter[str]
    found: list[tuple[int, str]]


def processes_of(count: int) -> ProcessPoolExecutor:
    """New ones: a fork of a process in which Ray or torch has threads may wait forever for a lock."""
    return ProcessPoolExecutor(count, mp_context=get_context("spawn"))


def spread(work: Callable[[P], T], parts: list[P], processes: int) -> Iterator[T]:
    """The work on each part, in order; in this process where one is enough."""
    if processes == 1 or len(parts) == 1:
        yield from map(work, parts)
        return
    with processes_of(processes) as pool:
        yield from pool.map(work, parts)


def parts_of(first: int, seeds: int, together: int) -> list[range]:
    return [range(at, min(at + together, first + seeds)) for at in range(first, first + seeds, together)]


def tallied(tally: Callable[[range], Tally], parts: list[range], processes: int) -> Tally:
    whole = Tally(Counter(), [])
    for part in spread(tally, parts, processes):
        whole.counters.update(part.counters)
        whole.found.extend(part.found)
    return whole
