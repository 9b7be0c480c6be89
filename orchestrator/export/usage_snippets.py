"""How a bundle is used, as its card says: in the terminal, from Python, and with nothing of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported

_CLASSIFIER = """\
```console
$ sweep predict . picture.png
```

```python
import orchestrator

bundle = orchestrator.load_bundle(".")       # every file is compared with what was written
print(bundle.predict(["picture.png"])[0])    # the class, its probability, the probabilities of all
```"""

_VALUES = """\
```console
$ sweep evaluate .
```

```python
import orchestrator

bundle = orchestrator.load_bundle(".")   # every file is compared with what was written
module = bundle.module()                 # the LightningModule; builds the classes that config.json names
```"""

_ONNX = """\
```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
outputs = session.run(None, {"input": np.zeros((1, SHAPE), np.TYPE)})[0]
```"""

_PROGRAM = """\
```python
import torch

program = torch.export.load("model.pt2").module()
outputs = program(torch.zeros(1, SHAPE, dtype=torch.TYPE))
```"""


def snippets(exported: Exported) -> str:
    """Markdown: what fits the formats that are there."""
    found = exported.preprocessing
    pictures = found is not None and found.classifies and found.mean is not None
    runs = [name for name in ("onnx", "pt2") if name in exported.present]
    parts = [_CLASSIFIER if pictures and runs else _VALUES]
    if found is not None and runs:
        shape = ", ".join(str(size) for size in found.input_shape[1:])
        plain = _ONNX if runs[0] == "onnx" else _PROGRAM
        parts.append(plain.replace(", SHAPE", f", {shape}" if shape else "").replace("TYPE", found.input_type))
    return "\n\n".join(parts)
