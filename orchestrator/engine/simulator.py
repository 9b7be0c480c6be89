"""Simulate a sweep on a virtual clock: the real searcher, scheduler, state and journal, without training.

A segment's reports come from a function of parameters and progress, so a sweep takes milliseconds. Durations and delays
are drawn from one seed, which replays the run to the byte. `orchestrator.testing` simulates with faults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

from orchestrator.engine.controller import Observer
from orchestrator.engine.learning_curves import Curve, synthetic
from orchestrator.engine.virtual_cluster import (
    Cluster,
    Driver,
    MemoryLease,
    MemoryStore,
    Places,
    Seconds,
    VirtualHost,
    World,
    every_span,
)
from orchestrator.errors import UsageError
from orchestrator.journal import FORMAT, Event, Journal
from orchestrator.journal.records import Line, parse
from orchestrator.policies.distinct import RULES
from orchestrator.policies.extend_limits import More, extension
from orchestrator.policies.recorded_versions import policy_versions
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState

AWAY_SECONDS = 30.0
"""At most so long passes between the end of one driver and the start of the next."""


@dataclass(frozen=True)
class Simulated:
    """A simulated sweep.

    Args:
        journal: its bytes.
        live: the state as the last driver had it; `state` is what the journal gives.
        seconds: virtual seconds from launch to end.
    """

    journal: bytes
    live: SweepState
    seconds: float

    @cached_property
    def events(self) -> list[Event]:
        """The journal's events."""
        return events(self.journal)

    @cached_property
    def state(self) -> SweepState:
        """The state that the journal gives."""
        return SweepState(self.events)


def events(journal: bytes) -> list[Event]:
    """Return the complete events in a journal's bytes. Raises JournalError if they are damaged."""
    lines = (Line(content, "the journal is damaged", 0) for content in BytesIO(journal))
    return [event for event, _ in parse(lines)]


def simulate(
    spec: SweepSpec,
    *,
    curve: Curve | None = None,
    seconds: Seconds | None = None,
    slots: int = 1,
    seed: int = 0,
    observer: Observer | None = None,
    more: More | None = None,
    warm: Mapping[str, Any] | None = None,
    places: Places = every_span,
    startup: float = 0.0,
) -> Simulated:
    """Run a sweep to its end.

    Args:
        spec: any valid one; no class in it is imported.
        curve: the metrics at a progress, in spans, by parameters; by default `synthetic` for the spec's objective.
        seconds: until the n-th report, by parameters; by default one second. A tenth is added or taken off at random.
        slots: segments that run at once.
        seed: fixes the timing. The search itself is fixed by the spec's own seed.
        observer: called with the state and each event as it is written.
        more: how the sweep is extended once it has ended.
        warm: the fields of the event ``sweep.warmed``, if it starts from earlier sweeps.
        places: where trials report, in spans of progress; by default once a span, which is `SweepSpec.report_span` or a
            twentieth of the training.
        startup: seconds that a segment takes before it trains.
    """
    world = World(seed)
    curve, seconds = curve or synthetic(spec.objective.metric, spec.objective.mode), seconds or one_second
    cluster = Cluster(spec, world, curve, seconds, slots, observer, places, startup)
    began = world.clock
    journal = _open(world)
    journal.append("sweep.created", **created_fields(spec, warm))
    if warm:
        journal.append("sweep.warmed", **warm)
    state = _run(cluster, journal)
    if more is not None:
        world.pass_time(world.rng.uniform(0.5, AWAY_SECONDS))
        try:
            fields = extension(state, more)
        except UsageError:  # no trial could continue
            return Simulated(bytes(world.journal), state, world.clock - began)
        journal = _open(world)
        journal.append("sweep.extended", **fields)
        state = _run(cluster, journal)
    return Simulated(bytes(world.journal), state, world.clock - began)


def created_fields(spec: SweepSpec, warm: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of the event ``sweep.created``."""
    fields = {
        "format": FORMAT,
        "suggestion_rules": RULES,
        "spec": spec.model_dump(mode="json"),
        "seed": spec.seed,
        "versions": {},
    }
    fields["policies"] = policy_versions(spec)
    return fields | ({"warm_start": [source["run"] for source in warm["sources"]]} if warm else {})


def one_second(params: Mapping[str, Any], number: int) -> float:
    """Return 1.0: the default time between two reports."""
    return 1.0


def _open(world: World) -> Journal:
    journal = Journal.for_store(MemoryStore(world), MemoryLease(world))
    journal.now = lambda: world.clock
    return journal


def _run(cluster: Cluster, journal: Journal) -> SweepState:
    driver = Driver(cluster, journal, VirtualHost(cluster.world))
    driver.run()
    return driver.controller.state
