"""Random histories by the hundred thousand, ranked by the state and by an oracle that reads the raw events.

python -m tests.chaos.rankings --seeds 100000           exit 1 with a disagreement
python -m tests.chaos.rankings --first 17 --seeds 1 --verbose      replays one
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from random import Random
from typing import Any

from orchestrator.journal import Event
from orchestrator.state import SweepState
from tests.chaos.spread import Tally, parts_of, tallied

METRIC = "val"
LEVELS = (0.0, -0.0, 0.25, 0.5, 0.5, 1, -3)  # few, so that there are ties
FAR = (1e308, -1e308, 5e-324)  # no means can be made of these
ODD = ("nan", "inf", "-inf", math.nan, math.inf, -math.inf, "infinity", "NaN")
TOGETHER = 5_000  # seeds in one task of a process
Told = tuple[str, dict[str, Any]]


@dataclass
class History:
    """What a seed stands for: a sweep's events, and in ``met`` how often each kind of trouble is in them."""

    events: list[Event] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)

    def add(self, type: str, fields: dict[str, Any]) -> None:
        self.events.append(Event(len(self.events), 1, 0.0, type, fields))

    @property
    def mode(self) -> str:
        return str(self.events[0]["spec"]["objective"]["mode"])

    @property
    def repeats(self) -> dict[str, Any]:
        return dict(self.events[0]["spec"]["repeats"])


def history(seed: int) -> History:
    """A few trials, their lives interleaved at random."""
    rng, made = Random(seed), History()
    objective = {"metric": METRIC, "mode": rng.choice(("min", "max"))}
    repeats: dict[str, Any] = {"seeds": rng.choice((1, 1, 1, 2, 3)), "rank_by": rng.choice(("mean", "lower_bound"))}
    seeds, levels = repeats["seeds"], LEVELS if repeats["seeds"] > 1 else LEVELS + FAR
    spec: dict[str, Any] = {"objective": objective, "repeats": repeats}
    if rng.random() < 0.3:
        made.met["constrained"] += 1
        bound = {"metric": rng.choice(("other", METRIC)), rng.choice(("min", "max")): rng.choice((0.25, 0.5))}
        spec["constraints"] = [bound, *([{"metric": "other", "max": 1.0}] if rng.random() < 0.5 else [])]
    made.add("sweep.created", {"spec": spec})
    made.add("sweep.launched", {"slots": 4})
    made.met[f"{seeds} seeds"] += 1
    left, lives = rng.randint(1, 5) if seeds == 1 else rng.randint(2, 6), list[Iterator[Told]]()
    number = 0
    while left or lives:
        if left and (not lives or rng.random() < 0.3):
            again = {"repeats": number - number % seeds} if number % seeds else {}
            made.add("trial.suggested", {"trial": number, "params": {}, "by": "random", **again})
            lives.append(life(rng, number, levels, made.met))
            left, number = left - 1, number + 1
        chosen = rng.randrange(len(lives))
        told = next(lives[chosen], None)
        if told is None:
            del lives[chosen]
        else:
            made.add(*told)
        if rng.random() < 0.02:
            made.met["sweep interrupted"] += 1
            made.add("sweep.launched", {"slots": 4})
    return made


def life(rng: Random, trial: int, levels: Sequence[float], met: Counter[str]) -> Iterator[Told]:
    """A trial's events: segments that do epochs again, errors, ends, another chance after some of them."""
    epoch = 0
    for segment in range(rng.choice((1, 1, 1, 2, 3))):
        here = {"trial": trial, "segment": segment}
        yield "segment.started", {**here, "node": "n", "origin": None}
        again = rng.randint(0, epoch)
        met["epoch done again"] += epoch - again
        epoch = again
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 5))):
            epoch += 1
            yield "segment.reported", {**here, "epoch": epoch, "metrics": metrics(rng, levels, met)}
        how = rng.choice(("finished", "stopped", "failed", "retried", "promoted", "set_aside", "lost", "lost", "runs"))
        met[how] += 1
        yield from _ended(how, {**here, "epoch": epoch})
        if how not in ("retried", "promoted", "lost"):
            return


def _ended(how: str, here: dict[str, Any]) -> Iterator[Told]:
    why = {"rule": "asha", "why": {}}
    failed = {**here, "kind": "user", "message": "", "fingerprint": ""}
    if how in ("failed", "retried", "lost"):
        yield "segment.failed", failed
    if how in ("failed", "retried"):
        yield "trial.failed", {**here, "reason": "user"}
    if how in ("promoted", "set_aside"):
        yield "trial.set_aside", {**here, **why}
    if how in ("retried", "promoted"):
        yield f"trial.{how}", {"trial": here["trial"], **why}
    if how in ("finished", "stopped"):
        yield f"trial.{how}", {**here, **why}


def metrics(rng: Random, levels: Sequence[float], met: Counter[str]) -> dict[str, Any]:
    """One epoch's; the objective may be missing or no number."""
    draw = rng.random()
    if draw < 0.06:
        met["metric missing"] += 1
        return {"other": 0.5}
    if draw < 0.26:
        met["not finite"] += 1
        return {METRIC: rng.choice(ODD), "other": 2.0}
    other = {"other": rng.choice((0.25, 0.5, 1.0, 2.0, "nan", "-inf"))} if rng.random() < 0.8 else {}
    return {METRIC: rng.choice(levels) if draw < 0.8 else rng.uniform(-2.0, 2.0), **other}


