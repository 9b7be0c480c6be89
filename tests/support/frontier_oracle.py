"""The frontier scheduler by brute force, to compare with."""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections import Counter
from typing import Any

from tests.support.event_log import Log


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
