"""A strategy with weights in shards."""

from __future__ import annotations

from typing import Any

IN_SHARDS: dict[str, Any] = {
    "class_path": "lightning.pytorch.strategies.ModelParallelStrategy",
    "init_args": {"data_parallel_size": 2, "tensor_parallel_size": 1, "save_distributed_checkpoint": False},
}
