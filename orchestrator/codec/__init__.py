"""One written form for every value: JSON, with a tag for what JSON lacks.

A tagged value is a mapping of one key, which starts with ``$``: ``{"$tuple": [1, 2]}``. Spec, space, journal, workers'
orders and checkpoints hold this form, so a value has the same type and content wherever it is used. Reading never
unpickles. It calls no class or function that the data names; it imports one only by the caller's ``resolve``.

`walk` encodes and decodes; `kinds`, `named_kinds` and `array_kinds` hold one entry a type; `references` names classes
and functions.
"""

from orchestrator.codec.references import is_function, loaded, path_of
from orchestrator.codec.walk import (
    JSON,
    Form,
    decode,
    display,
    encode,
    is_tagged,
    key_path,
    readable,
    tagged_inside,
    written,
)

__all__ = [
    "JSON",
    "Form",
    "decode",
    "display",
    "encode",
    "is_function",
    "is_tagged",
    "key_path",
    "loaded",
    "path_of",
    "readable",
    "tagged_inside",
    "written",
]