@dataclass
class Verdict:
    """What the oracle says of a trial: its value at each epoch, as last reported, and whether it has failed."""

    values: dict[int, float] = field(default_factory=dict)
    failed: bool = False
    ended: bool = False

    def best(self, mode: str, upto: float = math.inf) -> tuple[int, float] | None:
        """(epoch, value) of the best finite epoch, the first of equals."""
        finite = {e: v for e, v in self.values.items() if v - v == 0 and e <= upto}
        if not finite:
            return None
        top = max(finite.values()) if mode == "max" else min(finite.values())
        return min((e, v) for e, v in finite.items() if v == top)


def oracle(events: list[Event]) -> dict[int, Verdict]:
    """Each trial by brute force: for every trial all events are read, and the last word on each epoch holds."""
    bounds = events[0]["spec"].get("constraints", [])
    numbers = [event["trial"] for event in events if event.type == "trial.suggested"]
    found = {number: Verdict() for number in numbers}
    for number, verdict in found.items():
        for event in events:
            if event.fields.get("trial") == number:
                if event.type == "segment.reported":
                    kept = not any(broken(bound, event["metrics"]) for bound in bounds)
                    verdict.values[event["epoch"]] = float(event["metrics"].get(METRIC, "nan")) if kept else math.nan
                elif event.type in ("trial.failed", "trial.retried", "trial.finished", "trial.stopped"):
                    verdict.failed = event.type == "trial.failed"
                    verdict.ended = event.type != "trial.retried"
    return found


def broken(bound: dict[str, Any], metrics: dict[str, Any]) -> bool:
    """Whether an epoch breaks a constraint."""
    if bound["metric"] not in metrics or float(metrics[bound["metric"]]) != float(metrics[bound["metric"]]):
        return True
    value = float(metrics[bound["metric"]])
    return ("max" in bound and value > bound["max"]) or ("min" in bound and value < bound["min"])


def ranked(found: dict[int, Verdict], mode: str, repeats: dict[str, Any]) -> list[int]:
    """Trial numbers, best first: a trial's place is the number of those that come before it."""
    seeds = repeats["seeds"]
    bests = {number: verdict.best(mode) for number, verdict in found.items()}

    @cache
    def together(configuration: int) -> tuple[bool, Fraction | float, float]:
        """Whether a configuration is not whole; what it is ranked by, lower is better, in two parts."""
        all_of_it = [n for n in found if n // seeds == configuration]
        whole = len(all_of_it) == seeds and all(found[n].ended and not found[n].failed and bests[n] for n in all_of_it)
        told = [Fraction(best[1]) for n in all_of_it if not found[n].failed and (best := bests[n])]
        n, mean = len(told), sum(told) / len(told)
        error = math.sqrt(sum((v - mean) ** 2 for v in told) / (n - 1) / n) if n > 1 else 0.0
        return not whole, -mean if mode == "max" else mean, error if repeats["rank_by"] == "lower_bound" else 0.0

    def before(one: int, other: int) -> bool:
        a, b = found[one], found[other]
        if a.failed or b.failed:
            return one < other if a.failed and b.failed else b.failed
        x, y = bests[one], bests[other]
        if x is None or y is None:
            return one < other if x is y else y is None
        if seeds > 1 and one // seeds != other // seeds:
            first, second = together(one // seeds), together(other // seeds)
            if first[0] != second[0]:
                return second[0]
            apart = float(first[1] - second[1]) + first[2] - second[2]
            return one < other if abs(apart) < 1e-12 else apart < 0
        if x[1] == y[1]:
            return one < other
        return x[1] > y[1] if mode == "max" else x[1] < y[1]

    places = {sum(before(other, one) for other in found if other != one): one for one in found}
    return [places[place] for place in range(len(found))]


def disagreements(seed: int, made: History) -> Iterator[str]:
    """Where the state and the oracle differ on a history, as sentences."""
    state, found, mode = SweepState(made.events), oracle(made.events), made.mode
    expected = ranked(found, mode, made.repeats)
    first = expected[0]
    winner = None if found[first].failed or found[first].best(mode) is None else first
    if (listed := [trial.number for trial in state.ranking()]) != expected:
        yield f"the ranking is {listed}, and should be {expected}"
    best_trial = state.winner()
    if (won := best_trial and best_trial.number) != winner:
        yield f"the winner is {won}, and should be {winner}"
    for number, verdict in found.items():
        for upto in (None, seed % 4):
            best = state.objective.best(state.trials[number], upto)
            wanted = verdict.best(mode, math.inf if upto is None else upto)
            if (best and (best.progress, best.value)) != wanted:
                yield f"trial {number} has {best} up to epoch {upto}, and should have {wanted}"


def tally(seeds: range) -> Tally:
    gc.set_threshold(50_000)
    met, found = Counter[str](), []
    for seed in seeds:
        made = history(seed)
        met.update(made.met)
        met[made.mode] += 1
        found += [(seed, what) for what in disagreements(seed, made)]
    return Tally(met, found)


def many(first: int, seeds: int, processes: int) -> Tally:
    """All of them, in several processes."""
    return tallied(tally, parts_of(first, seeds, TOGETHER), processes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    if given.verbose:
        for event in history(given.first).events:
            print(event.seq, event.type, dict(event.fields))
    started = time.perf_counter()
    met, found = many(given.first, given.seeds, given.processes)
    for name, count in sorted(met.items()):
        print(f"{count:10d}  {name}")
    print(f"{given.seeds} histories in {time.perf_counter() - started:.1f} s: {len(found)} disagreements")
    for seed, what in found[:20]:
        print(f"seed {seed}: {what}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
