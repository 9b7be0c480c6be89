"""One of two processes that read uneven shares of the data in step: ``uneven.py RANK PORT``. Prints what came."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import torch.distributed as dist

from orchestrator.xla.global_batches import GlobalBatches


def main() -> None:
    rank, port = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    shares = json.load(sys.stdin)[rank]
    loader = [{"x": torch.tensor(rows), "y": (torch.tensor(rows) * 10, "kept")} for rows in shares]
    came: list[tuple[str, Any]] = []

    def noting(kind: str) -> Any:
        def put(tensor: torch.Tensor) -> torch.Tensor:
            came.append((kind, tensor.tolist()))
            return tensor

        return put

    together = GlobalBatches(loader, devices=2, shard=noting("part"), replicate=noting("whole"))
    batches = list(together)
    assert all(batch["y"][1] == "kept" for batch in batches)
    json.dump({"length": len(together), "came": came}, sys.stdout)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
