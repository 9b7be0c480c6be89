"""The frontier: who is set aside and who goes on, against brute force; and whether it sees which rungs to trust."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_local import spec as described
from test_policies import Log
from test_policies import spec as described_without_module

from orchestrator.engine.simulator import simulate
from orchestrator.journal import read
from orchestrator.policies import build_scheduler
from orchestrator.policies.schedulers.frontier import ENDLESS, rung_epochs
from orchestrator.results import why
from orchestrator.results.verify import check, replay
from orchestrator.spec import SweepSpec
from orchestrator.sweep import launch

Curve = Any


class BruteForce:
    """The rules as they are written, worked out anew each time from plain lists of what happened."""

    def __init__(self, rungs: list[int], factor: int, trials: float, sign: int) -> None:
        self.rungs, self.factor, self.left, self.sign = rungs, factor, trials, sign
        self.entered: list[list[tuple[int, float]]] = [[] for _ in rungs]  # (trial, loss), in order
        self.waiting: list[tuple[int, int]] = []  # (rung, trial), in order
        self.passed: set[tuple[int, int]] = set()
        self.controls: set[int] = set()
        self.best: dict[int, float] = {}
        self.losses: dict[tuple[int, int], float] = {}
        self.good_ends: list[tuple[float, int]] = []
        self.new = self.deep = self.control = 0
        self.wanted = max(4, math.floor(min(8, trials / 10)))
        self.ever_ended: set[int] = set()
        self.finished: set[int] = set()

    def agreement(self, rung: int) -> tuple[float, float] | None:
        there = dict(self.entered[rung])
        for later in range(len(self.rungs) - 1, rung, -1):
            seen = sorted((loss, trial) for trial, loss in self.entered[later][-48:])
            latest = range(max(0, self.next_control - 48), self.next_control)
            controls = sorted((loss, trial) for trial, loss in self.entered[later] if trial in latest)
            seen = controls if len(controls) >= 4 else seen
            n = len(seen)
            if n >= 4:
                pairs = [(there[a], there[b]) for (_, a), (_, b) in itertools.combinations(seen, 2)]
                share = statistics.mean(1.0 if a < b else 0.5 if a == b else 0.0 for a, b in pairs)
                return share, math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))) / 2
        return None

    def trusted(self) -> tuple[int, int]:
        for rung in range(len(self.rungs) - 1):
            found = self.agreement(rung)
            if found is None:
                return rung, rung + 1
            if found[0] > 0.5 + found[1]:
                return rung, rung
            unclear = found[0] > 0.5 - found[1]
            if unclear and self.agreement(rung + 1) is None:
                return rung, rung + 1
        return len(self.rungs) - 1, len(self.rungs) - 1

    @property
    def next_control(self) -> int:
        return next(number for number in itertools.count() if number not in self.controls | self.ever_ended)

    def suggested(self) -> None:
        lowest, grace = self.trusted()
        self.left -= 1
        self.new += self.rungs[lowest]
        self.deep += self.rungs[grace] - self.rungs[lowest]

    def reported(self, trial: int, epoch: int, value: float) -> bool:
        """Whether it goes on."""
        if not math.isfinite(value):
            return False
        self.best[trial] = min(self.sign * value, self.best.get(trial, math.inf))
        self.losses[trial, epoch] = self.sign * value
        if epoch not in self.rungs:
            return True
        rung = self.rungs.index(epoch)
        if trial not in dict(self.entered[rung]):
            since = range(1 if rung == 0 else self.rungs[rung - 1] + 1, epoch + 1)
            self.entered[rung].append((trial, min(self.losses[trial, e] for e in since if (trial, e) in self.losses)))
            if rung < self.trusted()[1] or rung == len(self.rungs) - 1:
                self.passed.add((rung, trial))
            else:
                self.waiting.append((rung, trial))
                found = self.chosen(last=False)
                if found and found[1] == trial:
                    self.goes_on(*found)
                else:
                    self.waiting.remove((rung, trial))
        return any((later, trial) in self.passed for later in range(rung, len(self.rungs)))

    def goes_on(self, rung: int, trial: int, kind: str) -> None:
        self.waiting.remove((rung, trial))
        self.passed.add((rung, trial))
        chunk = self.rungs[rung + 1] - self.rungs[rung]
        if kind == "control":
            self.controls.add(trial)
            self.control += chunk
        elif kind == "grace":
            self.new += chunk
        else:
            self.deep += chunk

    def place(self, rung: int, trial: int) -> int:
        order = sorted((loss, number) for number, loss in self.entered[rung])
        return [number for _, number in order].index(trial) + 1

    def chosen(self, *, last: bool) -> tuple[int, int, str] | None:
        waiting = sorted(self.waiting, key=lambda pair: pair[0])  # the sort keeps the order within a rung
        controls = [pair for pair in waiting if pair[1] in self.controls - self.ever_ended]
        controls += [pair for pair in waiting if pair[1] == self.next_control]
        if controls:
            rung, trial = controls[0]
            chunk = self.rungs[rung + 1] - self.rungs[rung]
            due = self.control + chunk <= 0.05 * (self.new + self.deep + self.control)
            others = len(self.controls - self.ever_ended - {trial})
            others += sum(number < self.next_control for number in self.finished)
            if due or ((self.left <= 0 or last) and others < self.wanted):
                return rung, trial, "control"
        grace = self.trusted()[1]
        ranked = [
            (self.place(rung, trial) * self.rungs[rung + 1] ** 0.75, rung, trial)
            for rung, trial in waiting
            if rung >= grace and self.place(rung, trial) <= math.ceil(len(self.entered[rung]) / 2)
        ]
        if ranked and self.deep < 0.6 * (self.deep + self.new):
            return *min(ranked)[1:], "promising"
        for rung, trial in waiting:
            if rung < grace:
                return rung, trial, "grace"
        if ranked and (self.left <= 0 or last):
            _, rung, trial = min(ranked)
            if self.place(rung, trial) <= len(self.entered[rung]) // self.factor:
                return rung, trial, "promising"
        if last and waiting:
            loss, trial, rung = min((self.best[trial], trial, rung) for rung, trial in waiting)
            if all((loss, trial) < other for other in self.good_ends):
                return rung, trial, "finalist"
        return None

    def ended(self, trial: int, type: str) -> None:
        self.waiting = [pair for pair in self.waiting if pair[1] != trial]
        self.ever_ended.add(trial)
        if type == "trial.finished":
            self.finished.add(trial)
        if trial in self.best and type != "trial.failed":
            self.good_ends.append((self.best[trial], trial))


class History:
    """A sweep on some slots that report in any order, through which the scheduler and brute force are led."""

    def __init__(self, scheduler: Any, brute: BruteForce, rng: random.Random, epochs: int) -> None:
        self.scheduler, self.brute, self.rng, self.epochs = scheduler, brute, rng, epochs
        self.log, self.running = Log(), list[int]()
        self.at, self.values = Counter[int](), dict[tuple[int, int], float]()
        self.trials = 0

    def tell(self, type: str, trial: int, **fields: Any) -> None:
        self.scheduler.observe(self.log.add(type, trial=trial, segment=0, **fields))

    def fill(self, slots: int, trials: int) -> None:
        while len(self.running) < slots:
            number = self.promoted(last=False)
            if number is None and self.trials < trials:
                number, self.trials = self.trials, self.trials + 1
                self.tell("trial.suggested", number, params={}, by="random")
                self.brute.suggested()
            if number is None and not self.running:
                number = self.promoted(last=True)
            if number is None:
                return
            self.running.append(number)

    def promoted(self, *, last: bool) -> int | None:
        found, expected = self.scheduler.promote(last=last), self.brute.chosen(last=last)
        if expected is None:
            assert found is None
            return None
        rung, trial, kind = expected
        assert (found[0], found[1].why["rung"], found[1].why["kind"]) == (trial, self.brute.rungs[rung], kind)
        assert (found[1].why["place"], found[1].action) == (self.brute.place(rung, trial), "promote")
        self.tell("trial.promoted", trial, rule="frontier", why=found[1].why)
        self.brute.goes_on(*expected)
        return trial

    def step(self) -> None:
        trial, luck = self.rng.choice(self.running), self.rng.random()
        if luck < 0.1 and self.at[trial]:  # it lost its process, and perhaps its last checkpoints
            self.at[trial] -= self.rng.randint(0, min(3, self.at[trial]))
        elif luck < 0.13:
            self.end(trial, "trial.failed", reason="code")
            if self.rng.random() < 0.5:
                self.tell("trial.retried", trial)
                self.running.append(trial)
        elif luck < 0.16 and self.brute.waiting:
            self.end(self.rng.choice(self.brute.waiting)[1], "trial.stopped", rule="request", epoch=1, why={})
        else:
            self.report(trial)

    def report(self, trial: int) -> None:
        self.at[trial] += 1
        epoch = self.at[trial]
        drawn = self.rng.choice([math.nan, *range(-3, 4)]) if self.rng.random() < 0.1 else self.rng.randint(-9, 9)
        value = self.values.setdefault((trial, epoch), float(drawn))
        self.tell("segment.reported", trial, epoch=epoch, metrics={"loss": str(value)})
        verdict, on = self.scheduler.judge(trial, epoch), self.brute.reported(trial, epoch, value)
        assert (verdict is None) == on
        if not on and math.isfinite(value):
            assert verdict.action == "set_aside"
            self.tell("trial.set_aside", trial, epoch=epoch, rule=verdict.rule, why=verdict.why)
            self.brute.waiting.append((self.brute.rungs.index(epoch), trial))
            self.running.remove(trial)
        elif not on:
            self.end(trial, "trial.stopped", rule="not_finite", epoch=epoch, why={})
        elif epoch == self.epochs:
            self.end(trial, "trial.finished", epoch=epoch)

    def end(self, trial: int, type: str, **fields: Any) -> None:
        if trial in self.running:
            self.running.remove(trial)
        self.tell(type, trial, **fields)
        self.brute.ended(trial, type)


@settings(max_examples=120, deadline=None)
@given(st.integers(2, 4), st.sampled_from(["min", "max"]), st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**32))
def test_the_frontier_agrees_with_brute_force(factor: int, mode: str, slots: int, trials: int, seed: int) -> None:
    """Whole-number curves with ties, values that are no numbers, failures, restarts and stops by request."""
    rng = random.Random(seed)
    epochs, bounded, known = rng.randint(1, 14), rng.random() < 0.7, rng.random() < 0.7
    made = described_without_module(
        scheduler={"name": "frontier", "reduction_factor": factor, "grace_epochs": 1 + seed % 2},
        objective={"metric": "loss", "mode": mode},
        trainer={"max_epochs": epochs} if known else {"max_steps": 100},
        budget={"trials": trials} if bounded else {"wall_clock": 1000},
    )
    rungs = rung_epochs(1 + seed % 2, factor, epochs if known else ENDLESS)
    brute = BruteForce(rungs, factor, trials if bounded else math.inf, -1 if mode == "max" else 1)
    history = History(build_scheduler(made), brute, rng, epochs)
    history.fill(slots, trials)
    while history.running:
        history.step()
        history.fill(slots, trials)
    assert history.trials == trials
    again = build_scheduler(made)
    for event in history.log.events:
        again.observe(event)
    for _, trial in brute.waiting:
        assert again.dismiss(trial) == history.scheduler.dismiss(trial)
    assert not brute.waiting or min(brute.good_ends)[0] <= min(brute.best[trial] for _, trial in brute.waiting)


@pytest.mark.parametrize("slots", [1, 4])
def test_a_scheduler_rebuilt_from_events_decides_the_same(slots: int) -> None:
    """`verify` asks a fresh one after each event; here at any moment, whatever the journal says next."""
    made = sweep_of(30, trainer={"max_epochs": 9})
    ran = simulate(made, slots=slots, seed=3)
    assert replay(made, ran.events) == []
    told = Counter(event.type for event in ran.events)
    assert told["trial.set_aside"] > 5 < told["trial.promoted"]
    kept = build_scheduler(made)
    for count, event in enumerate(ran.events):
        kept.observe(event)
        if count % 17 == 0:
            again = build_scheduler(made)
            for before in ran.events[: count + 1]:
                again.observe(before)
            for last in (False, True):
                assert again.promote(last=last) == kept.promote(last=last)


def sweep_of(trials: int, scheduler: Any = "frontier", seed: int = 5, **fields: Any) -> SweepSpec:
    return described_without_module(
        "random",
        scheduler,
        seed=seed,
        space={"model.q": {"uniform": [0.0, 1.0]}},
        budget={"trials": trials},
        **{"trainer": {"max_epochs": 32}, **fields},
    )


def late(early: Any) -> Curve:
    """Losses that say what counts from epoch 8 on; before that ``early(q)``, above them all."""

    def curve(params: Any, epoch: int) -> dict[str, float]:
        q = params["model.q"]
        return {"loss": 2.0 + early(q) - 0.01 * epoch if epoch < 8 else q - 0.01 * epoch}

    return curve


EARLY = {"misleading": lambda q: 1.0 - q, "uninformative": lambda q: 1e4 * q % 1.0, "alike": lambda q: 0.0}
ASHA = {"name": "asha", "grace_epochs": 1, "reduction_factor": 4}


def keeps_the_best(scheduler: Any, early: str, seed: int, slots: int) -> bool:
    """Whether the best of 60 is trained to its end, and wins."""
    ran = simulate(sweep_of(60, scheduler, seed), curve=late(EARLY[early]), slots=slots)
    best, winner = min(ran.state.trials.values(), key=lambda trial: trial.params["model.q"]), ran.state.winner()
    return winner is best and (best.epoch, best.status) == (32, "finished")


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("early", ["misleading", "alike"])
def test_a_rung_that_misleads_does_not_decide(early: str, slots: int) -> None:
    for seed in range(3):
        assert keeps_the_best("frontier", early, seed, slots)
        assert not keeps_the_best(ASHA, early, seed, slots) or early == "alike"


def test_a_rung_that_says_nothing_seldom_decides() -> None:
    """Six controls may agree by chance: one time in seven by more than a standard error."""
    kept = {
        name: [keeps_the_best(name or ASHA, "uninformative", seed, 1) for seed in range(10)]
        for name in ("frontier", "")
    }
    assert sum(kept["frontier"]) >= 7 > 4 >= sum(kept[""]), kept


@pytest.mark.parametrize("slots", [1, 4])
def test_where_rungs_predict_few_epochs_are_spent(slots: int) -> None:
    def curve(params: Any, epoch: int) -> dict[str, float]:
        return {"loss": params["model.q"] + 1.0 / epoch}

    ran = simulate(sweep_of(60), curve=curve, slots=slots)
    epochs = [trial.epoch for trial in ran.state.trials.values()]
    winner = ran.state.winner()
    assert winner is not None
    assert winner.params["model.q"] == min(trial.params["model.q"] for trial in ran.state.trials.values())
    assert winner.epoch == 32
    assert sum(epochs) < 0.25 * 60 * 32
    assert statistics.median(epochs) <= 4


def test_rungs_end_with_the_training() -> None:
    assert rung_epochs(1, 4, 50) == [1, 4, 16, 50]
    assert rung_epochs(3, 3, 27) == [3, 9, 27]
    assert rung_epochs(5, 2, 4) == [4]


def test_ten_thousand_trials_do_not_make_a_decision_slow() -> None:
    made = sweep_of(20_000)
    scheduler, log, rng = build_scheduler(made), Log(), random.Random(0)
    costs: list[float] = []
    for number in range(10_000):
        start = time.thread_time()
        while (found := scheduler.promote(last=False)) is not None:
            scheduler.observe(log.add("trial.promoted", trial=found[0], rule="frontier", why=found[1].why))
            _report(scheduler, log, found[0], 4 * found[1].why["rung"], rng.random())
        scheduler.observe(log.add("trial.suggested", trial=number, params={}, by="random"))
        _report(scheduler, log, number, 1, rng.random())
        costs.append(time.thread_time() - start)
    assert statistics.median(costs[-500:]) < 0.01, "some 0.2 ms on a quiet core"


def _report(scheduler: Any, log: Log, trial: int, epoch: int, loss: float) -> None:
    """Reports at rungs alone, and whatever follows from them."""
    while epoch <= 32:
        event = log.add("segment.reported", trial=trial, segment=0, epoch=epoch, metrics={"loss": loss})
        scheduler.observe(event)
        verdict = scheduler.judge(trial, epoch)
        if verdict is not None:
            fields = {"trial": trial, "segment": 0, "epoch": epoch, "rule": verdict.rule, "why": verdict.why}
            scheduler.observe(log.add("trial.set_aside", **fields))
            return
        epoch = 32 if 4 * epoch > 32 > epoch else 4 * epoch
    scheduler.observe(log.add("trial.finished", trial=trial, segment=0, epoch=32))


def test_real_trials_wait_and_go_on(tmp_path: Any) -> None:
    sweep = described(trainer={"max_epochs": 8}, scheduler="frontier", searcher="random", budget={"trials": 9})
    outcome = launch(sweep, tmp_path, local=True)
    told = Counter(event.type for event in read(outcome.run.journal))
    assert told["trial.set_aside"] >= 3
    assert outcome.state.count("finished", "stopped") == 9
    winner = outcome.state.winner()
    assert winner is not None
    assert winner.status == "finished"
    assert not check(outcome.run).violations
    stories = [" ".join(why(outcome.state, number)) for number in outcome.state.trials]
    assert any("others were more promising until the end" in story for story in stories)
    assert told["trial.promoted"] == sum(story.count("it went on") for story in stories)
