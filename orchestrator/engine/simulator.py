"""The real sweep on a virtual clock and cluster: the same searcher, scheduler, state and journal, no training.

What a segment would report comes from a function of parameters and epoch, so a sweep takes milliseconds. Everything
random (durations, delays, faults) is drawn from one seed, which replays the run to the byte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

from orchestrator.engine.controller import Observer
from orchestrator.engine.learning_curves import Curve, synthetic
from orchestrator.engine.virtual_cluster import Cluster, Driver, Seconds
from orchestrator.engine.virtual_host import CALM, Crash, Faults, MemoryRight, MemoryStore, World
from orchestrator.errors import RunHeldError, UsageError
from orchestrator.journal import FORMAT, Event, Journal
from orchestrator.journal.records import Line, parse
from orchestrator.policies.extend_limits import More, extension
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState

_AWAY_SECONDS = 30.0
_LIVES = 60  # of drivers beyond those that the faults allow; a sweep that needs more does not get on


@dataclass(frozen=True)
class Simulated:
    """How a simulated sweep went: its ``journal`` to the byte, and in ``counters`` how often each fault came.

    ``live`` is the state as the last driver had it, ``state`` as the journal has it.

    ``violations`` holds a sentence for each promise of the engine that was broken. ``seconds`` are virtual.
    """

    journal: bytes
    live: SweepState
    counters: Counter[str]
    violations: list[str]
    seconds: float

    @cached_property
    def events(self) -> list[Event]:
        return events(self.journal)

    @cached_property
    def state(self) -> SweepState:
        return SweepState(self.events)


def events(journal: bytes) -> list[Event]:
    """The whole events in a journal's bytes. Raises JournalError where they are damaged."""
    lines = (Line(content, "the journal is damaged", 0) for content in BytesIO(journal))
    return [event for event, _ in parse(lines)]


def simulate(
    spec: SweepSpec,
    *,
    curve: Curve | None = None,
    seconds: Seconds | None = None,
    slots: int = 1,
    seed: int = 0,
    faults: Faults = CALM,
    observer: Observer | None = None,
    more: More | None = None,
    warm: Mapping[str, Any] | None = None,
) -> Simulated:
    """Run a sweep to its end, through as many drivers as the faults leave it.

    Args:
        spec: any valid one; no class in it is imported.
        curve: the metrics of an epoch (from 1), by parameters; by default `synthetic` for the spec's objective.
        seconds: how long an epoch takes, by parameters; by default one second. Give or take a tenth, in either case.
        slots: segments that run at once, two to a node.
        seed: fixes the cluster's timing and the faults. The search itself is fixed by the spec's own.
        faults: how often what goes wrong.
        observer: told of each event as it is written, as under any engine. Where it raises `Crash`, the driver dies
            there, and the next goes on.
        warm: the fields of the event ``sweep.warmed``, if it starts from earlier sweeps.
        more: how the sweep is extended once it has come to its end.

    Raises whatever the engine raises where it has a bug; JournalError where it cannot read what it wrote.
    """
    world = World(faults, seed)
    curve = curve or synthetic(spec.objective.metric, spec.objective.mode)
    began = world.clock
    lives = _Lives(Cluster(spec, world, curve, seconds or (lambda params, epoch: 1.0), slots, observer), more, warm)
    world.sleep = lives.overtaken
    lives.run_to_the_end()
    journal = bytes(world.journal.content)
    return Simulated(journal, lives.state, world.counters, world.violations, world.clock - began)


