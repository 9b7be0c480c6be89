"""Remote clusters: the files that describe them, the tokens that guard them, sweeps as other schedulers' jobs."""

from orchestrator.cluster.file import ClusterFile
from orchestrator.cluster.kuberay import Kubernetes, kuberay
from orchestrator.cluster.reading import load
from orchestrator.cluster.slurm import Allocation, slurm

__all__ = ["Allocation", "ClusterFile", "Kubernetes", "kuberay", "load", "slurm"]
