"""TPU slices by name, and the processes of a trial with their environment: tables, and properties of all plans."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from typer.testing import CliRunner

from orchestrator.cli import app
from orchestrator.errors import SpecError, UsageError
from orchestrator.plan import measure, plan
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.spec.tpu_placement import kinds
from orchestrator.spec.tpu_slices import GENERATIONS, Slice, canonical, slice_of
from orchestrator.sweep import launch
from orchestrator.xla.process_env import plan_env
from tests.support.doc_blocks import blocks_of, words
from tests.support.paths import ROOT

BASE = {"name": "t", "objective": {"metric": "val_loss", "mode": "min"}, "model": "tests.support.tiny.Tiny"}
SLICES = [
    slice_of(f"{name}-{chips * generation.counts_as}")
    for name, generation in GENERATIONS.items()
    for chips in generation.sizes
]
RUNTIMES = ("xla-spmd", "xla-mp", "torch_tpu", "rehearsal-spmd", "rehearsal-gloo")


def hosts_of(wanted: Slice, slices: int = 1) -> list[str]:
    return [f"10.0.0.{number}" for number in range(wanted.hosts * slices)]


def spec(**resources: object) -> SweepSpec:
    return from_mapping({**BASE, "resources": resources})


# topology, hosts, chips a host, XLA devices, name of Google's, hosts along each side, chips of a host along each side
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v2-8", ("2x2", 1, 4, 8, "v2-8", (1, 1, 1), (2, 2, 1))),
        ("v3-32", ("4x4", 4, 4, 32, "v3-32", (2, 2, 1), (2, 2, 1))),
        ("v4-8", ("2x2x1", 1, 4, 4, "v4-8", (1, 1, 1), (2, 2, 1))),
        ("v4-16", ("2x2x2", 2, 4, 8, "v4-16", (1, 1, 2), (2, 2, 1))),
        ("v4-32", ("2x2x4", 4, 4, 16, "v4-32", (1, 1, 4), (2, 2, 1))),
        ("v4-128", ("4x4x4", 16, 4, 64, "v4-128", (2, 2, 4), (2, 2, 1))),
        ("v5e-1", ("1x1", 1, 1, 1, "v5litepod-1", (1, 1, 1), (1, 1, 1))),
        ("v5e-8", ("2x4", 1, 8, 8, "v5litepod-8", (1, 1, 1), (2, 4, 1))),
        ("v5e-16", ("4x4", 4, 4, 16, "v5litepod-16", (2, 2, 1), (2, 2, 1))),
        ("v5litepod-16", ("4x4", 4, 4, 16, "v5litepod-16", (2, 2, 1), (2, 2, 1))),
        ("v5p-16", ("2x2x2", 2, 4, 8, "v5p-16", (1, 1, 2), (2, 2, 1))),
        ("v6e-64", ("8x8", 16, 4, 64, "v6e-64", (4, 4, 1), (2, 2, 1))),
        ("v6e-256", ("16x16", 64, 4, 256, "v6e-256", (8, 8, 1), (2, 2, 1))),
        ("v7x-16", ("2x2x2", 2, 4, 16, "tpu7x-16", (1, 1, 2), (2, 2, 1))),
    ],
)
def test_slices_by_name(name: str, expected: tuple[object, ...]) -> None:
    found = slice_of(name)
    assert expected == (
        found.topology, found.hosts, found.chips_a_host, found.devices, found.accelerator_type,
        found.host_bounds, found.chip_bounds,
    )  # fmt: skip
    assert canonical(name) == found.name


def test_slices_are_what_ray_takes_them_for() -> None:
    """Chips a host, the label of the kind, and which topologies there are: by Ray's own tables."""
    from ray._private.accelerators import tpu as rays

    for found in SLICES:
        generation = "v5litepod" if found.name.startswith("v5e") else found.name.partition("-")[0]
        if found.topology in rays.VALID_TPU_TOPOLOGY[generation]:
            assert rays.get_chips_per_host(found.topology, generation) == found.chips_a_host, found
        label = rays.infer_tpu_pod_type_from_topology(found.topology, f"TPU-{generation}".upper())
        assert label in found.pod_types, found
    known = {found.topology for found in SLICES if found.name.startswith("v6e")}
    assert known == rays.VALID_TPU_TOPOLOGY["v6e"] - {"2x8"}


