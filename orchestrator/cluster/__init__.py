"""Remote clusters: the files that describe them, the tokens that guard them."""

from orchestrator.cluster.file import ClusterFile
from orchestrator.cluster.reading import load

__all__ = ["ClusterFile", "load"]
