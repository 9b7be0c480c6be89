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
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from itertools import pairwise
from random import Random
from statistics import median
from typing import Any

from orchestrator.engine.learning_curves import synthetic
from orchestrator.errors import JournalError
from orchestrator.journal import Event
from orchestrator.policies.distinct import distinct_trials
from orchestrator.policies.extend_limits import More
from orchestrator.policies.warm_start import warmth
from orchestrator.progress import COUNTER, EPOCHS
from orchestrator.results.verify import replay
from orchestrator.seeds import derive_seed
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.testing import Faults, Simulated, events, simulate
from tests.chaos.spread import Tally, parts_of, tallied

SPACE: dict[str, Any] = {
    "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "model.width": {"int": [1, 64]},
    "model.optimizer": {"choice": ["sgd", "adam"]},
    "model.momentum": {"uniform": [0.0, 0.99], "when": {"model.optimizer": "sgd"}},
}
RACED: dict[str, Any] = {"model.width": {"int": [1, 64]}, "model.optimizer": {"choice": ["sgd", "adam"]}}
GRID: dict[str, Any] = {"model.width": {"int": [1, 3]}, "model.optimizer": {"choice": ["sgd", "adam"]}}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "fifo": {"name": "fifo"},
    "frontier": {"name": "frontier", "reduction_factor": 2},
    "asha 2": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "asha 3": {"name": "asha", "grace_epochs": 2, "reduction_factor": 3},
    "median": {"name": "median", "min_trials": 2},
    "patience": {"name": "patience", "epochs": 2},
    "hyperband": {"name": "hyperband", "reduction_factor": 2},
    "pbt": {"name": "pbt", "interval_epochs": 2, "quantile": 0.5, "mutate": ["model.width", "model.optimizer"]},
    "pb2": {"name": "pb2", "interval_epochs": 1, "quantile": 0.5, "mutate": ["model.width", "model.optimizer"]},
    "asha promote": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2, "promote": True},
}
SEARCHERS: dict[str, Any] = {
    "random": {"name": "random"},
    "grid": {"name": "grid"},
    "sobol": {"name": "sobol"},
    "parzen": {"name": "parzen", "startup_trials": 2},
    "tpe": {"name": "tpe", "startup_trials": 2},
    "bohb": {"name": "bohb"},
    "try first": {
        "name": "tpe",
        "startup_trials": 2,
        "try_first": [{"model.width": 7}, {"model.optimizer": "sgd", "model.momentum": 0.5}],
    },
    "cmaes": {"name": "cmaes", "population": 4},
    "gp": {"name": "gp", "startup_trials": 2},
    "NSGA-II": {"class_path": "optuna.samplers.NSGAIISampler", "init_args": {"population_size": 3}},
    "two objectives": {"name": "nsga2", "population": 3},
    "race": {
        "name": "race",
        "points": [{"model.width": width, "model.optimizer": "adam"} for width in (2, 9)],
        "spares": [{"point": {"model.width": 7, "model.optimizer": "adam"}, "behind": 0.01}],
    },
}
TAKING_OVER = frozenset({"pbt", "pb2"})


