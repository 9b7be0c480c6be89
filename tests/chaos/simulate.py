"""Sweeps by the thousand in the simulator, each with its own mix of faults, held to what is promised of them.

python -m tests.chaos.simulate --seeds 20000            prints what was injected and found; exit 1 with a violation
python -m tests.chaos.simulate --first 17 --seeds 1 --verbose      replays one
python -m tests.chaos.simulate --scale 100000           cost per event as a sweep grows
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from random import Random
from statistics import median
from typing import Any

from orchestrator.engine.curves import synthetic
from orchestrator.engine.simulate import Simulated, events, simulate
from orchestrator.engine.virtual import Faults
from orchestrator.errors import JournalError
from orchestrator.journal import Event
from orchestrator.results.verify import replay
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState

SPACE: dict[str, Any] = {
    "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "model.width": {"int": [1, 64]},
    "model.optimizer": {"choice": ["sgd", "adam"]},
    "model.momentum": {"uniform": [0.0, 0.99], "when": {"model.optimizer": "sgd"}},
}
GRID: dict[str, Any] = {"model.width": {"int": [1, 3]}, "model.optimizer": {"choice": ["sgd", "adam"]}}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "fifo": {"name": "fifo"},
    "frontier": {"name": "frontier", "reduction_factor": 2},
    "asha 2": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "asha 3": {"name": "asha", "grace_epochs": 2, "reduction_factor": 3},
    "asha promote": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2, "promote": True},
}
SEARCHERS: dict[str, Any] = {
    "random": {"name": "random"},
    "grid": {"name": "grid"},
    "sobol": {"name": "sobol"},
    "parzen": {"name": "parzen", "startup_trials": 2},
    "tpe": {"name": "tpe", "startup_trials": 2},
    "try first": {
        "name": "tpe",
        "startup_trials": 2,
        "try_first": [{"model.width": 7}, {"model.optimizer": "sgd", "model.momentum": 0.5}],
    },
    "cmaes": {"name": "cmaes", "population": 4},
    "gp": {"name": "gp", "startup_trials": 2},
    "NSGA-II": {"class_path": "optuna.samplers.NSGAIISampler", "init_args": {"population_size": 3}},
}
SHARES = {
    "random": 660,
    "grid": 270,
    "sobol": 10,
    "parzen": 40,
    "tpe": 20,
    "try first": 20,
    "cmaes": 10,
    "gp": 1,
    "NSGA-II": 9,
}
SLOW = frozenset(SHARES) - {"random", "grid"}
PATIENCE_SEEDS = 250  # in one task of a process


@dataclass(frozen=True)
class Case:
    """What is simulated under one seed."""

    seed: int
    searcher: str
    scheduler: str
    trials: int
    epochs: int
    slots: int
    faults: Faults

    @classmethod
    def of(cls, seed: int) -> Case:
        rng = Random(seed)
        searcher = rng.choices(list(SHARES), list(SHARES.values()))[0]
        scheduler = rng.choice(list(SCHEDULERS))
        trials, epochs = (min(rng.randint(3, top), rng.randint(3, top)) for top in (8, 9))  # mostly small
        trials = min(trials, 4) if searcher == "gp" else trials  # each of its suggestions takes long
        return cls(seed, searcher, scheduler, trials, epochs, rng.randint(1, 4), Faults.mixed(rng))

    @property
    def spec(self) -> SweepSpec:
        return spec(self.searcher, self.scheduler, self.trials, self.epochs)

    @property
    def reference(self) -> Simulated:
        return unbroken(self.searcher, self.scheduler, self.trials, self.epochs)

    def run(self) -> Simulated:
        return simulate(self.spec, curve=curve, slots=self.slots, seed=self.seed, faults=self.faults)


@cache
def spec(searcher: str, scheduler: str, trials: int, epochs: int) -> SweepSpec:
    return from_mapping(
        {
            "name": "simulated",
            "seed": trials,
            "objective": {"metric": "val_acc", "mode": "max" if epochs % 2 else "min"},
            "model": "nowhere.Never",
            "trainer": {"max_epochs": epochs},
            "space": GRID if searcher == "grid" else SPACE,
            "searcher": SEARCHERS[searcher],
            "scheduler": SCHEDULERS[scheduler],
            "budget": {"trials": trials},
            "checkpoints": {"keep_top": 2} | ({"quota": 5000} if trials == 5 else {}),
        }
    )


@cache
def unbroken(searcher: str, scheduler: str, trials: int, epochs: int) -> Simulated:
    """The same sweep with one worker and no fault."""
    return simulate(spec(searcher, scheduler, trials, epochs), curve=curve)


_smooth = synthetic("val_acc", "max")


def curve(params: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """The synthetic curve, and for some parameters not a number at some epoch."""
    metrics = _smooth(params, epoch)
    draw = zlib.crc32(repr(sorted(params.items())).encode())
    if draw % 12 == 0 and epoch == 1 + draw % 5:
        metrics["val_acc"] = math.nan if draw % 24 else math.inf
    return metrics


def violations(case: Case, ran: Simulated) -> Iterator[str]:
    """Every promise that was broken, as a sentence."""
    yield from ran.violations
    yield from replay(case.spec, ran.events)
    if repr(vars(ran.live)) != repr(vars(ran.state)):
        yield "the state of the last driver is not what its journal says"
    yield from _budget(case, ran)
    if case.seed % 4 == 0:  # it reads the whole journal once more
        yield from _damage(case, ran)
    touched = any(event["rule"] == "request" for event in ran.events if event.type == "trial.stopped")
    touched = touched or any(event.type == "trial.failed" for event in ran.events)
    if touched:
        return
    if case.slots == 1 and story(ran.events) != story(case.reference.events):
        yield from _differences(story(ran.events), story(case.reference.events))
    if case.searcher == "random" and case.scheduler == "fifo" and ranking(ran) != ranking(case.reference):
        yield f"the ranking is {ranking(ran)}, unbroken {ranking(case.reference)}"


def _budget(case: Case, ran: Simulated) -> Iterator[str]:
    state = ran.state
    expected = min(case.trials, case.spec.space.grid_size) if case.searcher == "grid" else case.trials
    ended = Counter(
        event["trial"] for event in ran.events if event.type in ("trial.finished", "trial.stopped", "trial.failed")
    )
    retried = Counter(event["trial"] for event in ran.events if event.type == "trial.retried")
    if state.status != "completed" or len(state.trials) != expected:
        yield f"the sweep is {state.status} with {len(state.trials)} trials of {expected}"
    for number in state.trials:
        if ended[number] != 1 + retried[number]:
            yield f"trial {number} has {ended[number]} terminal records and {retried[number]} retries"


def _damage(case: Case, ran: Simulated) -> Iterator[str]:
    """One flipped bit anywhere is an error; in the last newline it is a torn write."""
    draw = Random(case.seed).randrange(8 * len(ran.journal))
    content = bytearray(ran.journal)
    content[draw // 8] ^= 1 << draw % 8
    try:
        found = len(events(bytes(content)))
    except JournalError:
        return
    if draw // 8 != len(content) - 1 or found != len(ran.events) - 1:
        yield f"bit {draw} of the journal was flipped, and {found} records were read"


def story(events: list[Event]) -> dict[tuple[Any, ...], Any]:
    """What was suggested, reported and decided; how often it was interrupted is no part of it."""
    told: dict[tuple[Any, ...], Any] = {}
    for event in events:
        if event.type == "trial.suggested":
            told["suggested", event["trial"]] = event["params"]
        elif event.type == "segment.reported":
            told["reported", event["trial"], event["epoch"]] = event["metrics"]
        elif event.type == "trial.stopped":
            told["ended", event["trial"]] = (event["epoch"], event["rule"], event["why"])
        elif event.type in ("trial.set_aside", "trial.promoted"):
            told[event.type, event["trial"], event["why"]["rung"]] = event["why"]
        elif event.type == "trial.finished":
            told["ended", event["trial"]] = event["epoch"]
    return told


def _differences(found: dict[tuple[Any, ...], Any], expected: dict[tuple[Any, ...], Any]) -> Iterator[str]:
    for key in sorted(found.keys() | expected.keys(), key=str):
        if found.get(key) != expected.get(key):
            yield f"{key} is {found.get(key)}, in the unbroken sweep {expected.get(key)}"


def ranking(ran: Simulated) -> list[tuple[int, float | None]]:
    objective = ran.state.objective
    best = ((trial.number, objective.best(trial)) for trial in ran.state.ranking())
    return [(number, found.value if found else None) for number, found in best]


@dataclass
class Tally:
    """What came of some seeds."""

    counters: Counter[str]
    found: list[tuple[int, str]]


def tally(seeds: range) -> Tally:
    gc.set_threshold(50_000)
    counters, found = Counter[str](), []
    for seed in seeds:
        case = Case.of(seed)
        try:
            ran = case.run()
        except Exception as error:
            found.append((seed, f"{type(error).__name__}: {error}"))
            continue
        counters.update(ran.counters)
        counters.update({"records": len(ran.events), f"searcher {case.searcher}": 1})
        found += [(seed, what) for what in violations(case, ran)]
    return Tally(counters, found)


def many(first: int, seeds: int, processes: int) -> Tally:
    """All of them, in several processes."""
    whole = Tally(Counter(), [])
    parts = [
        range(start, min(start + PATIENCE_SEEDS, first + seeds))
        for start in range(first, first + seeds, PATIENCE_SEEDS)
    ]
    if processes == 1 or len(parts) == 1:
        results = map(tally, parts)
        return _merged(whole, results)
    with ProcessPoolExecutor(processes) as pool:
        return _merged(whole, pool.map(tally, parts))


def _merged(whole: Tally, parts: Any) -> Tally:
    for part in parts:
        whole.counters.update(part.counters)
        whole.found += part.found
    return whole


def verbose(seed: int) -> None:
    """One seed's case, its journal and what is wrong with it."""
    case = Case.of(seed)
    print(case)
    ran = case.run()
    for event in ran.events:
        print(event.seq, event.lease, event.type, {k: v for k, v in event.fields.items() if k != "spec"})


