"""A KubeRay RayCluster with TPU slices on GKE, as text for ``kubectl apply``.

Sources: KubeRay's sample ``ray-cluster-tpu-v4-multihost.yaml`` and Ray's page "Use TPUs with KubeRay".
Ray's TPU webhook sets TPU_WORKER_ID, TPU_WORKER_HOSTNAMES and TPU_NAME in the pods of a group with ``numOfHosts``.
"""

from __future__ import annotations

from importlib.metadata import version

from orchestrator.errors import UsageError
from orchestrator.spec.tpu_slices import Slice

_ACCELERATORS = {
    "v4": "tpu-v4-podslice",
    "v5e": "tpu-v5-lite-podslice",
    "v5p": "tpu-v5p-slice",
    "v6e": "tpu-v6e-slice",
    "v7x": "tpu7x",
}
RUNS = "/mnt/runs"
"""The folder of the run directories in the pods."""

_TEMPLATE = """\
# {count} x {tpu} ({topology}) on GKE: {hosts} pod(s) a slice, {chips} chips each.
# Needs KubeRay 1.5 or newer, Ray's TPU webhook, and a claim that many pods may write to (ReadWriteMany).
apiVersion: ray.io/v1
kind: RayCluster
metadata:
  name: {name}
spec:
  rayVersion: "{ray}"
  authOptions:
    mode: token
  headGroupSpec:
    rayStartParams:
      num-cpus: "0"
    template:
      spec:
        containers:
          - name: ray-head
            image: {image}
            resources:
              limits: {{cpu: "4", memory: 16G}}
              requests: {{cpu: "4", memory: 16G}}
            env:
              - {{name: SWEEP_RUNS, value: {runs}}}
            volumeMounts:
              - {{name: runs, mountPath: {runs}}}
        volumes:
          - name: runs
            persistentVolumeClaim: {{claimName: {claim}}}
  workerGroupSpecs:
    - groupName: tpu
      replicas: {count}
      minReplicas: {count}
      maxReplicas: {count}
      numOfHosts: {hosts}
      rayStartParams: {{}}
      template:
        spec:
          nodeSelector:
            cloud.google.com/gke-tpu-accelerator: {accelerator}
            cloud.google.com/gke-tpu-topology: {topology}
          containers:
            - name: ray-worker
              image: {image}
              resources:
                limits: {{cpu: "{cpus}", memory: 100G, google.com/tpu: "{chips}"}}
                requests: {{cpu: "{cpus}", memory: 100G, google.com/tpu: "{chips}"}}
              env:
                - {{name: SWEEP_TPU_PYTHON, value: {python}}}
              volumeMounts:
                - {{name: runs, mountPath: {runs}}}
          volumes:
            - name: runs
              persistentVolumeClaim: {{claimName: {claim}}}
"""


def manifest(tpu_slice: Slice, *, name: str, count: int, image: str, claim: str, python: str, cpus: float) -> str:
    """Return the manifest of a cluster.

    Args:
        tpu_slice: the kind of slice.
        name: the cluster's name; other characters than letters and digits become hyphens.
        count: the number of slices.
        image: the container image of all pods.
        claim: the PersistentVolumeClaim of the run directories.
        python: the interpreter with torch_xla in the image.
        cpus: CPUs of each worker pod.

    Raises:
        UsageError: GKE has no such slice.
    """
    accelerator = _ACCELERATORS.get(tpu_slice.generation.name)
    if accelerator is None:
        available = ", ".join(_ACCELERATORS)
        raise UsageError(f"GKE has no pods with {tpu_slice.generation.name}", hint=f"it has {available}")
    label = "".join(character if character.isalnum() else "-" for character in name.lower()).strip("-")
    return _TEMPLATE.format(
        count=count,
        tpu=tpu_slice.name,
        topology=tpu_slice.topology,
        hosts=tpu_slice.hosts,
        chips=tpu_slice.chips_a_host,
        name=label,
        image=image,
        runs=RUNS,
        claim=claim,
        accelerator=accelerator,
        python=python,
        ray=version("ray"),
        cpus=f"{max(1, int(cpus))}",
    )
