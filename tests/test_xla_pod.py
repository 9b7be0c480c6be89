"""Sweeps on fake TPU slices of a real Ray cluster: who runs where, and what becomes of hosts that go.

The hosts are raylets on this machine with the labels and resources that TPU hosts have. The training processes train
nothing (``tpu_payload``); everything around them is real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import sweep
from orchestrator.journal import Event
from orchestrator.results.run_state import read_state
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.xla import slice_engine as slices
from orchestrator.xla.process_env import plan_env
from tests.support.fake_pod import FakePod, Seen, at_once
from tests.support.paths import ROOT
from tests.support.tpu_payload import interpreter

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore::ResourceWarning")]

SPEC: dict[str, Any] = {
    "name": "pod",
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {}},
    "trainer": {"max_epochs": 3},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": 3},
    "resources": {"tpu": "v4-16", "cpus": 0},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakePod]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_TPU_PYTHON", str(interpreter(tmp_path_factory.mktemp("payload"))))
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_worker_niceness", "0")
        pod = FakePod()
        try:
            yield pod
        finally:
            pod.shutdown()


@pytest.fixture
def pod(cluster: FakePod, monkeypatch: pytest.MonkeyPatch) -> FakePod:
    """Two whole slices of two hosts each; what the test before has broken is mended."""
    cluster.make_whole()
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return cluster


def spec(**fields: Any) -> SweepSpec:
    told = fields.pop("told", {})
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": told}
    return from_mapping({**SPEC, **fields, "model": model})


def run(wanted: SweepSpec, seen: Seen, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> RunDirectory:
    """Launch it as the command does, but for the arguments that only the payload knows."""
    from orchestrator.sweep import lifecycle

    monkeypatch.setattr(lifecycle, "check", lambda spec, run, **where: [str(ROOT)])
    outcome = sweep.launch(wanted, address=os.environ["RAY_ADDRESS"], observer=seen)
    assert outcome.exit_code == code, outcome.state.reason
    return outcome.run


def verified(found: RunDirectory) -> None:
    assert check(found).violations == []


def processes(found: RunDirectory, trial: int) -> list[list[str]]:
    return sorted(line.split()[:4] for line in (found.trial(trial) / "seen.txt").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.ray
def test_one_trial_a_slice_and_the_third_waits(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    found = run(spec(told={"pause": 0.3}), seen, monkeypatch)
    started = seen.of("segment.started")
    assert len(started) == 3
    assert {event["node"] for event in started[:2]} == {"a", "b"}
    assert {event["on"] for event in started} == {"v4-16"}
    assert at_once(seen.events) == 2
    ends = [event for event in seen.events if event.type == "trial.finished"]
    assert started[2].seq > ends[0].seq, "the third waits for the first that ends"
    launched = seen.of("sweep.launched")
    assert [(event["engine"], event["slots"]) for event in launched] == [("xla", 2)]
    for trial in range(3):
        assert [line[:2] for line in processes(found, trial)] == [["0", "0"], ["0", "1"]]
    verified(found)


@pytest.mark.slow
@pytest.mark.ray
def test_ranks_follow_the_worker_ids_and_not_the_order_of_the_hosts(
    pod: FakePod, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[list[str]] = []
    original = plan_env
    names: dict[str, str] = {}

    def noting(wanted: Any, hosts: Any, *args: Any, **kwargs: Any) -> Any:
        planned.append(list(hosts))
        return original(wanted, hosts, *args, **kwargs)

    monkeypatch.setattr(slices, "plan_env", noting)
    reserve = slices.SliceEngine._update_places

    def look(self: Any) -> None:
        reserve(self)
        for slot in self._slots:
            names[slot.place.name] = " ".join(node.name for node in slot.place.nodes)

    monkeypatch.setattr(slices.SliceEngine, "_update_places", look)
    run(spec(budget={"trials": 1}), Seen(), monkeypatch)
    assert names == {"a": "a-0 a-1", "b": "b-0 b-1"}
    assert [len(hosts) for hosts in planned] == [2]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("worker", [0, 1])
def test_a_lost_host_takes_its_slice_and_the_trial_goes_on_elsewhere(
    worker: int, pod: FakePod, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_a_after_an_epoch(event: Event) -> bool:
        trial = event.fields.get("trial")
        return event.type == "segment.reported" and trial is not None and seen.state.trials[trial].node == "a"

    seen = Seen(on_a_after_an_epoch, lambda: pod.kill("a", worker))
    found = run(spec(told={"pause": 1.5}, trainer={"max_epochs": 5}), seen, monkeypatch)
    lost = seen.of("segment.failed")
    assert [event["kind"] for event in lost] == ["node"], [event.fields for event in lost]
    again = next(e for e in seen.of("segment.started") if e["trial"] == lost[0]["trial"] and e["segment"] == 1)
    assert again["node"] == "b"
    assert again["origin"], "from its checkpoint, not afresh"
    assert all(event["node"] == "b" for event in seen.of("segment.started") if event.seq > lost[0].seq)
    assert seen.state.count("finished") == 3
    for trial in seen.state.trials.values():
        assert sorted(trial.reports) == [1, 2, 3, 4, 5], "no epoch lost, none twice"
    verified(found)


@pytest.mark.slow
@pytest.mark.ray
def test_a_notice_on_one_host_empties_the_slice(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_b(event: Event) -> bool:
        return event.type == "segment.started" and event["node"] == "b"

    seen = Seen(on_b, lambda: pod.drain("b", 1))
    found = run(spec(told={"pause": 1.5}, trainer={"max_epochs": 4}), seen, monkeypatch)
    taken = seen.of("segment.failed")
    assert [event["kind"] for event in taken] == ["preempted"]
    trial = taken[0]["trial"]
    again = next(e for e in seen.of("segment.started") if e["trial"] == trial and e["segment"] == 1)
    assert again["node"] == "a"
    before = [e for e in seen.of("segment.reported") if e["trial"] == trial and e["segment"] == 0]
    assert again["origin"].endswith(f"epoch={before[-1]['epoch']:04d}-segment=0.ckpt"), "at its last epoch's end"
    assert all(event["node"] == "a" for event in seen.of("segment.started") if event.seq > taken[0].seq)
    assert seen.state.count("finished") == 3
    verified(found)


@pytest.mark.slow
@pytest.mark.ray
def test_a_broken_slice_is_avoided_until_it_is_whole(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    pod.kill("b", 1)
    seen = Seen(lambda event: event.type == "trial.finished", lambda: pod.add("b", 1))
    run(spec(told={"pause": 1.0}, budget={"trials": 12}, trainer={"max_epochs": 2}), seen, monkeypatch)
    started = seen.of("segment.started")
    whole = next(event.seq for event in started if event["node"] == "b")
    first_end = seen.of("trial.finished")[0].seq
    assert whole > first_end
    assert {event["node"] for event in started if event.seq < first_end} == {"a"}


@pytest.mark.slow
@pytest.mark.ray
def test_errors_are_told_apart_from_losses(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    run(spec(told={"fault": "die_once", "rank": 1, "at": 2, "pause": 0.2}, budget={"trials": 1}), seen, monkeypatch)
    assert [event["kind"] for event in seen.of("segment.failed")] == ["lost"]
    assert seen.state.count("finished") == 1
    seen = Seen()
    run(spec(name="raises", told={"fault": "raise", "rank": 1}, budget={"trials": 1}), seen, monkeypatch, code=1)
    assert [event["kind"] for event in seen.of("segment.failed")] == ["user"]
    assert seen.state.count("failed") == 1
    seen = Seen()
    stuck = {"fault": "hang_once", "at": 2, "pause": 0.2}
    run(spec(name="hangs", told=stuck, budget={"trials": 1}, recovery={"stalled_after": "3s"}), seen, monkeypatch)
    assert [event["kind"] for event in seen.of("segment.failed")] == ["stalled"]
    assert seen.of("segment.started")[1]["origin"].endswith("epoch=0001-segment=0.ckpt")


@pytest.mark.slow
@pytest.mark.ray
def test_a_trial_over_two_slices(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    found = run(spec(resources={"tpu": "v4-16", "slices": 2, "cpus": 0}, budget={"trials": 2}), seen, monkeypatch)
    assert [event["node"] for event in seen.of("segment.started")] == ["a+b", "a+b"]
    assert at_once(seen.events) == 1
    assert [line[3] for line in processes(found, 0)] == ["0", "1", "2", "3"]


@pytest.mark.slow
@pytest.mark.ray
def test_it_stops_at_an_epochs_end_and_goes_on_where_it_was(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        requests = run_at("pod").requests
        requests.mkdir(exist_ok=True)
        (requests / "stop").touch()

    seen = Seen(lambda event: event.type == "segment.reported", stop)
    wanted = spec(told={"pause": 1.0}, trainer={"max_epochs": 4})
    run(wanted, seen, monkeypatch)
    assert seen.state.status == "paused"
    told = {number: sorted(trial.reports) for number, trial in seen.state.trials.items()}
    again = Seen()
    outcome = sweep.resume("pod", address=os.environ["RAY_ADDRESS"], observer=again)
    assert outcome.exit_code == 0
    origins = {event["trial"]: event["origin"] for event in again.of("segment.started") if event["segment"] == 1}
    for number, epochs in told.items():
        assert origins[number] == (
            f"trials/{number:04d}/checkpoints/epoch={epochs[-1]:04d}-segment=0.ckpt" if epochs else None
        )
    assert {tuple(sorted(trial.reports)) for trial in again.state.trials.values()} == {(1, 2, 3, 4)}
    verified(outcome.run)


@pytest.mark.slow
@pytest.mark.ray
def test_a_driver_that_is_killed_leaves_nothing_running(pod: FakePod, tmp_path: Path) -> None:
    """By the commands that a person types, in processes of their own."""
    file = tmp_path / "pod.yaml"
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 1.0}}
    file.write_text(json.dumps({**SPEC, "model": model, "trainer": {"max_epochs": 4}}))
    command = [sys.executable, "-m", "orchestrator"]
    with (tmp_path / "said").open("w") as said:
        driver = subprocess.Popen([*command, "launch", str(file)], cwd=ROOT, stdout=said, stderr=said)
    found = run_at("pod")
    try:
        until = time.monotonic() + 240
        while driver.poll() is None and time.monotonic() < until:
            if Path(found.journal).exists() and Path(found.journal).read_text().count("segment.reported") >= 3:
                break
            time.sleep(0.1)
    finally:
        driver.kill()
        driver.wait()
    assert Path(found.journal).read_text().count("segment.reported") >= 3, (tmp_path / "said").read_text()
    seen = [line.split() for path in found.root.glob("trials/*/seen.txt") for line in path.read_text().splitlines()]
    until = time.monotonic() + 60
    while any(Path(f"/proc/{line[4]}").exists() for line in seen) and time.monotonic() < until:
        time.sleep(0.2)
    assert not [line for line in seen if Path(f"/proc/{line[4]}").exists()]
    answer = subprocess.run(
        [*command, "resume", "pod"], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert answer.returncode == 0, answer.stderr
    state = read_state(found)
    assert {tuple(sorted(trial.reports)) for trial in state.trials.values()} == {(1, 2, 3, 4)}
    verified(found)


@pytest.mark.slow
@pytest.mark.ray
def test_other_devices_than_planned_stop_the_sweep_at_once(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.errors import SweepError

    seen = Seen()
    with pytest.raises(SweepError, match="planned 4 XLA devices, found 2"):
        run(spec(told={"fault": "refuse"}), seen, monkeypatch)
    assert seen.state.status == "paused"
    assert "found 2" in seen.state.reason
    assert not seen.of("segment.reported")


@pytest.mark.slow
@pytest.mark.ray
def test_trials_on_gpus_and_on_slices_side_by_side(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared by epochs: one scheduler for both, and each trial stays on the kind that it began on."""
    pod.add_gpus()
    both = {"tpu": "v4-16", "gpus": 1, "cpus": 0}
    scheduler = {"name": "asha", "grace_epochs": 1, "reduction_factor": 2, "promote": True}
    seen = Seen()
    found = run(
        spec(told={"pause": 0.2}, resources=both, scheduler=scheduler, budget={"trials": 9}, trainer={"max_epochs": 4}),
        seen, monkeypatch,
    )  # fmt: skip
    on: dict[int, set[str]] = {}
    for event in seen.of("segment.started"):
        on.setdefault(event["trial"], set()).add(event["on"])
    assert {kind for kinds in on.values() for kind in kinds} == {"gpu", "v4-16"}
    assert all(len(kinds) == 1 for kinds in on.values()), on
    assert at_once(seen.events) == 3
    verified(found)


@pytest.mark.slow
@pytest.mark.ray
def test_without_a_whole_slice_the_sweep_pauses_and_says_why(pod: FakePod, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.errors import SweepError

    pod.kill("a", 0)
    pod.kill("b", 0)
    original = slices.run
    monkeypatch.setattr(slices, "run", lambda *given, **named: original(*given, **named, patience=30))
    with pytest.raises(SweepError, match="a: 1 of 2 hosts are present; b: 1 of 2 hosts are present"):
        run(spec(), Seen(), monkeypatch)
    said = json.loads(Path(run_at("pod").journal).read_text().splitlines()[-1])
    assert said["type"] == "sweep.paused"
