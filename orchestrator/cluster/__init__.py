"""Remote clusters: the files that describe them, the tokens that guard them, sweeps as other schedulers' jobs."""

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.validation import load

__all__ = ["ClusterFile", "load"]