def scale(trials: int) -> bool:
    """Time per event for each tenth of one large sweep, for random search with three schedulers; True if flat.

    Of each tenth the median over a hundred stretches counts: a busy machine makes some of them slow.
    """
    good = True
    for scheduler in ("fifo", "asha 2", "frontier"):
        large = from_mapping(
            spec("random", scheduler, 3, 1).model_dump(mode="json")
            | {"space": {"model.learning_rate": SPACE["model.learning_rate"]}, "budget": {"trials": trials}}
        )
        marks: list[tuple[int, float]] = []
        every = max(1, trials // 1000)

        def note(state: SweepState, event: Event, marks: list[tuple[int, float]] = marks, every: int = every) -> None:
            if event.type == "trial.suggested" and event["trial"] % every == 0:
                marks.append((event.seq, time.process_time()))

        ran = simulate(large, slots=4, observer=note)
        costs = [(after[1] - before[1]) / (after[0] - before[0]) * 1e6 for before, after in pairwise(marks)]
        tenths = [median(costs[len(costs) * n // 10 : len(costs) * (n + 1) // 10]) for n in range(10)]
        print(f"random, {scheduler}: {' '.join(f'{cost:.0f}' for cost in tenths)} µs per event in each tenth")
        size = len(ran.journal) / trials
        print(f"  {size:.0f} bytes of journal per trial")
        good = good and tenths[-1] <= 1.5 * tenths[0] and (size <= 1024 or scheduler != "fifo")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--scale", type=int, default=0)
    given = parser.parse_args()
    if given.scale:
        return 0 if scale(given.scale) else 1
    if given.verbose:
        verbose(given.first)
    started = time.perf_counter()
    whole = many(given.first, given.seeds, given.processes)
    seconds = time.perf_counter() - started
    for name, count in sorted(whole.counters.items()):
        print(f"{count:10d}  {name}")
    print(f"{given.seeds} seeds in {seconds:.1f} s: {len(whole.found)} violations")
    for seed, what in whole.found[:20]:
        print(f"seed {seed}: {what}")
    if whole.found:
        seed = whole.found[0][0]
        print(f"replay: python -m tests.chaos.simulate --first {seed} --seeds 1 --verbose", file=sys.stderr)
    return 1 if whole.found else 0


if __name__ == "__main__":
    sys.exit(main())
