"""``kill -9`` of real processes at random moments of real sweeps: is anything lost?

    python -m tests.chaos.kills [--kills 1000] [--seed 0] [--parallel 2] [--minutes 60]

A reference sweep runs once, unbroken. Then the same sweep runs again and again under other names, launched and resumed
by the command that a person types (forked: see `forked`), while its driver (with and without Ray), a worker, the raylet
or the GCS is killed: while it starts, while it runs, as a checkpoint is written, at the end. The seed fixes what is
killed and at which point; when exactly that point comes is the machine's. After each death of a driver, and at each
sweep's end:

- every record that was in the journal is there still, to the byte; what had ended has its result and never runs again;
- `sweep verify` finds nothing; 10 s later no process of that driver's runs and Ray's folder is gone;
- nothing is on stderr but what a sweep says of itself; a driver that was not killed itself goes on and exits with 0, or
  ends with 1, and perhaps with Ray's own words, where Ray itself was killed;
- a completed sweep has the reference's ranking and the same weights in each best checkpoint.

Prints what was killed and found. Exit code 1 where anything was, and the runs are kept to be looked at.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from orchestrator.journal import read
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.state import SweepState
from tests.chaos.drivers import Life, Story, left_over, outcome, seconds_until_gone, whole_lines

STUCK = 240.0  # seconds without a new record after which a driver counts as stuck
LIVES = 100  # drivers that a sweep may take

TRIALS, EPOCHS = 12, 4
SPEC: dict[str, Any] = {
    "seed": 3,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.02}},
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": EPOCHS},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": TRIALS},
    "resources": {"cpus": 0.5, "concurrent": 2},
}
# Of a hundred kills, how many hit whom: "local" is a driver without Ray, "driver" one with it, which takes ten times
# as long to start.
SHARES = {"local": 70, "worker": 18, "driver": 6, "raylet": 4, "gcs_server": 2}
MOMENTS = {"start": 30, "running": 40, "checkpoint": 20, "end": 10}
LOST_IN_A_ROW = 2  # a trial whose process dies four times with no epoch in between has failed: that is no loss

_COMPLETED, _FINISHED, _REPORTED = (
    f'"type":"{name}"'.encode() for name in ("sweep.completed", "trial.finished", "segment.reported")
)
_EXPLAINED = re.compile(
    r"\s*|\S+: started in .*|resources: auto: .*"
    r"|\S+: \d+ at once, journal .*|trial \d+ finished, val_loss \S+ at epoch \d+"
    r"|a torn write at the end of the journal was cut off .*|next:|  \S*sweep (results|why|report|confirm|export) .*"
)
_GAVE_UP = re.compile(
    r"error: Ray has ended \d+ times.*|hint: check the free memory.*|stopped: .*|resume with: .*"
    r"|error: Ray's \w+ process ended, and Ray does not answer|hint: nothing that finished is lost; .*"
    r"|\[[\d-]+ [\d:,]+ [IWEC] \d+ \d+\] .*"  # Ray's client, of a Ray that was killed
)


@dataclass(frozen=True)
class Kill:
    """Who is to be killed and when. ``at_once``: the next driver starts while the killed one's processes still die."""

    victim: str
    moment: str
    fraction: float
    at_once: bool


def draw(kills: int, seed: int, shares: dict[str, int]) -> list[Kill]:
    """So many kills, of each victim its share."""
    source = random.Random(seed)
    owed = {victim: kills * share / sum(shares.values()) for victim, share in shares.items()}
    counts = {victim: int(number) for victim, number in owed.items()}
    for victim in sorted(owed, key=lambda name: counts[name] - owed[name])[: kills - sum(counts.values())]:
        counts[victim] += 1
    victims = [victim for victim, count in counts.items() for _ in range(count)]
    source.shuffle(victims)
    moments = source.choices(list(MOMENTS), list(MOMENTS.values()), k=kills)
    return [Kill(v, m, source.random(), source.random() < 0.5) for v, m in zip(victims, moments, strict=True)]


# Killing