@dataclass(frozen=True)
class Measure:
    """What progress is measured in, how much of it lies between two reports, and whether these are irregular."""

    unit: str = EPOCHS
    span: float = 1
    irregular: bool = True

    def place(self, params: Mapping[str, Any], number: int) -> float:
        """Return where a trial reports for the n-th time, in spans: up to half a span from the n-th."""
        if not self.irregular:
            return number
        drawn = Random(derive_seed(7, "place", repr(sorted(params.items())), number))
        return number + drawn.uniform(-0.45, 0.45)

    def amounts(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return options or a budget, which are given in epochs, in this unit."""
        if self == MEASURES["epochs"]:
            return dict(fields)
        is_scheduler = "name" in fields
        names = _IN_ANY_UNIT | {"epochs": "patience" if is_scheduler else self.unit}
        spans = {names[key]: value * self.span for key, value in fields.items() if key in names}
        if not is_scheduler and self.unit == EPOCHS:  # a budget counts whole ones
            spans = {key: math.ceil(value) for key, value in spans.items()}
        return {key: value for key, value in fields.items() if key not in names} | spans

    def training(self, epochs: int) -> dict[str, Any]:
        """Return the parts of a spec that say how long and how often a trial trains."""
        if not self.irregular:
            return {"trainer": {"max_epochs": epochs}}
        if self.unit == EPOCHS:
            return {"trainer": {"max_epochs": math.ceil(epochs * self.span), "val_check_interval": self.span}}
        return {"progress": {"unit": self.unit, "every": self.span, "until": epochs * self.span}}


_IN_ANY_UNIT = {"grace_epochs": "grace", "interval_epochs": "interval"}
MEASURES = {
    "epochs": Measure(irregular=False),
    "within epochs": Measure(EPOCHS, 0.25),  # after an extension two reports are up to 2.9 spans apart
    "steps": Measure("steps", 50),
    "samples": Measure("samples", 1600),
    "seconds": Measure("seconds", 12.5),
    "counter": Measure(f"{COUNTER}tokens", 20_000),
}


def drawn_measure(seed: int) -> str:
    """Return the measure of a seed: one report an epoch if it is even, else irregular places in one of the others."""
    return Random(f"measure {seed}").choice(list(MEASURES)[1:]) if seed % 2 else "epochs"


SHARES = {
    "random": 640,
    "parzen": 20,
    "grid": 260,
    "sobol": 10,
    "bohb": 10,
    "tpe": 20,
    "try first": 20,
    "cmaes": 10,
    "gp": 1,
    "NSGA-II": 5,
    "two objectives": 5,
    "race": 10,
}
BUDGETS: dict[str, dict[str, Any]] = {
    "": {},
    "epochs": {"epochs": 11},
    "reserve": {"epochs": 16, "reserve": 0.4},
    "target": {"target": 0.72},
    "gpu hours": {"gpu_hours": 9 / 3600},
    "cost": {"cost": 0.01, "epochs": 19},
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
    budget: str = ""
    more: More | None = None
    warm: bool = False
    measure: str = "epochs"

    @classmethod
    def of(cls, seed: int) -> Case:
        rng = Random(seed)
        searcher = rng.choices(list(SHARES), list(SHARES.values()))[0]
        scheduler = rng.choices(list(SCHEDULERS), [1 if name == "pb2" else 10 for name in SCHEDULERS])[0]
        trials, epochs = (min(rng.randint(3, top), rng.randint(3, top)) for top in (8, 9))  # mostly small
        trials = min(trials, 4) if searcher == "gp" else trials  # each of its suggestions takes long
        slots, faults = rng.randint(1, 4), Faults.mixed(rng)
        faults = replace(faults, promote=0.1) if seed % 5 == 1 else faults
        faults = replace(faults, interim=0.5) if seed % 3 == 0 else faults
        budget, extended = rng.choice([*BUDGETS, *[""] * 9]), rng.random() < 0.1
        more = More(rng.randint(0, 3), rng.randint(0, 4), 0.0, BUDGETS[budget]) if extended else None
        if more and "reserve" in more.budget:
            more = replace(more, budget={"epochs": 20})
        if more and scheduler in (*TAKING_OVER, "hyperband"):  # they have shared out the epochs, and the population
            more = replace(more, epochs=0, trials=more.trials if scheduler == "hyperband" else 0)
        warm = searcher in SLOW - {"sobol"} and rng.random() < 0.3
        case = cls(seed, searcher, scheduler, trials, epochs, slots, faults, budget, more, warm)
        return case._measured_in(drawn_measure(seed))

    def _measured_in(self, name: str) -> Case:
        """Return the same case in another unit. Of a counter there is no budget."""
        measure, more = MEASURES[name], self.more
        if not measure.irregular:
            return self
        budget = "" if measure.unit.startswith(COUNTER) and "epochs" in BUDGETS[self.budget] else self.budget
        if more:
            added = measure.amounts(more.budget) if budget or not self.budget else {}
            more = replace(more, epochs=0, progress=more.epochs * measure.span, budget=added)
        return replace(self, budget=budget, more=more, measure=name)

    @property
    def spec(self) -> SweepSpec:
        return spec(self.searcher, self.scheduler, self.trials, self.epochs, self.budget, self.measure)

    @property
    def reference(self) -> Simulated:
        plain = (self.searcher, self.scheduler, self.trials, self.epochs, self.budget, self.measure)
        if self.more or self.warm:
            place = MEASURES[self.measure].place
            return simulate(self.spec, curve=curve, more=self.more, warm=self.earlier, places=place)
        return unbroken(*plain)

    @property
    def earlier(self) -> dict[str, Any] | None:
        """What sweeps of the same space and of another one found before, in this one's terms."""
        if not self.warm:
            return None
        mode = self.spec.objective.mode
        return warmth(self.spec, [(name, _before(name, mode)) for name in ("same", "other")])

    def run(self) -> Simulated:
        return simulate(
            self.spec,
            curve=curve,
            slots=self.slots,
            seed=self.seed,
            faults=self.faults,
            more=self.more,
            warm=self.earlier,
            places=MEASURES[self.measure].place,
        )


@lru_cache(maxsize=512)
def spec(
    searcher: str, scheduler: str, trials: int, epochs: int, budget: str = "", measure: str = "epochs"
) -> SweepSpec:
    several, race, measured = searcher == "two objectives", searcher == "race", MEASURES[measure]
    repeated = trials == 6 and scheduler not in TAKING_OVER and not several and not race
    return from_mapping(
        {
            "name": "simulated",
            "seed": trials,
            "objective": {"metric": "val_acc", "mode": "max" if epochs % 2 else "min"}
            | ({"also": [{"metric": "size", "mode": "min"}]} if several else {}),
            "model": "nowhere.Never",
            "space": GRID if searcher == "grid" else RACED if race else SPACE,
            "searcher": SEARCHERS[searcher],
            "scheduler": "fifo" if race else measured.amounts(SCHEDULERS[scheduler]),
            "budget": {"trials": trials} | measured.amounts(BUDGETS[budget]),
            "resources": {"gpus": 0.5, "price": 2.5},
            "repeats": {"seeds": 2, "rank_by": "lower_bound"} if repeated else 1,
            "constraints": [{"metric": "val_acc", "min": 0.15}] if trials == 7 else [],
            "checkpoints": {"keep_top": 2} | ({"quota": 5000} if trials == 5 else {}),
            **measured.training(epochs),
        }
    )


@lru_cache(maxsize=512)
def unbroken(searcher: str, scheduler: str, trials: int, epochs: int, budget: str, measure: str) -> Simulated:
    """The same sweep with one worker and no fault."""
    described = spec(searcher, scheduler, trials, epochs, budget, measure)
    return simulate(described, curve=curve, places=MEASURES[measure].place)


@cache
def _before(name: str, mode: str) -> SweepState:
    epochs, space = 4 + (mode == "max"), SPACE if name == "same" else {"model.width": {"int": [1, 128]}}
    written = spec("random", "asha 2", 6, epochs).model_dump(mode="json")
    return simulate(from_mapping(written | {"space": space}), curve=curve).state


_smooth = synthetic("val_acc", "max")


def curve(params: Mapping[str, Any], spans: float) -> dict[str, float]:
    """The synthetic curve and a size, and for some parameters not a number at some report."""
    metrics = _smooth(params, spans) | {"size": float(params.get("model.width", 1))}
    draw = zlib.crc32(repr(sorted(params.items())).encode())
    if draw % 12 == 0 and round(spans) == 1 + draw % 5:
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
    touched = any(event["rule"] == "request" for event in ran.events if event.fields.get("rule"))
    touched = touched or any(event.type == "trial.failed" for event in ran.events)
    if touched or _paid_more(case, ran):
        return
    # After a takeover, a trial whose checkpoints were damaged does with its new parameters what it did with the old.
    redone = case.scheduler in TAKING_OVER and ran.counters["damage"]
    if case.slots == 1 and not redone and story(ran.events) != story(case.reference.events):
        yield from _differences(story(ran.events), story(case.reference.events))
    if (case.searcher, case.scheduler, case.budget) == ("random", "fifo", "") and ranking(ran) != ranking(
        case.reference
    ):
        yield f"the ranking is {ranking(ran)}, unbroken {ranking(case.reference)}"


def _paid_more(case: Case, ran: Simulated) -> bool:
    """Whether the budget went into training that an unbroken sweep does once, or may have gone into lost time.

    A trial that is brought back, and has lost its checkpoint, is compared at its rungs with others than before.
    """
    if case.more and ran.counters["damage"]:
        return True
    budget = BUDGETS[case.budget]
    if "cost" in budget or "gpu_hours" in budget or "epochs" not in budget:
        return "cost" in budget or "gpu_hours" in budget
    once = sum(max(trial.reports, default=0) for trial in ran.state.trials.values())
    return not math.isclose(ran.state.trained[MEASURES[case.measure].unit], once, abs_tol=1e-6)


def _budget(case: Case, ran: Simulated) -> Iterator[str]:
    state = ran.state
    expected = state.spec["budget"]["trials"]
    if case.searcher == "grid":
        expected = min(expected, case.spec.space.grid_size * case.spec.repeats.seeds)
    if (limit := distinct_trials(case.spec)) is not None:
        expected = min(expected, limit)
    ended = Counter(
        event["trial"] for event in ran.events if event.type in ("trial.finished", "trial.stopped", "trial.failed")
    )
    again = Counter(event["trial"] for event in ran.events if event.type == "trial.retried")
    again += Counter(trial for event in ran.events if event.type == "sweep.extended" for trial in event["trials"])
    short = (state.reason.startswith("budget.") or state.racing) and len(state.trials) <= expected
    if state.status != "completed" or not (short or len(state.trials) == expected):
        yield f"the sweep is {state.status} with {len(state.trials)} trials of {expected}"
    for number in state.trials:
        if ended[number] != 1 + again[number]:
            yield f"trial {number} has {ended[number]} terminal records, and was brought back {again[number]} times"


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
            told["reported", event["trial"], event.progress] = event["metrics"]
        elif event.type == "trial.stopped":
            told["ended", event["trial"]] = (event.progress, event["rule"], event["why"])
        elif event.type in ("trial.set_aside", "trial.promoted"):
            told[event.type, event["trial"], event["why"]["rung"]] = event["why"]
        elif event.type == "trial.finished":
            told["ended", event["trial"]] = event.progress
    return told


def _differences(found: dict[tuple[Any, ...], Any], expected: dict[tuple[Any, ...], Any]) -> Iterator[str]:
    for key in sorted(found.keys() | expected.keys(), key=str):
        if found.get(key) != expected.get(key):
            yield f"{key} is {found.get(key)}, in the unbroken sweep {expected.get(key)}"


def ranking(ran: Simulated) -> list[tuple[int, float | None]]:
    objective = ran.state.objective
    best = ((trial.number, objective.best(trial)) for trial in ran.state.ranking())
    return [(number, found.value if found else None) for number, found in best]


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
        counters.update({"records": len(ran.events), f"searcher {case.searcher}": 1, f"ended: {ran.state.reason}": 1})
        counters.update({f"measured in {case.measure}": 1})
        counters.update({"extended": sum(event.type == "sweep.extended" for event in ran.events)})
        counters.update({"warmed": bool(ran.state.warm_start_trials)})
        found += [(seed, what) for what in violations(case, ran)]
    return Tally(counters, found)


def many(first: int, seeds: int, processes: int) -> Tally:
    """All of them, in several processes."""
    return tallied(tally, parts_of(first, seeds, PATIENCE_SEEDS), processes)


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