@pytest.mark.parametrize(
    ("name", "topology", "said"),
    [
        ("v5e", None, "a TPU slice such as"),
        ("v9-8", None, "a TPU slice such as"),
        ("v5e-17", None, "there is no v5e-17"),
        ("v4-9", None, "there is no v4-9"),
        ("v5e-16", "4x8", "v5e-16 has 16 chips, but 4x8 is 32"),
        ("v5e-16", "4x4x1", "v5e has 2 dimensions"),
        ("v4-16", "2x4", "v4 has 3 dimensions"),
        ("v5e-16", "1x16", "2x2 chips each"),
        ("v5e-16", "sixteen", "a topology such as 4x4"),
    ],
)
def test_what_is_no_slice(name: str, topology: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        slice_of(name, topology)


def test_one_process_a_host_by_default() -> None:
    wanted = slice_of("v5e-16")
    processes = plan_env(wanted, ["a", "b", "c", "d"], "xla-spmd")
    assert [(p.rank, p.address, p.local_rank, p.world) for p in processes] == [
        (0, "a", 0, 4), (1, "b", 0, 4), (2, "c", 0, 4), (3, "d", 0, 4),
    ]  # fmt: skip
    assert processes[2].env == {
        "RANK": "2", "LOCAL_RANK": "0", "NODE_RANK": "2", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "a", "MASTER_PORT": "29400", "PJRT_DEVICE": "TPU",
    }  # fmt: skip
    assert (processes[2].devices, processes[2].own, processes[2].device_type) == (16, 4, "TPU")
    assert "TPU_VISIBLE_CHIPS" in processes[2].unset


def test_one_process_a_chip() -> None:
    processes = plan_env(slice_of("v4-16"), ["a", "b"], "xla-mp")
    assert len(processes) == 8
    last = processes[-1]
    assert (last.rank, last.host, last.local_rank, last.own, last.devices) == (7, 1, 3, 1, 8)
    assert {name: value for name, value in last.env.items() if "TPU" in name or "PJRT" in name} == {
        "PJRT_DEVICE": "TPU", "PJRT_LOCAL_PROCESS_RANK": "3", "PJRT_LOCAL_PROCESS_COUNT": "4",
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "2,2,2", "CLOUD_TPU_TASK_ID": "7",
        "TPU_PROCESS_ADDRESSES": "a:8476,a:8477,a:8478,a:8479,b:8476,b:8477,b:8478,b:8479",
        "TPU_PROCESS_PORT": "8479", "TPU_VISIBLE_CHIPS": "3",
    }  # fmt: skip


def test_several_slices() -> None:
    processes = plan_env(slice_of("v4-16"), ["a", "b", "c", "d"], "xla-spmd", slices=2)
    said = [{name: p.env[name] for name in p.env if name.startswith("MEGASCALE")} for p in processes]
    assert [s["MEGASCALE_SLICE_ID"] for s in said] == ["0", "0", "1", "1"]
    assert {(s["MEGASCALE_COORDINATOR_ADDRESS"], s["MEGASCALE_NUM_SLICES"]) for s in said} == {("a", "2")}
    assert {p.devices for p in processes} == {16}
    chips = plan_env(slice_of("v4-16"), ["a", "b", "c", "d"], "xla-mp", slices=2)
    assert [p.rank for p in chips] == list(range(16))
    assert chips[8].env["CLOUD_TPU_TASK_ID"] == "0", "libtpu builds each slice by itself"
    assert chips[8].env["TPU_PROCESS_ADDRESSES"].startswith("c:8476,")


def test_several_slices_as_ray_says_it() -> None:
    from ray.util.tpu import get_tpu_coordinator_env_vars

    second = plan_env(slice_of("v4-8"), ["a", "b"], "xla-spmd", slices=2)[1].env
    assert get_tpu_coordinator_env_vars("a", 2, 1).items() <= second.items()


def test_torch_tpu_is_planned() -> None:
    last = plan_env(slice_of("v6e-16"), ["a", "b", "c", "d"], "torch_tpu")[-1]
    assert last.env["TORCH_TPU_SLICEBUILDER_ADDRESSES"].split(",")[::15] == ["a:8070", "d:8073"]
    assert (last.env["TORCH_TPU_TOPOLOGY"], last.env["NNODES"], last.env["RANK"]) == ("4x4", "4", "15")
    assert "PJRT_DEVICE" not in last.env


@settings(deadline=None)
@given(st.sampled_from([found for found in SLICES if found.chips <= 512]), st.integers(1, 3), st.sampled_from(RUNTIMES))
def test_every_plan_covers_the_slice_once(wanted: Slice, slices: int, runtime: str) -> None:
    processes = plan_env(wanted, hosts_of(wanted, slices), runtime, slices=slices)
    assert [p.rank for p in processes] == list(range(processes[0].world))
    assert [p.host for p in processes] == sorted(p.host for p in processes)
    assert {p.host for p in processes} == set(range(wanted.hosts * slices))
    assert prod(wanted.host_bounds) == wanted.hosts
    assert prod(wanted.chip_bounds) == wanted.chips_a_host
    if not runtime.startswith("rehearsal"):
        assert {p.devices for p in processes} == {wanted.chips * wanted.generation.devices * slices}
        assert sum(p.own for p in processes) == processes[0].devices
    if runtime == "xla-mp":
        tasks = [(p.host // wanted.hosts, p.env["CLOUD_TPU_TASK_ID"]) for p in processes]
        assert len(set(tasks)) == len(tasks)
        places = {(p.address, p.env["TPU_PROCESS_PORT"]) for p in processes}
        assert len(places) == len(processes)
    for p in processes:
        assert not p.env.keys() & set(p.unset)
        assert all(isinstance(value, str) for value in p.env.values())


def test_the_plan_needs_every_host() -> None:
    with pytest.raises(ValueError, match="has 2 hosts, but got 1"):
        plan_env(slice_of("v4-16"), ["a"], "xla-spmd")


def test_where_trials_may_go() -> None:
    assert kinds(spec(cpus=1).resources) == ("gpu",)
    assert kinds(spec(tpu="v5litepod-16").resources) == ("v5e-16",)
    assert kinds(spec(tpu="v5e-16", gpus=1).resources) == ("v5e-16", "gpu")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"resources": {"topology": "4x4"}}, "describes a TPU slice, but resources.tpu is missing"),
        ({"resources": {"slices": 2}}, "describes a TPU slice"),
        ({"resources": {"tpu": "v3-8", "runtime": "xla-mp"}}, "two XLA devices"),
        ({"resources": {"tpu": "v4-16", "runtime": "rehearsal-spmd"}}, "several hosts"),
        ({"resources": {"tpu": "v4-8"}, "trainer": {"strategy": "ddp"}}, "trainer.strategy is set by the TPU launcher"),
        ({"resources": {"tpu": "v4-8"}, "trainer": {"precision": "bf16-mixed"}}, "XLA has no bf16-mixed"),
        ({"resources": {"tpu": "v4-8", "workers": 2}}, "follow from the slice"),
        ({"resources": {"tpu": "v4-8", "gpus": 1}, "budget": {"gpu_hours": 3}}, "does not count TPU slices"),
    ],
)
def test_what_cannot_be_meant(fields: dict[str, object], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        from_mapping({**BASE, **fields})


def test_the_command_shows_every_process(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(json.dumps({**BASE, "resources": {"tpu": "v4-16"}}))
    named = ["--host", "10.0.0.4", "--host", "10.0.0.5"]
    text = CliRunner().invoke(app, ["tpu", "plan", str(file), *named])
    assert text.exit_code == 0, text.output
    assert "v4-16 (v4-16, 2x2x2): 2 hosts with 4 chips each" in text.output
    assert "10.0.0.5, process 1:" in text.output
    assert "  MASTER_ADDR=10.0.0.4\n" in text.output
    found = json.loads(CliRunner().invoke(app, ["tpu", "plan", str(file), *named, "--json"]).output)
    expected = plan_env(slice_of("v4-16"), ["10.0.0.4", "10.0.0.5"], "xla-spmd")
    assert [p["env"] for p in found["processes"]] == [p.env for p in expected]
    assert found["command"] == "$SWEEP_TPU_PYTHON -m orchestrator.xla.slice_trial"


def test_a_slice_is_not_measured_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be measured on this machine"):
        measure(spec(tpu="v4-16"), plan(spec(tpu="v4-16")))
    with pytest.raises(UsageError, match="a local sweep cannot train on v4-16"):
        launch(spec(tpu="v4-16"), tmp_path, local=True)
    with pytest.raises(UsageError, match="trials do not run on it yet"):
        launch(spec(tpu="v4-16", runtime="torch_tpu"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_gcloud_runs_the_same_command_on_every_host(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(json.dumps({**BASE, "resources": {"tpu": "v4-16"}, "budget": {"trials": 1}}))
    options = ["--gcloud", "pod", "--zone", "us-central2-b", "--dry-run", "--set", "seed=4"]
    answer = CliRunner().invoke(app, ["tpu", "launch", str(file), *options])
    assert answer.exit_code == 0, answer.output
    assert "gcloud compute tpus tpu-vm ssh pod --zone=us-central2-b --worker=all" in answer.output
    assert f"sweep tpu launch --alone {file} --set seed=4" in answer.output


def test_the_page_shows_what_the_command_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/tpu.md's own blocks: its command is run, and its fragment is a sweep file's."""
    (block,) = [block for block in blocks_of(ROOT / "docs/tpu.md", ROOT) if block.language == "console"]
    (command,) = block.commands()
    answer = CliRunner().invoke(app, words(command)[1:])
    assert answer.exit_code == 0, answer.output
    assert block.text.partition("\n")[2] == answer.output
    (fragment,) = [block for block in blocks_of(ROOT / "docs/tpu.md", ROOT) if block.language == "yaml"]
    assert from_mapping({**BASE, **YAML(typ="safe").load(fragment.text)}).resources.tpu == "v5e-16"


def test_the_manifest_asks_gke_for_whole_slices(tmp_path: Path) -> None:
    file = tmp_path / "My_sweep.yaml"
    file.write_text(json.dumps({**BASE, "name": "My_sweep", "resources": {"tpu": "v5e-16", "slices": 2}}))
    options = ["--image", "eu.gcr.io/x/sweep:1", "--claim", "runs", "--slices", "3"]
    answer = CliRunner().invoke(app, ["tpu", "manifest", str(file), *options])
    assert answer.exit_code == 0, answer.output
    found = YAML(typ="safe").load(answer.output)
    assert (found["kind"], found["apiVersion"], found["metadata"]["name"]) == ("RayCluster", "ray.io/v1", "my-sweep")
    (group,) = found["spec"]["workerGroupSpecs"]
    assert (group["replicas"], group["numOfHosts"]) == (6, 4), "three trials at once, of two slices of four hosts"
    pod = group["template"]["spec"]
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["google.com/tpu"] == "4"
    assert {"name": "SWEEP_TPU_PYTHON", "value": "/opt/tpu/bin/python"} in container["env"]
    assert found["spec"]["authOptions"] == {"mode": "token"}
