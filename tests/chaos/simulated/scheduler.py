"""Processes and threads of several machines, run one at a time by a seed, on a virtual clock."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import accumulate
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

_EPOCH = 1_700_000_000.0  # Unix seconds at the begin of a world
_MOST_STEPS = 60_000
_SHARE = 0.3  # of the calls before which another thread may run


class Killed(BaseException):
    """A process ends in the middle of what it does: nothing that it still calls has an effect."""


@dataclass(frozen=True)
class Rates:
    """How often each fault occurs, as a probability for each call to the system; 0 for never.

    Args:
        kill: the process is killed.
        power: its machine loses power, and what was not durable.
        suspend: the process is stopped, for up to a minute.
        sleep: its machine is suspended, for up to a minute.
        slow: the call takes up to 8 s.
        step: the machine's wall clock is set.
        signal: a caller that waits for the journal is interrupted.
        torn: a write is cut short and its process killed.
        full: a write fails for want of space, perhaps after a part.
        broken: a sync fails, and what it did not write is forgotten ("fsyncgate").
        lost: the answer to a request is lost, so that it is repeated, or seems to have failed.
        late: a request to an object store arrives after its error.
        failed: a request fails without effect.
        cached: a client of NFS answers from its cache.
    """

    kill: float = 0.0
    power: float = 0.0
    suspend: float = 0.0
    sleep: float = 0.0
    slow: float = 0.0
    step: float = 0.0
    signal: float = 0.0
    torn: float = 0.0
    full: float = 0.0
    broken: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    failed: float = 0.0
    cached: float = 0.0

    @classmethod
    def mixed(cls, rng: Random) -> Rates:
        """Draw some of all faults."""
        often = {
            "kill": 0.004, "power": 0.002, "suspend": 0.006, "sleep": 0.001, "slow": 0.01, "step": 0.001,
            "signal": 0.05, "torn": 0.01, "full": 0.02, "broken": 0.02, "lost": 0.02, "late": 0.02, "failed": 0.01,
            "cached": 0.9,
        }  # fmt: skip
        return cls(**{name: rng.random() * rate for name, rate in often.items() if rng.random() < 0.5})


CALM = Rates()
EVERYWHERE = ("kill", "power", "suspend", "sleep", "slow", "step")  # the faults that any call may meet


@dataclass(eq=False)
class Machine:
    """A computer: its clocks, and the processes on it.

    Attributes:
        number: its place in the world.
        offset: seconds by which its wall clock differs.
        stopped: seconds that it was suspended, which its monotonic clock leaves out.
        until: when it wakes up.
        boots: how often it was started.
        started: how many processes it has started.
        running: its processes by number.
    """

    number: int
    offset: float = 0.0
    stopped: float = 0.0
    until: float = 0.0
    boots: int = 1
    started: int = 0
    running: dict[int, Process] = field(default_factory=dict)


@dataclass(eq=False)
class Process:
    """A process of a machine.

    Attributes:
        pid: its number.
        dead: whether it was killed.
        until: when it continues, if it was stopped.
        stalled: when it last was slow, stopped or met an error, so that it may have missed a heartbeat.
        memory: what the modules under test keep for each process.
        started: when, in ticks.
    """

    machine: Machine
    pid: int
    started: int
    dead: bool = False
    until: float = 0.0
    stalled: float = -1e9
    memory: dict[str, Any] = field(default_factory=dict)
    threads: list[Thread] = field(default_factory=list)

    @property
    def lingers(self) -> bool:
        """Whether it was killed and one of its threads still waits for the disk."""
        return any(thread.lingers for thread in self.threads)


class Thread:
    """`threading.Thread`, as far as the code under test uses it."""

    def __init__(
        self, target: Callable[..., object], args: tuple[Any, ...] = (), name: str = "", daemon: bool = True
    ) -> None:
        self.process: Process = world().process
        self.number = world().number_of_thread()
        self.name, self.lingers, self.ended, self.token = name, False, False, 0
        self.error: BaseException | None = None
        self._call = target, args
        self._waiters: list[Thread] = []
        self.greenlet = greenlet(self._run, world().hub)

    def start(self) -> None:
        """Let it run from now on."""
        self.process.threads.append(self)
        world().ready.append(self)

    def join(self) -> None:
        """Wait until it has ended."""
        while not self.ended:
            world().block(self._waiters)

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return not self.ended

    def _run(self) -> None:
        try:
            target, args = self._call
            target(*args)
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self.ended, self.lingers = True, False
        world().wake(self._waiters)


class Event:
    """`threading.Event`."""

    def __init__(self) -> None:
        self._set = False
        self._waiters: list[Thread] = []

    def set(self) -> None:
        """Let everyone go who waits."""
        self._set = True
        world().wake(self._waiters)

    def wait(self, timeout: float) -> bool:
        """Wait for it; return whether it is set."""
        until = world().now + timeout
        while not self._set and world().now < until:
            world().block(self._waiters, until)
        return self._set


class Lock:
    """`threading.Lock`. A caller that waits may be interrupted, as by a signal."""

    def __init__(self) -> None:
        self._locked = False
        self._waiters: list[Thread] = []

    def acquire(self, timeout: float = 1e9) -> bool:
        """Take it; return False after the timeout."""
        until = world().now + timeout
        while self._locked and world().now < until:
            world().interrupt()
            world().block(self._waiters, until)
        taken, self._locked = not self._locked, True
        return taken

    def release(self) -> None:
        """Let the next one take it."""
        self._locked = False
        world().wake(self._waiters)


class SimpleQueue:
    """`queue.SimpleQueue`."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._waiters: list[Thread] = []

    def __class_getitem__(cls, item: Any) -> type[SimpleQueue]:
        return cls

    def put(self, item: Any) -> None:
        """Add an item."""
        self._items.append(item)
        world().wake(self._waiters)

    def get(self) -> Any:
        """Wait for an item, and take it."""
        while not self._items:
            world().block(self._waiters)
        return self._items.pop(0)


