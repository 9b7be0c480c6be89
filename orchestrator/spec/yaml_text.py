"""Write plain values as YAML 1.2, in the style of sweep files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any


def dump(values: Mapping[str, Any]) -> str:
    """Return plain values as YAML 1.2: sections in block style, each parameter on one line."""
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.width = 110
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(_styled(values), stream)
    return stream.getvalue()


def _styled(value: Any, depth: int = 0) -> Any:
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, str) and (not value.isprintable() or value[:1] in "?:-"):
        # escaped: the writer would fold some line breaks into spaces, and leaves off quotes that a reader needs
        return DoubleQuotedScalarString(value)
    if isinstance(value, Mapping):
        styled: CommentedMap | CommentedSeq = CommentedMap(
            {_styled(key): _styled(item, depth + 1) for key, item in value.items()}
        )
    elif isinstance(value, list | tuple):
        styled = CommentedSeq(_styled(item, depth + 1) for item in value)
    else:
        return value
    if not value or (depth >= 2 and _is_flat(value)):
        styled.fa.set_flow_style()
    return styled


def _is_flat(value: Any) -> bool:
    """Return whether it is readable on one line: no mapping but `when`, and few values."""
    children = list(value.values()) if isinstance(value, Mapping) else list(value)
    return len(children) <= 12 and not any(
        isinstance(child, Mapping) and not (isinstance(value, Mapping) and value.get("when") is child)
        for child in children
    )
