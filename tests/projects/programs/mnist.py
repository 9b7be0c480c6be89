"""Replaced data: files in the form of MNIST's, so that nothing is downloaded.

Usage: python mnist.py FOLDER TRAIN TEST, with the number of images in either file.
"""

import sys
from pathlib import Path

import numpy as np

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(0)
for name, count in (("train", int(sys.argv[2])), ("t10k", int(sys.argv[3]))):
    labels = random.integers(0, 10, count).astype(np.uint8)
    pixels = (random.integers(0, 60, (count, 28, 28)) + labels[:, None, None] * 19).astype(np.uint8)
    for file, magic, content in (("images-idx3", 2051, pixels), ("labels-idx1", 2049, labels)):
        head = [magic, count, *content.shape[1:]]
        (folder / f"{name}-{file}-ubyte").write_bytes(np.array(head, ">i4").tobytes() + content.tobytes())
