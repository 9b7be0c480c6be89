"""The kinds of numpy and torch. Neither is imported unless a value of it is read."""

from __future__ import annotations

import math
import sys
from typing import Any

from orchestrator.codec.kinds import Kind, Part, Reader

_LISTED = 256
"""Arrays of at most so many numbers are written as numbers, which people can read; larger ones as base64."""


def _numpy() -> Any:
    return sys.modules.get("numpy")


def _torch() -> Any:
    return sys.modules.get("torch")


def _write_dtype(dtype: Any, part: Part | None = None) -> Any:
    """Return the name of a dtype; its fields if it has them."""
    import numpy as np

    if dtype.names is not None:
        if np.dtype(dtype.descr) != dtype:
            raise ValueError(f"the dtype {dtype} has no plain form")
        return _listed(dtype.descr)
    name = str(dtype.name)
    try:
        return name if np.dtype(name) == dtype else dtype.str
    except TypeError:
        return dtype.str


def _listed(fields: Any) -> list[Any]:
    return [
        [name, _listed(form) if isinstance(form, list) else form, *map(list, shape)] for name, form, *shape in fields
    ]


def _read_dtype(content: Any) -> Any:
    import numpy as np

    return np.dtype(_fields(content) if isinstance(content, list) else content)


def _fields(content: list[Any]) -> list[Any]:
    return [
        (name, _fields(form) if isinstance(form, list) else form, *map(tuple, shape)) for name, form, *shape in content
    ]


def _write_scalar(value: Any, part: Part) -> Any:
    dtype = _write_dtype(value.dtype)
    plain = value.item() if value.dtype.kind in "biufU" else None
    if value.dtype.kind in "fiu" and value.dtype.itemsize > 8:  # a long double has more digits than a float
        plain = None
    if plain is None or (isinstance(plain, float) and not math.isfinite(plain)):
        return [dtype, part(value.tobytes(), "data")]
    return [dtype, plain]


def _read_scalar(content: Any, read: Reader) -> Any:
    import numpy as np

    dtype, value = _read_dtype(content[0]), read(content[1])
    if dtype.hasobject:
        raise ValueError("a scalar of Python objects has no plain form")
    if isinstance(value, bytes):
        return np.frombuffer(value, dtype)[0] if value or dtype.itemsize else np.zeros((), dtype)[()]
    return np.array(value, dtype)[()]


def _write_array(value: Any, part: Part) -> Any:
    dtype, shape, flat = value.dtype, list(value.shape), value.reshape(-1)
    if dtype.kind == "O":
        return {"dtype": "object", "shape": shape, "data": [part(item, index) for index, item in enumerate(flat)]}
    if dtype.hasobject:
        raise ValueError(f"an array of {dtype} has no plain form")
    is_number = dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize <= 8)
    if is_number and value.size <= _LISTED:
        numbers = flat.tolist()
        if all(not isinstance(number, float) or math.isfinite(number) for number in numbers):
            return {"dtype": _write_dtype(dtype), "shape": shape, "data": numbers}
    return {"dtype": _write_dtype(dtype), "shape": shape, "data": part(value.tobytes(), "data")}


def _read_array(content: Any, read: Reader) -> Any:
    import numpy as np

    dtype, data = _read_dtype(content["dtype"]), content["data"]
    shape = tuple(content.get("shape", (len(data),)))
    if isinstance(data, list):
        flat = np.empty(len(data), dtype)
        for index, item in enumerate(data):
            flat[index] = read(item)
        return flat.reshape(shape)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is written as a list")
    raw = bytearray(read(data))
    return np.frombuffer(raw, dtype).reshape(shape) if raw else np.empty(shape, dtype)


def _write_tensor(value: Any, part: Part) -> Any:
    import torch

    plain = value.detach().cpu().contiguous()
    name = str(value.dtype).removeprefix("torch.")
    content: dict[str, Any] = {"dtype": name, "shape": list(value.shape), "device": str(value.device)}
    content |= {"requires_grad": True} if value.requires_grad else {}
    raw = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return {**content, "data": part(raw, "data")}


def _read_tensor(content: Any, read: Reader) -> Any:
    import torch

    dtype, raw = _torch_dtype(content["dtype"]), content["data"]
    if isinstance(raw, list):
        tensor = torch.tensor([read(item) for item in raw], dtype=dtype)
    else:
        data = bytearray(read(raw))
        tensor = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    tensor = tensor.reshape(content.get("shape", (-1,))).to(content.get("device", "cpu"))
    return tensor.requires_grad_() if content.get("requires_grad") else tensor


def _torch_dtype(name: Any) -> Any:
    import torch

    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch has no dtype {name!r}")
    return dtype


def _read_device(content: Any, read: Reader) -> Any:
    import torch

    return torch.device(content)


def _read_size(content: Any, read: Reader) -> Any:
    import torch

    return torch.Size(content)


def _is(module: Any, name: str, value: Any, *, exact: bool = False) -> bool:
    if module is None:
        return False
    cls = getattr(module, name)
    return type(value) is cls if exact else isinstance(value, cls)


def _is_plain_tensor(value: Any) -> bool:
    torch = _torch()
    if not _is(torch, "Tensor", value, exact=True) or value.layout is not torch.strided or value.is_quantized:
        return False
    return bool(value.is_leaf) and value.device.type != "meta"


ARRAYS = (
    Kind("$scalar", (), _write_scalar, _read_scalar, lambda value: _is(_numpy(), "generic", value)),
    Kind("$array", (), _write_array, _read_array, lambda value: _is(_numpy(), "ndarray", value, exact=True)),
    Kind("$dtype", (), _write_dtype, lambda c, read: _read_dtype(c), lambda value: _is(_numpy(), "dtype", value)),
    Kind("$tensor", (), _write_tensor, _read_tensor, _is_plain_tensor),
    Kind("$torch.dtype", (), lambda v, part: str(v).removeprefix("torch."), lambda c, read: _torch_dtype(c),
         lambda value: _is(_torch(), "dtype", value)),
    Kind("$torch.device", (), lambda v, part: str(v), _read_device, lambda value: _is(_torch(), "device", value)),
    Kind("$torch.size", (), lambda v, part: list(v), _read_size, lambda value: _is(_torch(), "Size", value)),
)  # fmt: skip