class _Lives:
    """Runs one driver after another over a cluster until the sweep is complete."""

    def __init__(self, cluster: Cluster, more: More | None, warm: Mapping[str, Any] | None) -> None:
        self._cluster, self.world = cluster, cluster.world
        self._more, self._warm = more, warm
        self.state = SweepState()
        self.complete = False
        self._proven = True
        self._most = cluster.world.faults.deaths + _LIVES
        written = cluster.spec.model_dump(mode="json")
        self._created: dict[str, Any] = {"format": FORMAT, "spec": written, "seed": cluster.spec.seed, "versions": {}}
        if warm:
            self._created["warm_start"] = [source["run"] for source in warm["sources"]]

    def run_to_the_end(self) -> None:
        """Raises RuntimeError where the sweep does not get on."""
        while not self.complete:
            if self.world.deaths >= self.world.faults.deaths:
                self.world.calm()
            if self.world.deaths > self._most:
                raise RuntimeError("the sweep does not come to its end")
            self._live_once()
            self.world.deaths += 1

    def overtaken(self) -> None:
        """The driver sleeps; another takes over and comes to the end. What the sleeper does then has no effect."""
        self._proven = False
        self.world.deaths += 1
        self.world.pass_time(_AWAY_SECONDS)
        self.run_to_the_end()

    def _live_once(self) -> None:
        """One driver, from opening the journal to its end, by whatever cause."""
        world = self.world
        right, self._proven = MemoryRight(world, proven=self._proven), True
        driver: Driver | None = None
        crashed = False
        try:
            journal = Journal.over(MemoryStore(world), right)
            journal.now = lambda: world.clock
            self._prepare(journal)
            driver = Driver(self._cluster, journal)
            self._check_survived(driver.live.state)
            if not driver.complete:
                driver.run()
        except Crash:
            crashed = True
            if right.epoch == world.epoch:
                world.died()
                self._proven = world.rng.random() < 0.7
        except RunHeldError:
            world.counters["fenced off"] += 1
        except OSError as error:
            if driver:
                driver.give_up(error)
        self._over(driver, right, crashed=crashed)

    def _over(self, driver: Driver | None, right: MemoryRight, *, crashed: bool) -> None:
        world = self.world
        if right.epoch != world.epoch:
            return  # it was taken over, and the sweep has ended without it
        if driver:
            driver.leave_orphans()
            # One that died as the last record was written leaves it to the next to see that all is done.
            self.state = driver.live.state
            self.complete = driver.complete and not crashed and not self._to_be_extended(self.state)
        world.asked = ""
        if not self.complete:
            world.pass_time(world.rng.uniform(0.5, _AWAY_SECONDS))
            self._damage()
        elif not world.counters["damage"]:
            self._check_files()

    def _prepare(self, journal: Journal) -> None:
        """What launch and resume write before the engine starts."""
        if not journal.length:
            journal.append("sweep.created", **self._created)
        if self._warm and journal.length == 1:
            journal.append("sweep.warmed", **self._warm)
        failed = [number for number, status in self._cluster.told.items() if status == "failed"]
        if failed and self.world.chance("retry"):
            for number in failed:
                del self._cluster.told[number]
                journal.append("trial.retried", trial=number)

        if self._more is not None:
            self._extend(journal, SweepState(journal.events()))

    def _to_be_extended(self, state: SweepState) -> bool:
        return self._more is not None and state.spec == state.created.get("spec")

    def _extend(self, journal: Journal, state: SweepState) -> None:
        if self._more is None or state.status != "completed" or not self._to_be_extended(state):
            return
        try:
            fields = extension(state, self._more)
        except UsageError:  # there is nothing that could go on
            self._more = None
            return
        for number in fields["trials"]:
            self._cluster.told.pop(number, None)
        journal.append("sweep.extended", **fields)

    def _check_survived(self, state: SweepState) -> None:
        """Whatever anybody was told is still so."""
        for number, status in self._cluster.told.items():
            found = state.trials[number].status if number in state.trials else "unknown"
            if found != status:
                self.world.violations.append(f"trial {number} had {status}, and after a restart it is {found}")
        for number, epoch in self._cluster.answered:
            if number not in state.trials or epoch not in state.trials[number].reports:
                self.world.violations.append(f"epoch {epoch} of trial {number} was answered and is lost")

    def _check_files(self) -> None:
        """Whatever the sweep still needs is there."""
        for trial in self.state.trials.values():
            for held in trial.checkpoints.values():
                if self.world.files.get(held.path) != (held.size, held.sha256):
                    self.world.violations.append(f"{held.path} is not what was written")

    def _damage(self) -> None:
        """A checkpoint is lost, cut short or changed while nobody looks."""
        world = self.world
        if world.files and world.chance("damage"):
            path = world.rng.choice(sorted(world.files))
            kind = world.rng.choice(("lost", "short", "changed"))
            world.counters[f"checkpoint {kind}"] += 1
            size, _ = world.files.pop(path)
            if kind != "lost":
                world.files[path] = (size - (kind == "short"), "damaged")
