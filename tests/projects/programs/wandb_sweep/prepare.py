"""Replaced data: tensors in the place of Fashion-MNIST's, so that nothing is downloaded."""

from pathlib import Path

import torch

folder = Path("data/processed")
folder.mkdir(parents=True, exist_ok=True)
for name, count in (("training", 1500), ("test", 200)):
    labels = torch.arange(count) % 10
    pixels = torch.randint(0, 60, (count, 28, 28)) + labels[:, None, None] * 19
    torch.save((pixels.to(torch.uint8), labels), folder / f"{name}.pt")