@dataclass
class Tally:
    """What was done and found, by all lanes."""

    kills: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)
    sweeps: int = 0
    drivers: int = 0
    gave_up: int = 0
    lost: int = 0
    duplicates: int = 0
    slowest: float = 0.0
    violations: list[str] = field(default_factory=list)
    starts: dict[str, float] = field(default_factory=lambda: {"local": 8.0, "ray": 20.0})
    until: float = math.inf  # no kill is begun after that, on the monotonic clock
    over: threading.Event = field(default_factory=threading.Event)  # at once, and nothing is to be left


class Lane:
    """One sweep after another, with one driver at a time, until its kills are spent."""

    def __init__(self, name: str, deck: list[Kill], runs: Path, reference: list[dict[str, Any]], tally: Tally) -> None:
        self.name, self.deck, self.runs, self.reference, self.tally = name, deck, runs, reference, tally
        self.random = random.Random(name)
        self.dying: list[tuple[str, Future[float]]] = []
        self.pool = ThreadPoolExecutor(4)

    def run(self) -> None:
        number = 0
        while self.deck:
            self.sweep(f"{self.name}-{number}")
            number += 1
        for _, future in self.dying:
            future.exception()
        self._collect()

    def sweep(self, name: str) -> None:
        """Launch it and resume it until it has completed."""
        story = Story(run_at(name, self.runs))
        file = self.runs / f"{name}.yaml"
        file.write_text(json.dumps({**SPEC, "name": name}))
        for number in range(LIVES):
            local = not self.deck or self.deck[0].victim == "local"
            words = ["resume", name] if story.run.exists() else ["launch", str(file)]
            log = self.runs / f"{name}.life-{number:02d}.stderr"
            life = Life([*words, *(["--local"] if local else [])], f"{os.getpid()}-{log.stem}", log, self.runs)
            self.tally.drivers += 1
            try:
                hasty = self._live(life, story, local)
            finally:
                life.kill()
            self._died(life, story, hasty)
            if _COMPLETED in story.whole:
                return self._completed(story)
        return self._say(story, f"not completed by {LIVES} drivers")

    def _live(self, life: Life, story: Story, local: bool) -> bool:
        """Kill what there is to kill until the driver is dead, or has come to its end. Whether the next is to hurry."""
        threading.Thread(target=self._time_start, args=(life, story.run.journal, local), daemon=True).start()
        while (kill := self._next(local)) is not None:
            if not self._wait(kill, life, story):
                self._missed(kill)
                return False
            if self._strike(kill, life, story) and not life.running:
                return kill.at_once
        self._until(lambda: False, life, story, every=0.05)
        return False

    def _next(self, local: bool) -> Kill | None:
        if time.monotonic() > self.tally.until:
            self.deck.clear()
        return next((kill for kill in self.deck if (kill.victim == "local") == local), None)

    def _missed(self, kill: Kill) -> None:
        """The driver's end came first: next time earlier."""
        self.deck[self.deck.index(kill)] = replace(kill, moment="running", fraction=kill.fraction / 2)

    def _wait(self, kill: Kill, life: Life, story: Story) -> bool:
        """Until the moment has come. False where the driver ended first."""
        if kill.moment == "start":
            return self._wait_for_start(kill, life, story)
        run, rest = story.run, kill.fraction * (1.5 if kill.victim in ("local", "driver") else 0.2)
        if kill.moment == "checkpoint":
            before, rest = _checkpoints(run), 0.0
            condition = lambda: bool(_checkpoints(run) - before)  # noqa: E731
        elif kill.moment == "running":
            records, rest = self._records(run) + 1 + int(kill.fraction * 40), self.random.random() * 0.1
            condition = lambda: self._records(run) >= records  # noqa: E731
        else:
            condition = lambda: whole_lines(Path(run.journal)).count(_FINISHED) >= TRIALS - 1  # noqa: E731
        return self._until(condition, life, story) and self._rest(rest, life)

    def _wait_for_start(self, kill: Kill, life: Life, story: Story) -> bool:
        if kill.victim not in ("local", "driver"):
            there = self._until(lambda: bool(life.find(kill.victim)), life, story, every=0.1)
            return there and self._rest(3 * kill.fraction, life)
        until = life.began + kill.fraction * self.tally.starts["local" if kill.victim == "local" else "ray"]
        return self._until(lambda: time.monotonic() >= until, life, story)

    def _until(self, condition: Callable[[], bool], life: Life, story: Story, every: float = 0.004) -> bool:
        size, since = -1, time.monotonic()
        while life.running:
            if self.tally.over.is_set():
                raise KeyboardInterrupt
            if condition():
                return True
            grown = len(whole_lines(Path(story.run.journal)))
            if grown != size:
                size, since = grown, time.monotonic()
            if time.monotonic() - since > STUCK:
                self._say(story, f"no record in {STUCK:g} s; see {life.log}")
                life.kill()
            time.sleep(every)
        return False

    def _rest(self, seconds: float, life: Life) -> bool:
        time.sleep(seconds)
        return life.running

    def _strike(self, kill: Kill, life: Life, story: Story) -> bool:
        """Kill it. False where it has gone meanwhile, or where it is spared for now."""
        found = [] if kill.victim == "worker" and _near_failure(story.run) else life.find(kill.victim)
        if not found:
            time.sleep(0.05)
            return False
        story.look()
        if kill.victim in ("local", "driver"):
            life.kill()
        else:
            try:
                os.kill(self.random.choice(found), signal.SIGKILL)
            except ProcessLookupError:
                return False
            life.survived += kill.victim != "worker"
        self.deck.remove(kill)
        self.tally.kills[kill.victim] += 1
        self.tally.moments[kill.moment] += 1
        seconds = time.monotonic() - life.began
        self._log(f"{life.log.stem}: {kill}, {seconds:.1f} s after its start, {len(story.whole)} bytes")
        return True

    def _log(self, line: str) -> None:
        with (self.runs / "kills.log").open("a") as log:
            print(line, file=log)

    def _died(self, life: Life, story: Story, hasty: bool) -> None:
        """The driver is dead; whether all is as it should be."""
        code = life.process.wait()
        future = self.pool.submit(seconds_until_gone, life)
        self.dying.append((f"{story.run.root}: {life.log}", future))
        story.verify()
        self._check_end(life, story, code)
        if not hasty:
            future.exception()
        self._collect()
        self._count(story)

    def _check_end(self, life: Life, story: Story, code: int) -> None:
        """The exit code, and what was said on stderr."""
        if code == 0 and _COMPLETED not in story.whole:
            self._say(story, f"exit code 0, and the sweep has not completed; see {life.log}")
        gave_up = code > 0 and life.survived > 0
        self.tally.gave_up += gave_up
        if code > 0 and not gave_up:
            self._say(story, f"a driver that nothing was done to exits with {code}; see {life.log}")
        for line in life.log.read_text(errors="replace").splitlines():
            if not _EXPLAINED.fullmatch(line) and not (gave_up and _GAVE_UP.fullmatch(line)):
                return self._say(story, f"on stderr: {line!r}; see {life.log}")
        return None

    def _completed(self, story: Story) -> None:
        self.tally.sweeps += 1
        found = outcome(story.run)
        different = [pair for pair in zip_longest(found, self.reference) if pair[0] != pair[1]]
        if different:
            self._say(story, f"{different[0][0]} where the unbroken sweep has {different[0][1]}")
        if left := left_over(story.run):
            self._say(story, f"left over: {', '.join(left)}")

    def _collect(self) -> None:
        """What became of the drivers' processes that have been dying."""
        for about, future in [pair for pair in self.dying if pair[1].done()]:
            self.dying.remove((about, future))
            error = future.exception()
            if error:
                self.tally.violations.append(f"{about}: {error}")
            else:
                self.tally.slowest = max(self.tally.slowest, future.result())

    def _count(self, story: Story) -> None:
        self.tally.lost += len(story.lost)
        self.tally.duplicates += len(story.again)
        for number in sorted(story.lost):
            self._say(story, f"trial {number} had ended, and its result is gone or another")
        for number in sorted(story.again):
            self._say(story, f"trial {number} had ended, and ran or ended again")
        for sentence in story.wrong:
            self._say(story, sentence)
        story.lost, story.again, story.wrong = set(), set(), []

    def _say(self, story: Story, what: str) -> None:
        self.tally.violations.append(f"{story.run.root}: {what}")
        self._log(self.tally.violations[-1])

    def _time_start(self, life: Life, journal: Path, local: bool) -> None:
        """How long a start takes here and now, from the process to its first report."""
        before = whole_lines(journal).count(_REPORTED)
        while life.running and whole_lines(journal).count(_REPORTED) == before:
            time.sleep(0.05)
        if life.running:
            key = "local" if local else "ray"
            self.tally.starts[key] = (self.tally.starts[key] + time.monotonic() - life.began) / 2

    @staticmethod
    def _records(run: RunDirectory) -> int:
        return whole_lines(Path(run.journal)).count(b"\n")