class World:
    """All machines, and who runs when.

    Attributes:
        now: virtual seconds since the begin.
        ready: the threads that can run.
        counters: how often each fault occurred.
    """

    def __init__(self, rng: Random, rates: Rates, machines: int, *, one_box: bool = False) -> None:
        self.one_box = one_box  # whether the machines are containers of one, which lose power together
        self.rng = rng
        self.now = 0.0
        self.machines = [Machine(number, rng.choice((0.0, -3600.0, 7.0))) for number in range(machines)]
        self.ready: list[Thread] = []
        self.counters: Counter[str] = Counter()
        self.on_power: Callable[[Machine], None] = lambda machine: None
        self.on_end: Callable[[Process], None] = lambda process: None
        self.note: Callable[[str], None] = lambda text: None
        self.current: Thread | None = None
        self._process = Process(Machine(-1), 0, 0)  # the world's own, which nothing befalls
        self._timers: list[tuple[float, int, Thread | Callable[[], None], int]] = []
        self._count, self._steps, self._threads = 0, 0, 0
        self.hub = getcurrent()
        self.set_rates(rates)

    # For the code under test

    @property
    def process(self) -> Process:
        """The process that runs now."""
        return self.current.process if self.current else self._process

    @property
    def identity(self) -> int:
        """The number of the running thread."""
        return self.current.number if self.current else 0

    @property
    def wall(self) -> float:
        """Unix seconds on the running process's machine."""
        return _EPOCH + self.now + self.process.machine.offset

    @property
    def monotonic(self) -> float:
        """Seconds without those for which the machine was suspended."""
        return self.now - self.process.machine.stopped

    def sleep(self, seconds: float) -> None:
        """Let the others run for so long."""
        until = self.now + seconds
        while self.now < until:
            self.block([], until)

    def call(self, kind: str = "") -> None:
        """Begin a call to the system: here another thread may run, and a fault occur. ``kind`` is for the disk."""
        thread = self.current
        if thread is None:
            return
        if thread.process.dead:
            raise Killed
        draw = self.rng.random()
        if draw < self._perils[-1][1]:
            name = next(name for name, most in self._perils if draw < most)
            self.counters[name] += 1
            self.note(name)
            self._befall(name, kind)
        elif draw > 1.0 - _SHARE:
            self.now += 0.0005
            self.ready.append(thread)
            self._switch()

    def chance(self, fault: str) -> bool:
        """Return whether that fault occurs now, and count it. It may cost a heartbeat."""
        if self.calm or self.current is None or self.current.process.dead:
            return False
        rate = getattr(self.rates, fault)
        if rate and self.rng.random() < rate:
            self.counters[fault] += 1
            if fault != "cached":
                self.note(fault)
                self.current.process.stalled = self.now
            return True
        return False

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in a process's first thread, perhaps."""
        thread = self.current
        if thread and thread is thread.process.threads[0] and self.chance("signal"):
            raise KeyboardInterrupt

    def block(self, waiters: list[Thread], until: float = 1e9) -> None:
        """Let others run until the thread is woken, or the time has come."""
        thread = self.current
        assert thread is not None, "the world itself waits for nothing"
        if thread.process.dead:
            raise Killed
        waiters.append(thread)
        self._at(until, thread)
        try:
            self._switch()
        finally:
            if thread in waiters:
                waiters.remove(thread)

    def wake(self, waiters: list[Thread]) -> None:
        """Let those run who wait."""
        for thread in waiters:
            self._make_ready(thread)
        waiters.clear()

    # For the world

    def set_rates(self, rates: Rates) -> None:
        """Let faults occur at other rates from now on."""
        self.rates, self.calm = rates, rates == CALM
        sums = accumulate(getattr(rates, name) for name in EVERYWHERE)
        self._perils = list(zip(EVERYWHERE, sums, strict=True))

    def at(self, seconds: float, step: Callable[[], None]) -> None:
        """Run a step of the world itself at that time."""
        self._count += 1
        heapq.heappush(self._timers, (seconds, self._count, step, 0))

    def start(self, machine: Machine, life: Callable[[], object]) -> Process:
        """Start a process that runs ``life``."""
        machine.started += 1  # containers and hosts start counting at the same number
        process = Process(machine, 1000 + machine.started, int(self.now * 100) + machine.boots)
        machine.running[process.pid] = process
        before, self._process = self._process, process
        try:
            thread = Thread(life, name="main")
        finally:
            self._process = before
        thread.start()
        return process

    def end(self, process: Process) -> None:
        """Let a process end: at once, whatever its threads do."""
        if not process.dead:
            self.on_end(process)
        process.dead, process.until = True, 0.0
        for thread in process.threads:
            if not thread.ended and thread is not self.current:
                self._make_ready(thread, past_end=True)

    def number_of_thread(self) -> int:
        """Return a number for a new thread."""
        self._threads += 1
        return self._threads

    def run(self) -> None:
        """Run until nothing is left to do. Raises RuntimeError if that takes too many steps."""
        while self.ready or self._timers:
            self._steps += 1
            if self._steps > _MOST_STEPS:
                raise RuntimeError("the processes do not end")
            if not self.ready:
                self._advance()
                continue
            ready = self.ready
            thread = ready.pop(self.rng.randrange(len(ready)) if len(ready) > 1 else 0)
            wakes = max(thread.process.until, thread.process.machine.until)
            if wakes > self.now and not thread.process.dead:
                self._at(wakes, thread)
                continue
            self._step(thread)

    def run_apart(self, step: Callable[[], object]) -> None:
        """Run a step in which nothing befalls anyone, as the world itself."""
        before, self.current = self.current, None
        try:
            step()
        finally:
            self.current = before

    def _step(self, thread: Thread) -> None:
        if thread.ended:
            return
        self.current = thread
        thread.token += 1
        thread.greenlet.switch()
        self.current = None
        process = thread.process
        if process.threads[0].ended and not process.dead:
            self.end(process)  # its other threads are daemons
        if process.dead and all(other.ended for other in process.threads):
            process.machine.running.pop(process.pid, None)

    def _switch(self) -> None:
        """Return to the scheduler; on return the thread was chosen again."""
        thread = self.current
        assert thread is not None
        self.hub.switch()
        if thread.process.dead and not thread.lingers:
            raise Killed

    def _make_ready(self, thread: Thread, *, past_end: bool = False) -> None:
        if thread.ended or thread in self.ready or (past_end and thread.lingers):
            return
        thread.token += 1
        self.ready.append(thread)

    def _at(self, seconds: float, thread: Thread) -> None:
        if seconds < 1e8:
            self._count += 1
            heapq.heappush(self._timers, (seconds, self._count, thread, thread.token))

    def _advance(self) -> None:
        seconds, _, due, token = heapq.heappop(self._timers)
        if isinstance(due, Thread):
            if due.token == token and not due.ended:
                self.now = max(self.now, seconds)
                self.ready.append(due)
        else:
            self.now = max(self.now, seconds)
            due()

    def _befall(self, fault: str, kind: str) -> None:
        thread = self.current
        assert thread is not None
        process, machine = thread.process, thread.process.machine
        if fault == "kill":
            self.end(process)
            raise Killed
        if fault == "power":
            self.lose_power(machine)
            raise Killed
        if fault == "step":
            machine.offset += self.rng.choice((-7200.0, -3.0, 3.0, 86400.0))
            return
        seconds = self.rng.choice((1.0, 8.0, 25.0, 60.0)) * self.rng.random()
        if fault == "slow":
            self._wait_for_disk(thread, min(8.0, seconds), kind)
        elif fault == "suspend":
            process.until = process.stalled = self.now + seconds
            self.ready.append(thread)
            self._switch()
        elif fault == "sleep":
            machine.until, machine.stopped = self.now + seconds, machine.stopped + seconds
            for other in machine.running.values():
                other.stalled = machine.until
            self.ready.append(thread)
            self._switch()

    def _wait_for_disk(self, thread: Thread, seconds: float, kind: str) -> None:
        """Wait in the system: a process that is killed meanwhile is gone only after the call."""
        thread.lingers = kind == "write"
        thread.process.stalled = self.now + seconds
        self.sleep(seconds)
        if thread.process.dead:
            self.counters["written by a dead process"] += 1
        thread.lingers = False

    def lose_power(self, machine: Machine) -> None:
        """End all processes of a machine, and what it has only in memory; it boots again."""
        for lost in self.machines if self.one_box else [machine]:
            for process in list(lost.running.values()):
                for thread in process.threads:
                    thread.lingers = False
                process.dead = True
                self.end(process)
            lost.boots += 1
            lost.running.clear()
        self.on_power(machine)


_worlds: list[World] = []


def world() -> World:
    """Return the world that the code under test runs in."""
    return _worlds[-1]


def enter(new: World) -> None:
    """Let the code under test run in this world."""
    _worlds[:] = [new]


assert set(EVERYWHERE) <= {item.name for item in fields(Rates)}
