"""A sweep as a RayJob for the KubeRay operator, on a cluster that exists while the sweep runs.

Fields are those of ``ray.io/v1`` (KubeRay 1.5.1 or newer, for ``authOptions``): `RayJobSpec`, `RayClusterSpec`, and of
Kubernetes' own `PodTemplateSpec`.
"""

from __future__ import annotations

import io
import math
import shlex
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from orchestrator.cluster.manifest import Manifest, label
from orchestrator.cluster.rules import HEALTH
from orchestrator.errors import UsageError
from orchestrator.object_storage import is_url
from orchestrator.spec import SweepSpec, to_yaml

_FILES = "/etc/sweep"
_HEAD = {"cpu": "2", "memory": "8Gi"}
# Seconds that a preempted pod has: its trials move elsewhere, then its Ray ends by itself.
_LEAVE_SECONDS = 60
_LEAVE = (
    f'python -m orchestrator.cluster.preemption_watcher now "$RAY_ADDRESS" {_LEAVE_SECONDS} && sleep {_LEAVE_SECONDS}'
)


@dataclass(frozen=True)
class Kubernetes:
    """Options of the RayJob.

    Args:
        image: Contains this project, in this version, and the sweep's own modules.
        claim: A PersistentVolumeClaim that many nodes can write (ReadWriteMany): the runs.
        runs: Its mount path; or a URL in object storage, which needs no claim.
        nodes: Maximum number of pods, each for ``trials`` at once.
        memory: Memory of each pod, in Kubernetes' format.
    """

    image: str
    claim: str
    runs: str = "/mnt/sweeps"
    nodes: int = 4
    trials: int = 1
    memory: str = "16Gi"


class KubeRay(Manifest):
    """A RayJob for the KubeRay operator."""

    name = "kuberay"
    summary = "A RayJob for the KubeRay operator."
    Options = Kubernetes

    @classmethod
    def render(cls, spec: SweepSpec, options: Kubernetes) -> str:
        """Return the manifest. Raise UsageError without an image."""
        if not options.image:
            raise UsageError(
                "specify --image for kuberay", hint="--image REGISTRY/NAME:TAG, with this project and your modules"
            )
        return kuberay(spec, options)


def kuberay(spec: SweepSpec, options: Kubernetes) -> str:
    """Return the manifest: a ConfigMap with the sweep file, and the RayJob that launches or resumes it."""
    name = label(spec.name)
    files = {"sweep.yaml": to_yaml(spec), "run.sh": _script(spec, options)}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": files}
    return _dumped(config_map) + "---\n" + _dumped(_job(name, spec, options))


def _script(spec: SweepSpec, options: Kubernetes) -> str:
    name, runs = shlex.quote(spec.name), shlex.quote(options.runs)
    return (
        "# Launches the sweep, or resumes it if an earlier pod was lost.\n"
        "set -eu\n"
        f"if sweep status {name} --runs {runs} > /dev/null 2>&1; then\n"
        f"  exec sweep resume {name} --trust --address auto --runs {runs}\n"
        "fi\n"
        f"exec sweep launch {_FILES}/sweep.yaml --address auto --runs {runs} \\\n"
        f"  --set resources.concurrent={options.nodes * options.trials}\n"
    )


def _job(name: str, spec: SweepSpec, options: Kubernetes) -> dict[str, Any]:
    cpus = max(1, math.ceil(spec.resources.cpu_count * options.trials))
    gpus = spec.resources.gpus_of(options.trials)
    room = {"cpu": str(cpus), "memory": options.memory, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    health = {f"RAY_health_check_{key}": str(value) for key, value in HEALTH.items()}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": f"bash {_FILES}/run.sh",
            "backoffLimit": 3,  # each retry is another cluster, which resumes from the journal
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 60,
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "authOptions": {"mode": "token"},
                "enableInTreeAutoscaling": True,
                "autoscalerOptions": {"idleTimeoutSeconds": 300},
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0"},  # trials run on the workers
                    "template": _pod("ray-head", name, options, _HEAD, health),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "trials",
                        "replicas": 0,
                        "minReplicas": 0,
                        "maxReplicas": options.nodes,
                        "rayStartParams": {},
                        "template": _pod("ray-worker", name, options, room, {}),
                    }
                ],
            },
        },
    }


def _pod(
    container: str, name: str, options: Kubernetes, room: dict[str, str], environment: dict[str, str]
) -> dict[str, Any]:
    variables = {"SWEEP_RUNS": options.runs, **environment}
    shared = not is_url(options.runs)
    leaving = {"lifecycle": {"preStop": {"exec": {"command": ["bash", "-c", _LEAVE]}}}}
    worker = container == "ray-worker"
    return {
        "spec": {
            **({"terminationGracePeriodSeconds": _LEAVE_SECONDS + 30} if worker else {}),
            "containers": [
                {
                    **(leaving if worker else {}),
                    "name": container,
                    "image": options.image,
                    "env": [{"name": key, "value": value} for key, value in variables.items()],
                    "resources": {"limits": dict(room), "requests": dict(room)},
                    "volumeMounts": [
                        *([{"name": "runs", "mountPath": options.runs}] if shared else []),
                        {"name": "sweep", "mountPath": _FILES, "readOnly": True},
                        {"name": "shm", "mountPath": "/dev/shm"},
                    ],
                }
            ],
            "volumes": [
                *([{"name": "runs", "persistentVolumeClaim": {"claimName": options.claim}}] if shared else []),
                {"name": "sweep", "configMap": {"name": name}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}},  # for workers of data loaders
            ],
        }
    }


def _dumped(value: dict[str, Any]) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import walk_tree

    walk_tree(value)  # write texts of several lines as blocks
    yaml, out = YAML(), io.StringIO()
    yaml.width = 10_000
    yaml.representer.ignore_aliases = lambda data: True
    yaml.dump(value, out)
    return out.getvalue()