def _checkpoints(run: RunDirectory) -> set[str]:
    """Checkpoints, finished or being written."""
    found: set[str] = set()
    for folder in run.root.glob("trials/*/checkpoints"):
        with contextlib.suppress(OSError):
            found.update(str(path) for path in folder.iterdir())
    return found


def _near_failure(run: RunDirectory) -> bool:
    """Whether one more lost process might be one too many for a trial."""
    state = SweepState(read(run.journal))
    return any(state.trials[number].consecutive_failures("lost") >= LOST_IN_A_ROW for number in state.running)


def unbroken(runs: Path) -> list[dict[str, Any]]:
    """The reference."""
    file = runs / "reference.yaml"
    file.write_text(json.dumps({**SPEC, "name": "reference"}))
    life = Life(["launch", str(file), "--local"], f"reference-{os.getpid()}", runs / "reference.stderr", runs)
    if life.process.wait() != 0:
        raise SystemExit(f"the reference sweep exits with {life.process.returncode}; see {life.log}")
    return outcome(run_at("reference", runs))


def campaign(
    kills: int, seed: int, parallel: int, runs: Path, shares: dict[str, int] | None = None, minutes: float = math.inf
) -> Tally:
    """Kill so often, or for so long, with ``parallel`` sweeps at a time; everything is written below ``runs``."""
    tally, reference = Tally(until=time.monotonic() + 60 * minutes), unbroken(runs)
    deck = draw(kills, seed, shares or SHARES)
    lanes = [Lane(f"seed-{seed}-lane-{n}", deck[n::parallel], runs, reference, tally) for n in range(parallel)]
    with ThreadPoolExecutor(parallel) as pool:
        futures = [pool.submit(lane.run) for lane in lanes]
        try:
            for future in futures:
                future.result()
        finally:
            tally.over.set()  # before its time where one lane broke or somebody has had enough: then the others end
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--shares", default=",".join(f"{name}={share}" for name, share in SHARES.items()))
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no kill after so long")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    shares = {name: int(share) for name, _, share in (part.partition("=") for part in asked.shares.split(","))}
    began, runs = time.monotonic(), Path(tempfile.mkdtemp(prefix="kills-"))
    tally = campaign(asked.kills, asked.seed, asked.parallel, runs, shares, asked.minutes)
    print("\n".join(report(tally, time.monotonic() - began)))
    if tally.violations:
        print(f"seed {asked.seed}; all of it is in {runs}", *tally.violations, sep="\n  ")
        sys.exit(1)
    shutil.rmtree(runs)


def report(tally: Tally, seconds: float) -> list[str]:
    kills = tally.kills.total()
    return [
        f"{kills} kills: {', '.join(f'{victim} {count}' for victim, count in tally.kills.most_common())}",
        f"at: {', '.join(f'{moment} {count}' for moment, count in tally.moments.most_common())}",
        f"{tally.sweeps} sweeps completed by {tally.drivers} drivers, of which {tally.gave_up} gave up by themselves",
        f"finished trials lost {tally.lost}, duplicates {tally.duplicates}, violations {len(tally.violations)}",
        f"all processes gone at most {tally.slowest:.1f} s after their driver",
        f"{seconds:.0f} s, {seconds / max(1, kills):.1f} s a kill",
    ]


if __name__ == "__main__":
    main()
