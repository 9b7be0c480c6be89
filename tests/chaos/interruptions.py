"""Simulated sweeps whose driver dies after every single report, each compared with the same sweep unbroken.

python -m tests.chaos.interruptions --seeds 2000        exit 1 with a difference
python -m tests.chaos.interruptions --first 17 --seeds 1 --verbose      replays one
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from random import Random

from orchestrator.journal import Event
from orchestrator.results.verify import replay
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState
from orchestrator.testing import Crash, Faults, Simulated, simulate
from tests.chaos.simulate import MEASURES, SCHEDULERS, SEARCHERS, SHARES, TAKING_OVER, curve, drawn_measure, spec, story
from tests.chaos.spread import Tally, parts_of, tallied

PAIRS = list(product(SEARCHERS, SCHEDULERS))
OFTEN = 5  # mean share of a searcher that SHARES does not name
TOGETHER = 50  # seeds in one task of a process
ENOUGH = Faults(deaths=10_000)  # none but the deaths that the observer brings


@dataclass(frozen=True)
class Case:
    """What is simulated under one seed: the first ones take every searcher with every scheduler in turn."""

    searcher: str
    scheduler: str
    trials: int
    epochs: int
    seed: int
    measure: str = "epochs"

    @classmethod
    def of(cls, seed: int) -> Case:
        rng = Random(seed)
        if seed < len(PAIRS):
            searcher, scheduler = PAIRS[seed]
        else:
            searcher = rng.choices(list(SEARCHERS), [SHARES.get(name, OFTEN) for name in SEARCHERS])[0]
            scheduler = rng.choice(list(SCHEDULERS))
        return cls(
            searcher,
            scheduler,
            3 if searcher == "gp" else rng.choice((3, 3, 4, 5, 6)),
            rng.choice((3, 3, 4) if scheduler in TAKING_OVER else (2, 2, 3, 3, 4)),
            seed,
            drawn_measure(seed),
        )

    @property
    def spec(self) -> SweepSpec:
        described = spec(self.searcher, self.scheduler, self.trials, self.epochs, measure=self.measure)
        return described.model_copy(update={"seed": self.seed})


def dies(state: SweepState, event: Event) -> None:
    """The driver's end, once a report is journaled and before it is judged."""
    if event.type == "segment.reported":
        raise Crash


def interrupted(case: Case) -> Simulated:
    """One worker, and a driver that dies after each report."""
    place = MEASURES[case.measure].place
    return simulate(case.spec, curve=curve, seed=case.seed, faults=ENOUGH, observer=dies, places=place)


def differences(case: Case) -> Iterator[str]:
    """What is not as in the unbroken sweep, as sentences."""
    broken, whole = interrupted(case), simulate(case.spec, curve=curve, places=MEASURES[case.measure].place)
    told, expected = story(broken.events), story(whole.events)
    for key in sorted(told.keys() | expected.keys(), key=str):
        if told.get(key) != expected.get(key):
            yield f"{key} is {told.get(key)}, in the unbroken sweep {expected.get(key)}"
    reports = sum(event.type == "segment.reported" for event in whole.events)
    if broken.events[-1].lease != reports + 1:
        yield f"{broken.events[-1].lease - 1} interruptions, where there are {reports} reports"
    yield from broken.violations
    if case.seed % 4 == 0:  # it reads the whole journal once more
        yield from replay(case.spec, broken.events)


def tally(seeds: range) -> Tally:
    gc.set_threshold(50_000)
    met, found = Counter[str](), []
    for seed in seeds:
        case = Case.of(seed)
        met[f"{case.searcher} with {case.scheduler}"] += 1
        try:
            found += [(seed, what) for what in differences(case)]
        except Exception as error:
            found.append((seed, f"{type(error).__name__}: {error}"))
    return Tally(met, found)


def many(first: int, seeds: int, processes: int) -> Tally:
    """All of them, in several processes."""
    return tallied(tally, parts_of(first, seeds, TOGETHER), processes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    if given.verbose:
        case = Case.of(given.first)
        print(case)
        for event in interrupted(case).events:
            print(event.seq, event.lease, event.type, {k: v for k, v in event.fields.items() if k != "spec"})
    started = time.perf_counter()
    met, found = many(given.first, given.seeds, given.processes)
    for name, count in sorted(met.items()):
        print(f"{count:10d}  {name}")
    print(f"{given.seeds} sweeps in {time.perf_counter() - started:.1f} s: {len(found)} differences")
    for seed, what in found[:20]:
        print(f"seed {seed}: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
