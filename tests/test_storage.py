"""Storage that is full, read-only, slow, failing out of reach: a sweep says so, waits, and ends as ever.

The disks are real tmpfs mounts. What tmpfs cannot do (fail an fsync, be slow, turn read-only under an open file) is put
in place of `os.fdatasync` and `os.fsync`.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RunHeldError, UsageError
from orchestrator.journal import FileStore, read
from orchestrator.results.run_state import read_state
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import from_mapping, to_yaml
from orchestrator.state import ENDED
from orchestrator.sweep import Outcome, launch, resume
from orchestrator.training import checkpoints
from orchestrator.training.csv_logger import EpochCSVLogger
from tests.chaos.boundaries import NAME, Ranking, ranking, spec
from tests.support.markers import sampled

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")
ROOT = Path(__file__).resolve().parent.parent
TRIALS = 6
NOBODY = 65534


def mounted(folder: Path, size: str = "8m", *options: str) -> Path:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "sweep-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("needs the mount command")
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    return folder


@pytest.fixture
def disk() -> Iterator[Path]:
    """A real file system of 8 MiB and 600 files, which another user may enter: not so in pytest's own folder."""
    with tempfile.TemporaryDirectory(prefix="sw") as parent:
        Path(parent).chmod(0o711)
        folder = mounted(Path(parent) / "disk", "8m", "nr_inodes=600")
        yield folder
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Ranking:
    """The same sweep on a disk that never fails."""
    return ranking(launch(spec(TRIALS), tmp_path_factory.mktemp("runs"), local=True).state)


def fill(folder: Path, left: int = 0) -> None:
    file = folder / "filler"
    with file.open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    os.truncate(file, file.stat().st_size - left)


def free(folder: Path) -> None:
    (folder / "filler").unlink()


def use_up_inodes(folder: Path) -> None:
    (folder / "many").mkdir()
    with suppress(OSError):
        for number in range(10_000):
            (folder / "many" / str(number)).touch()


def free_inodes(folder: Path) -> None:
    for path in (folder / "many").iterdir():
        path.unlink()


class Fault:
    """Breaks the storage at the ``at``-th call and mends it a while after, from another thread."""

    def __init__(self, at: int, breaks: Callable[[], Any], mends: Callable[[], Any], seconds: float = 1.2) -> None:
        self.at, self.breaks, self.mends, self.seconds = at, breaks, mends, seconds
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.breaks()
            threading.Timer(self.seconds, self.mends).start()


def before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, fault: Callable[[], None]) -> None:
    """Let the fault come in right before a real call of that function."""
    real = getattr(owner, name)

    def call(*args: Any, **named: Any) -> Any:
        fault()
        return real(*args, **named)

    monkeypatch.setattr(owner, name, call)


def held_to(outcome: Outcome, reference: Ranking) -> None:
    """Completed, nothing lost or torn, and the ranking of the sweep that met no fault."""
    assert (outcome.state.status, outcome.exit_code) == ("completed", 0), outcome.state.reason
    assert ranking(outcome.state) == reference
    assert not check(outcome.run).violations
    left = [*outcome.run.root.rglob("*.tmp"), outcome.run.root / ".probe"]
    assert not [path for path in left if path.exists()], "something half-written was left"


