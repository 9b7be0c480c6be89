"""Write docs/reference/ from the code: the sweep file's schema and the help of the commands.

``--check`` writes nothing and fails if a page differs from the code.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTICE = "<!-- Made by `make docs` from the code; edit that instead. -->\n"
Schema = dict[str, Any]


def type_text(schema: Schema) -> str:
    """Return one line of Markdown that describes the values of a schema."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_text(option) for option in schema[key]))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    kind = schema.get("type", "any value")
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list of {type_text(schema['items'])}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind) + bounds(schema)


def bounds(schema: Schema) -> str:
    """Return a number's range, such as ``> 0`` or ``≥ 1``."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema]
    return f" ({', '.join(limits)})" if limits else ""


def field_row(name: str, field: Schema, required: bool) -> str:
    """Return the table row of a field."""
    default = "required" if required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
    meaning = " ".join(str(field.get("description", "")).split()).replace("|", "\\|")
    return f"| `{name}` | {type_text(field)} | {default} | {meaning} |"


def section(title: str, schema: Schema) -> Iterator[str]:
    """Yield the lines of a schema's section: its description and a table of its fields."""
    yield f"\n## {title}\n"
    options = schema.get("anyOf", [])
    schema = next((option for option in options if "properties" in option), schema)
    if text := schema.get("description"):
        yield f"{text}\n"
    if properties := schema.get("properties"):
        yield "| field | value | default | meaning |\n| --- | --- | --- | --- |"
        required = schema.get("required", [])
        present = ((name, field) for name, field in properties.items() if not field.get("deprecated"))
        yield from (field_row(name, field, name in required) for name, field in present)
    else:
        yield f"{type_text(schema)}"


def referenced(schema: Schema) -> list[str]:
    """Return the names of the schema's parts, in the order of their first use."""
    text = json.dumps([schema["properties"], schema.get("$defs", {})])
    return list(dict.fromkeys(re.findall(r"#/\$defs/(\w+)", text)))


def spec_page(schema: Schema) -> str:
    """Return the page of the sweep file's fields."""
    lines = [NOTICE, "# The sweep file, field by field\n"]
    lines.append(
        "Editors complete from [sweep.schema.json](sweep.schema.json) (`sweep schema` prints it): begin the file with\n"
        "`# yaml-language-server: $schema=PATH`. How the parts work together: [sweep files](../spec.md)."
    )
    lines.extend(section("The file", schema))
    for name in referenced(schema):
        lines.extend(section(name, schema["$defs"][name]))
    return "\n".join(lines) + "\n"


def command_paths(command: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of a command and of each command below it, in the order of the help."""
    yield above
    for name, below in getattr(command, "commands", {}).items():
        yield from command_paths(below, (*above, name))


def cli_page() -> str:
    """Return the page of ``sweep --help`` and of each command's help, as a terminal shows them."""
    from typer.main import get_command
    from typer.testing import CliRunner

    from orchestrator.cli import app

    parts = [NOTICE, "# The commands\n"]
    for words in command_paths(get_command(app)):
        command = " ".join(words)
        result = CliRunner().invoke(app, [*words, "--help"], prog_name="sweep")
        if result.exit_code:
            raise RuntimeError(f"sweep {command} --help failed: {result.output}")
        text = "\n".join(line.rstrip() for line in result.output.strip().splitlines())
        parts.append(f"## sweep {command}".rstrip() + f"\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def error_kinds() -> Iterator[tuple[str, int, str]]:
    """Yield code, exit code and meaning of each kind of error."""
    import orchestrator.export.parity
    import orchestrator.xla.accelerator  # noqa: F401
    from orchestrator.errors import SweepError

    kinds: list[type[SweepError]] = [SweepError]
    seen = set()
    for kind in kinds:
        kinds += kind.__subclasses__()
        if kind.code in seen:
            continue
        seen.add(kind.code)
        meaning = " ".join((kind.__doc__ or "").partition("\n\n")[0].split()).replace("|", "\\|").replace("``", "`")
        meaning = "Any other error." if kind is SweepError else meaning
        yield kind.code, kind.exit_code, f"{meaning} Transient." if kind.transient else meaning
    yield "storage", 1, "The disk is full, or the object store does not answer. Transient."
    yield "aborted", 1, "A question was answered with no, or nobody could be asked."


def json_page(schema: Schema) -> str:
    """Return the page of what commands print with ``--json``."""
    lines = [NOTICE, "# What commands print with --json\n"]
    lines.append(
        "Every command takes `--json` and prints one JSON document on stdout; notices stay on stderr.\n"
        "`sweep logs --follow` prints lines, and `sweep open` its address, before they go on.\n"
        "A command that fails prints an [error](#failure) on stdout instead, and its exit code is not 0.\n"
        "The schemas are in [commands.schema.json](commands.schema.json), one definition a command: `sweep status`.\n"
    )
    lines.append("| code | exit code | meaning |\n| --- | --- | --- |")
    lines.extend(f"| `{code}` | {number} | {meaning} |" for code, number, meaning in error_kinds())
    lines.append("\n| command | prints |\n| --- | --- |")
    parts = {name: part for name, part in schema["$defs"].items() if not name.startswith(("sweep ", "error"))}
    commands = {name: part for name, part in schema["$defs"].items() if name.startswith("sweep ")}
    lines.extend(f"| `{name}` | {type_text(part)} |" for name, part in commands.items())
    for name, part in parts.items():
        lines.extend(section(name, {**part, "description": (part.get("description") or "").partition("\n\n")[0]}))
    return "\n".join(lines) + "\n"


def generated() -> dict[str, str]:
    """Return the text of each page by its name."""
    from orchestrator.cli.json_forms import json_schemas
    from orchestrator.spec import json_schema

    schema, printed = json_schema(), json_schemas()
    return {
        "spec.md": spec_page(schema),
        "sweep.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        "cli.md": cli_page(),
        "json.md": json_page(printed),
        "commands.schema.json": json.dumps(printed, indent=2, ensure_ascii=False) + "\n",
    }


def stale(pages: dict[str, str], folder: Path) -> list[str]:
    """Return the names of pages in the folder that are missing or differ."""
    return [
        name
        for name, text in pages.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Write or check the pages; return 1 if a check finds a stale one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check only whether docs/reference is up to date")
    check: bool = parser.parse_args().check
    # Plain help texts of one width: the pages must not depend on the terminal that made them.
    os.environ.update(TYPER_USE_RICH="0", COLUMNS="100", TERM="dumb", NO_COLOR="1")
    pages = generated()
    old = stale(pages, REFERENCE)
    if check:
        print(f"stale: {', '.join(old)}; run `make docs`" if old else "docs/reference is up to date")
        return 1 if old else 0
    REFERENCE.mkdir(exist_ok=True)
    for name in old:
        (REFERENCE / name).write_text(pages[name], encoding="utf-8")
    print(f"docs/reference: {', '.join(old) or 'nothing'} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
