"""Sweeps as jobs of Kubernetes and Slurm: what is printed has the form that these read."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from ruamel.yaml import YAML

from orchestrator import cli
from orchestrator.cluster.manifest import label
from orchestrator.cluster.manifests.kuberay import Kubernetes, kuberay
from orchestrator.cluster.manifests.slurm import Allocation, slurm
from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec, load, to_yaml
from orchestrator.spec.tpu_slices import slice_of
from orchestrator.xla.gke_manifest import manifest as tpu_manifest
from tests.support.doc_blocks import sweep_fault

QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"  # RFC 1123, as Kubernetes names objects


def of(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object with these fields and no others: the API server prunes what it does not know, in silence."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def several(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item}


TEXT, COUNT, FLAG = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
NAME = {"type": "string", "pattern": LABEL, "maxLength": 63}
QUANTITIES = {"type": "object", "additionalProperties": {"type": "string", "pattern": QUANTITY}}

# The part of Kubernetes' PodTemplateSpec that is used (core/v1, as in the definition of RayJob).
POD = of(
    "spec",
    spec=of(
        "containers",
        nodeSelector=TEXTS,
        terminationGracePeriodSeconds=COUNT,
        containers=several(
            of(
                "name image",
                name=NAME,
                image=TEXT,
                env=several(of("name", name=TEXT, value=TEXT)),
                lifecycle=of(preStop=of(exec=of(command=several(TEXT)))),
                resources=of(limits=QUANTITIES, requests=QUANTITIES),
                volumeMounts=several(of("mountPath name", name=NAME, mountPath=TEXT, readOnly=FLAG)),
            )
        ),
        volumes=several(
            of(
                "name",
                name=NAME,
                persistentVolumeClaim=of("claimName", claimName=TEXT, readOnly=FLAG),
                configMap=of(name=TEXT),
                emptyDir=of(medium=TEXT, sizeLimit={"type": "string", "pattern": QUANTITY}),
            )
        ),
    ),
)
# From ray-operator/apis/ray/v1/rayjob_types.go and raycluster_types.go of ray-project/kuberay, whose definition is
# helm-chart/kuberay-operator/crds/ray.io_rayjobs.yaml; authOptions from its reference for 1.5.1 and newer.
WORKERS = of(
    "groupName minReplicas maxReplicas rayStartParams template",
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    rayStartParams=TEXTS,
    template=POD,
)
RAY_JOB = of(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=of("name", name=NAME, labels=TEXTS, annotations=TEXTS, namespace=NAME),
    spec=of(
        "rayClusterSpec",
        activeDeadlineSeconds=COUNT,
        backoffLimit=COUNT,
        entrypoint=TEXT,
        runtimeEnvYAML=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
        shutdownAfterJobFinishes=FLAG,
        ttlSecondsAfterFinished=COUNT,
        suspend=FLAG,
        rayClusterSpec=of(
            "headGroupSpec",
            rayVersion=TEXT,
            authOptions=of(mode={"enum": ["disabled", "token"]}, secretName=TEXT),
            enableInTreeAutoscaling=FLAG,
            autoscalerOptions=of(
                idleTimeoutSeconds=COUNT, upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]}
            ),
            headGroupSpec=of("rayStartParams template", rayStartParams=TEXTS, template=POD),
            workerGroupSpecs=several(WORKERS),
        ),
    ),
)
CONFIG_MAP = of(
    "apiVersion kind metadata data",
    apiVersion={"const": "v1"},
    kind={"const": "ConfigMap"},
    metadata=of("name", name=NAME),
    data=TEXTS,
)

WANTED = Kubernetes("registry/sweeps:1", "sweeps", nodes=4, trials=2)


@pytest.fixture
def spec() -> SweepSpec:
    return load("quickstart", ["resources.cpus=3", "resources.gpus=0.5"])


def documents(text: str) -> list[dict[str, Any]]:
    return list(YAML(typ="safe", pure=True).load_all(text))


def test_a_ray_job_has_the_form_of_its_definition(spec: SweepSpec) -> None:
    files, job = documents(kuberay(spec, WANTED))
    assert [error.message for error in Draft7Validator(CONFIG_MAP).iter_errors(files)] == []
    assert [error.message for error in Draft7Validator(RAY_JOB).iter_errors(job)] == []
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    [workers] = cluster["workerGroupSpecs"]
    [container] = workers["template"]["spec"]["containers"]
    assert "orchestrator.cluster.preemption_watcher now" in container["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert "lifecycle" not in cluster["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert cluster["rayVersion"] == version("ray")
    workers = cluster["workerGroupSpecs"][0]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (0, 4)
    for template in (cluster["headGroupSpec"]["template"], workers["template"]):
        pod = template["spec"]
        held = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == held
        assert {"configMap": {"name": files["metadata"]["name"]}, "name": "sweep"} in pod["volumes"]
    room = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert room == {"cpu": "6", "memory": "16Gi", "nvidia.com/gpu": "1"}  # of two trials at once


def test_a_cluster_of_tpu_slices_has_it_too() -> None:
    wanted = slice_of("v6e-16")
    text = tpu_manifest(wanted, name="t", count=2, image="i", claim="c", python="/opt/tpu/bin/python", cpus=4)
    (found,) = documents(text)
    assert found["kind"] == "RayCluster"
    job = {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": found["metadata"]}
    job["spec"] = {"rayClusterSpec": found["spec"]}
    assert [error.message for error in Draft7Validator(RAY_JOB).iter_errors(job)] == []
    assert found["spec"]["rayVersion"] == version("ray")


def test_a_field_that_is_not_in_the_definition_is_found(spec: SweepSpec) -> None:
    _, job = documents(kuberay(spec, WANTED))
    job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplica"] = 1
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    assert len(list(Draft7Validator(RAY_JOB).iter_errors(job))) == 2


def test_what_kubernetes_runs_is_the_sweep(spec: SweepSpec, tmp_path: Path) -> None:
    files, job = documents(kuberay(spec, WANTED))
    (tmp_path / "sweep.yaml").write_text(files["data"]["sweep.yaml"])
    assert load(tmp_path / "sweep.yaml") == spec
    assert job["spec"]["entrypoint"] == "bash /etc/sweep/run.sh"
    said = ran(files["data"]["run.sh"], tmp_path, begun=False)
    assert said == [
        f"status {spec.name} --runs /mnt/sweeps",
        "launch /etc/sweep/sweep.yaml --address auto --runs /mnt/sweeps --set resources.concurrent=8",
    ]


@pytest.mark.parametrize("kind", ["kuberay", "slurm"])
def test_every_command_in_them_is_known_with_its_options(kind: str, spec: SweepSpec) -> None:
    text = kuberay(spec, WANTED) if kind == "kuberay" else slurm(spec, Allocation("/mnt/sweeps"))
    lines = re.findall(r"^ *(?:exec )?sweep ((?:launch|resume|cluster) .*)", text.replace("\\\n", " "), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        said = sweep_fault(shlex.split(line.removesuffix("&").replace("$SLURM_JOB_NUM_NODES", "2")))
        assert not said, f"{line}: {said}"


def test_a_pod_that_comes_back_goes_on(spec: SweepSpec, tmp_path: Path) -> None:
    files, _ = documents(kuberay(spec, WANTED))
    said = ran(files["data"]["run.sh"], tmp_path, begun=True)
    assert said[1:] == [f"resume {spec.name} --trust --address auto --runs /mnt/sweeps"]


def test_runs_in_a_bucket_need_no_claim(spec: SweepSpec) -> None:
    text = kuberay(spec, Kubernetes("i", "claim-of-runs", runs="s3://bucket/runs"))
    assert "claim-of-runs" not in text
    assert "mountPath: s3" not in text
    assert text.count("s3://bucket/runs") >= 4
    assert not list(Draft7Validator(RAY_JOB).iter_errors(documents(text)[1]))


def ran(script: str, folder: Path, *, begun: bool) -> list[str]:
    """What a script calls `sweep` with, of which `status` finds the run only where it has ``begun``."""
    (folder / "bin").mkdir(exist_ok=True)
    sweep = folder / "bin/sweep"
    calls = shlex.quote(f"{folder}/calls")
    status = f"[ $1 != status ] || {str(begun).lower()}"
    sweep.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$*\" >> {calls}\n{status}\n")
    sweep.chmod(0o755)
    subprocess.run(["bash", "-c", script], env={"PATH": f"{folder}/bin:/usr/bin:/bin"}, check=True, timeout=60)
    return (folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cifar10", "sweep-cifar10"),
        ("A.b_C", "sweep-a-b-c"),
        ("x" * 99, "sweep-" + "x" * 34),
        ("a-" * 17 + "bcd", "sweep-" + "a-" * 16 + "a"),
    ],
)
def test_names_are_those_that_kubernetes_allows(name: str, said: str) -> None:
    assert label(name) == said
    assert re.fullmatch(LABEL, said)


# From the manual of sbatch (Slurm 22.05): the options that a script may hold.
SBATCH = {
    "cpus-per-task", "exclusive", "gpus-per-node", "job-name", "nodes", "ntasks-per-node", "open-mode", "output",
    "partition", "requeue", "signal", "time",
}  # fmt: skip


def directives(script: str) -> list[str]:
    return re.findall(r"^#SBATCH --([a-z-]+)", script, re.MULTILINE)


def test_a_batch_script_is_one(spec: SweepSpec) -> None:
    script = slurm(spec, Allocation("/mnt/sweeps", nodes=4, trials=2, partition="gpu"))
    answer = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False, timeout=60)
    assert (answer.returncode, answer.stderr) == (0, "")
    lines = script.splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    asked = directives(script)
    assert len(asked) == len(set(asked)) == script.count("#SBATCH")
    assert set(asked) <= SBATCH
    assert {"#SBATCH --nodes=4", "#SBATCH --cpus-per-task=6", "#SBATCH --gpus-per-node=1"} <= set(lines)
    assert max(map(lines.index, (line for line in lines if line.startswith("#SBATCH")))) == len(
        asked
    )  # before all else


def test_sbatch_knows_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("sbatch") is None:
        pytest.skip("needs sbatch: apt install slurm-client")
    (tmp_path / "slurm.conf").write_text("ClusterName=none\nSlurmctldHost=localhost\nNodeName=localhost\n")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))  # without one it does not even say its options
    answer = subprocess.run(["sbatch", "--help"], capture_output=True, text=True, check=True, timeout=60)
    # One is in its manual alone.
    assert set(re.findall(r"--([a-z-]+)", answer.stdout)) >= SBATCH - {"open-mode"}


def test_the_sweep_file_comes_out_of_the_script_as_it_went_in(spec: SweepSpec, tmp_path: Path) -> None:
    tricky = SweepSpec.model_validate({**spec.model_dump(), "notify": [{"command": ["echo", "$HOME `id` \\ 'x' END"]}]})
    script = slurm(tricky, Allocation("/mnt/sweeps"))
    held = re.search(r'cat > "\$spec" <<.*?\n(END-\w+)\n', script, re.DOTALL)
    assert held
    copied = subprocess.run(
        ["bash", "-c", f"spec={shlex.quote(str(tmp_path / 's.yaml'))}\n{held[0]}"], check=True, timeout=60
    )
    assert copied.returncode == 0
    assert (tmp_path / "s.yaml").read_text() == to_yaml(tricky)
    assert load(tmp_path / "s.yaml") == tricky


@pytest.mark.parametrize(
    "wanted",
    [
        Allocation("/r", time="tomorrow"),
        Allocation("/r", partition="a b"),
        Allocation("/r", partition="x\n#SBATCH -A y"),
    ],
)
def test_what_slurm_would_not_read_is_refused(wanted: Allocation, spec: SweepSpec) -> None:
    with pytest.raises(UsageError, match="of Slurm's"):
        slurm(spec, wanted)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["kuberay", "quickstart", "--image", "r/x:1"], 0, "kind: RayJob"),
        (["slurm", "quickstart", "--nodes", "3"], 0, "#SBATCH --nodes=3"),
        (["kuberay", "quickstart"], 2, "specify --image for kuberay"),
        (["pbs", "quickstart"], 2, "there is no manifest 'pbs'"),
    ],
)
def test_the_command_prints_it(
    words: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep", "cluster", "manifest", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert (ended.value.code or 0) == code
    assert said in (err if code else out)