def faults_on_record(run: RunDirectory) -> list[str]:
    return [
        event.fields.get("fault") or event["message"]
        for event in read(run.journal)
        if event.type == "storage.waited" or (event.type == "segment.failed" and event["kind"] == "storage")
    ]


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [
        pytest.param(FileStore, "append", 1, marks=pytest.mark.slow),
        (FileStore, "append", 13),
        pytest.param(checkpoints, "write_durably", 4, marks=pytest.mark.slow),
        pytest.param(EpochCSVLogger, "flush", 5, marks=pytest.mark.slow),
    ],
    ids=["first record", "journal", "checkpoint", "table"],
)
def test_a_full_disk_is_waited_out(
    owner: Any,
    name: str,
    at: int,
    disk: Path,
    reference: Ranking,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fault = Fault(at, lambda: fill(disk), lambda: free(disk))
    before(monkeypatch, owner, name, fault)
    if at == 1:  # nothing has begun: that is said at once, and leaves nothing
        with pytest.raises(OSError, match="No space left"):
            launch(spec(TRIALS), disk / "runs", local=True)
        assert not (disk / "runs" / NAME).exists()
        time.sleep(2)
    outcome = launch(spec(TRIALS), disk / "runs", local=True)
    held_to(outcome, reference)
    if at > 1:
        assert any("o space left" in text for text in faults_on_record(outcome.run))
        said = capfd.readouterr().err
        assert "no space left; the sweep waits" in said
        assert "the storage can be written again" in said


@pytest.mark.slow
def test_a_disk_without_inodes_is_waited_out(
    disk: Path, reference: Ranking, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fault = Fault(5, lambda: use_up_inodes(disk), lambda: free_inodes(disk))
    before(monkeypatch, checkpoints, "write_durably", fault)
    outcome = launch(spec(TRIALS), disk / "runs", local=True)
    held_to(outcome, reference)
    assert any("o space left" in text for text in faults_on_record(outcome.run))
    assert "no space left; the sweep waits" in capfd.readouterr().err


@pytest.mark.parametrize(
    "number",
    sampled([errno.EIO, errno.EROFS, errno.EDQUOT, errno.ESTALE], slow=[errno.EROFS, errno.EDQUOT, errno.ESTALE]),
)
def test_a_disk_that_fails_to_sync_is_waited_out(
    number: int,
    disk: Path,
    reference: Ranking,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In place of `os.fdatasync`: the journal's. What it wrote before counts as lost, and is written again."""
    until: list[float] = []
    real = os.fdatasync

    def fails(descriptor: int) -> None:
        if until and time.monotonic() < until[0]:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    fault = Fault(9, lambda: until.append(time.monotonic() + 1.2), lambda: None)
    before(monkeypatch, FileStore, "append", fault)
    monkeypatch.setattr(os, "fdatasync", fails)
    outcome = launch(spec(TRIALS), disk / "runs", local=True)
    held_to(outcome, reference)
    assert len(faults_on_record(outcome.run)) == 1
    assert "the sweep waits" in capfd.readouterr().err


@pytest.mark.slow
def test_a_slow_disk_changes_nothing(disk: Path, reference: Ranking, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsync", "fdatasync"):
        before(monkeypatch, os, name, lambda: time.sleep(0.05))
    outcome = launch(spec(TRIALS), disk / "runs", local=True)
    held_to(outcome, reference)
    assert not faults_on_record(outcome.run)


def test_a_read_only_disk_is_refused_and_left_as_it_was(disk: Path, reference: Ranking) -> None:
    remount(disk, "ro")
    with pytest.raises(UsageError, match="cannot be written"):
        launch(spec(TRIALS), disk / "runs", local=True)
    assert not list(disk.iterdir())
    remount(disk, "rw")
    interrupted = launch(spec(TRIALS), disk / "runs", local=True, observer=stop_after(4))
    assert interrupted.state.status == "paused"
    journal = Path(interrupted.run.journal).read_bytes()
    remount(disk, "ro")
    with pytest.raises(OSError, match="Read-only"):
        resume(NAME, disk / "runs", local=True)
    assert Path(interrupted.run.journal).read_bytes() == journal
    assert read_state(interrupted.run).status == "paused", "it can be looked at"
    remount(disk, "rw")
    held_to(resume(NAME, disk / "runs", local=True), reference)


def remount(folder: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)


def stop_after(reports: int) -> Callable[[Any, Any], None]:
    seen: list[int] = []

    def observe(state: Any, event: Any) -> None:
        seen.extend([1] if event.type == "segment.reported" else [])
        if event.type == "segment.reported" and len(seen) == reports:
            os.kill(os.getpid(), signal.SIGTERM)

    return observe


def test_a_disk_that_is_full_on_resume_is_said_and_leaves_all_as_it_was(disk: Path, reference: Ranking) -> None:
    interrupted = launch(spec(TRIALS), disk / "runs", local=True, observer=stop_after(5))
    assert interrupted.exit_code == 143
    ended = {n for n, trial in interrupted.state.trials.items() if trial.status in ENDED}
    journal = Path(interrupted.run.journal).read_bytes()
    fill(disk)
    with pytest.raises(OSError, match="No space left"):
        resume(NAME, disk / "runs", local=True)
    assert Path(interrupted.run.journal).read_bytes() == journal
    state = read_state(interrupted.run)
    assert {n for n, trial in state.trials.items() if trial.status in ENDED} == ended
    free(disk)
    held_to(resume(NAME, disk / "runs", local=True), reference)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody whom permissions bind")
@pytest.mark.parametrize("part", sampled(["", "trials"], slow=[""]))
def test_permissions_taken_away_are_waited_out(
    part: str, disk: Path, reference: Ranking, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    os.chown(disk, NOBODY, NOBODY)
    monkeypatch.setenv("HOME", str(disk))
    path = disk / "runs" / NAME / part
    fault = Fault(4, lambda: path.chmod(0), lambda: path.chmod(0o700), 1.0)
    before(monkeypatch, checkpoints, "write_durably", fault)
    os.seteuid(NOBODY)
    try:
        outcome = launch(spec(TRIALS), disk / "runs", local=True)
        if outcome.state.status == "paused":  # the folder above could be written: it was not known when to go on
            assert "storage failed" in outcome.state.reason
            time.sleep(1.5)
            outcome = resume(NAME, disk / "runs", local=True)
        held_to(outcome, reference)
    finally:
        os.seteuid(0)
    assert any("ermission denied" in text for text in faults_on_record(outcome.run))


def test_a_quota_holds_while_the_sweep_runs(tmp_path: Path, reference: Ranking) -> None:
    """But for two: the one just written, and the one that goes for it once that is durably on record."""
    described = spec(TRIALS)
    size = max(event["size"] for event in read(_plain(tmp_path).journal) if event.type == "segment.checkpointed")
    quota = 3 * size + 100
    limited = described.model_copy(update={"checkpoints": described.checkpoints.model_copy(update={"quota": quota})})
    used: list[int] = []

    def measure(state: Any, event: Any) -> None:
        used.append(sum(path.stat().st_size for path in (tmp_path / "limited").rglob("*.ckpt")))

    outcome = launch(limited, tmp_path / "limited", local=True, observer=measure)
    held_to(outcome, reference)
    assert max(used) <= quota + 2 * size
    assert used[-1] <= quota


def _plain(folder: Path) -> RunDirectory:
    return launch(spec(TRIALS), folder / "plain", local=True).run


def command(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_ctrl_c_on_a_full_disk_ends_it_soon_and_it_can_be_resumed(
    disk: Path, tmp_path: Path, reference: Ranking
) -> None:
    slow = spec(TRIALS).model_dump(mode="json") | {
        "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.1}}
    }
    file = tmp_path / "slow.yaml"
    file.write_text(to_yaml(from_mapping(slow)))
    process = command("launch", str(file), "--local", "--runs", str(disk / "runs"))
    run = run_at(NAME, disk / "runs")
    try:
        wait_for(lambda: run.exists() and len(read_state(run).trials) > 1 and read_state(run).count(*ENDED) > 0)
        fill(disk)
        time.sleep(2.5)
        process.send_signal(signal.SIGINT)
        asked = time.monotonic()
        _, said = process.communicate(timeout=30)
        assert time.monotonic() - asked < 15
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "no space left" in said
    assert "Traceback" not in said
    ended = {n: trial.status for n, trial in read_state(run).trials.items() if trial.status in ENDED}
    free(disk)
    outcome = resume(NAME, disk / "runs", local=True)
    assert ended
    assert all(outcome.state.trials[number].status == status for number, status in ended.items())
    held_to(outcome, reference)


def wait_for(true: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.slow
def test_a_full_tmpdir_on_another_device_is_not_needed(disk: Path, tmp_path: Path, reference: Ranking) -> None:
    fill(disk)
    file = tmp_path / "sweep.yaml"
    file.write_text(to_yaml(spec(TRIALS)))
    process = command("launch", str(file), "--local", "--runs", str(tmp_path / "runs"), TMPDIR=str(disk))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    run = run_at(NAME, tmp_path / "runs")
    held_to(Outcome(run, read_state(run), 0), reference)
    assert [path.name for path in disk.iterdir()] == ["filler"]


# At any moment


CALLS = ("open", "write", "mkdir", "replace", "link", "fsync", "fdatasync")
WAYS = {"full": (fill, free), "without inodes": (use_up_inodes, free_inodes)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", WAYS)
def test_a_disk_that_fills_up_at_any_moment_loses_nothing(
    way: str, disk: Path, tmp_path: Path, reference: Ranking
) -> None:
    """Before a call that writes, which is drawn at random among all of a sweep; for 0.7 s."""
    breaks, mends = WAYS[way]
    counted = run_with_fault(Fault(-1, lambda: None, lambda: None), tmp_path / "dry")[1]
    source, refused = random.Random(way), 0
    for number, at in enumerate(sorted(source.sample(range(1, counted), 20))):
        runs = disk / f"runs-{number}"
        fault = Fault(at, lambda: breaks(disk), lambda: mends(disk), 0.7)
        outcome, _ = run_with_fault(fault, runs)
        time.sleep(0.8)  # until the disk is free, if the sweep needed nothing of it
        if outcome is None:
            refused += 1
            begun = run_at(NAME, runs).exists()  # its first record was written, and a file beside it could not be
            outcome = resumed(runs) if begun else launch(spec(TRIALS), runs, local=True)
        elif outcome.state.status == "paused":
            outcome = resumed(runs)
        held_to(outcome, reference)
        shutil.rmtree(runs)
        for kept in ("filler", "many"):
            shutil.rmtree(disk / kept, ignore_errors=True)
    print(f"{way}: {counted} calls, 20 moments, {refused} launches refused")
    assert refused < 10


def resumed(runs: Path) -> Outcome:
    """Resume; this process holds the lease for 20 s more if the disk had no room for its release."""
    until = time.monotonic() + 60
    while True:
        try:
            return resume(NAME, runs, local=True)
        except RunHeldError:
            assert time.monotonic() < until
            time.sleep(1)


def run_with_fault(fault: Fault, runs: Path) -> tuple[Outcome | None, int]:
    """Launch the sweep with the fault before a call that writes. None if the launch is refused for the disk."""
    with pytest.MonkeyPatch.context() as patches:
        for name in CALLS:
            before(patches, os, name, fault)
        try:
            return launch(spec(TRIALS), runs, local=True), fault.calls
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return None, fault.calls


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB in a file, which can be made to fail as a disk with errors does."""
    image, folder = tmp_path / "image", tmp_path / "ext4"
    image.touch()
    os.truncate(image, 32 << 20)
    folder.mkdir()
    try:
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
        done = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True)
    except FileNotFoundError as error:
        pytest.skip(f"needs {error.filename}")
    if done.returncode:
        pytest.skip(f"needs the right to mount a file: {done.stderr.strip()}")
    yield folder
    while subprocess.run(["umount", "-l", folder], capture_output=True).returncode == 0:
        pass


def break_down(ext4: Path) -> None:
    """Turn the file system read-only under its open files, as the kernel does at an error of the disk."""
    subprocess.run(["sync", "-f", ext4], check=True)  # as it would have been half a minute after the start
    busy = subprocess.run(["mount", "-o", "remount,ro", ext4], capture_output=True, text=True)
    assert "busy" in busy.stderr, "while the journal is open nobody turns it read-only by a mere remount"
    subprocess.run(["mount", "-o", "remount,abort", ext4], check=True)


def mount_repaired(ext4: Path) -> None:
    image = ext4.parent / "repaired"
    shutil.copy(ext4.parent / "image", image)
    subprocess.run(["fsck.ext4", "-y", image], capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, ext4], check=True)


@pytest.mark.slow
def test_a_file_system_that_turns_read_only_under_the_journal_is_waited_out(
    ext4: Path, reference: Ranking, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Somebody mounts the repaired disk over it: the journal is written there again."""
    before(monkeypatch, FileStore, "append", Fault(13, lambda: break_down(ext4), lambda: mount_repaired(ext4), 2.0))
    outcome = launch(spec(TRIALS), ext4 / "runs", local=True)
    held_to(outcome, reference)
    assert faults_on_record(outcome.run) == ["the file system is read-only"]
    assert "the file system is read-only; the sweep waits" in capfd.readouterr().err


@pytest.mark.slow
def test_a_file_system_that_is_unmounted_under_the_journal_ends_the_sweep(
    ext4: Path, reference: Ranking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run is gone for the time being, as if the folder had been moved: no other begins in its place."""

    def unmount() -> None:
        break_down(ext4)
        subprocess.run(["umount", "-l", ext4], check=True)

    with monkeypatch.context() as patches:
        before(patches, FileStore, "append", Fault(13, unmount, lambda: None))
        with pytest.raises(RunHeldError, match=r"lease was removed or renamed"):
            launch(spec(TRIALS), ext4 / "runs", local=True)
    left = [str(path.relative_to(ext4 / "runs" / NAME)) for path in ext4.rglob("*") if path.is_file()]
    assert not [name for name in left if not name.startswith("trials/")], "neither journal nor lease"
    mount_repaired(ext4)
    held_to(resumed(ext4 / "runs"), reference)
