"""Remote clusters: the files that describe them, the tokens that guard them, sweeps as other schedulers' jobs."""

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.kuberay import Kubernetes, kuberay
from orchestrator.cluster.slurm import Allocation, slurm
from orchestrator.cluster.validation import load

__all__ = ["Allocation", "ClusterFile", "Kubernetes", "kuberay", "load", "slurm"]
